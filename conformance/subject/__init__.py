"""This package is the subject: one timm model, what it builds and traces, each once. Only it knows timm."""

from conformance.engine.operands import Strayed, Unmodelled
from conformance.engine.shapes import Shapes
from conformance.engine.threads import leave_out_threads
from conformance.subject.names import NoName, names
from conformance.subject.passes import Pass
from conformance.subject.real import NotRepeated, RealSubject
from conformance.subject.subject import CLASSES, OTHER_CLASSES, NoImages, Subject

__all__ = [
    "CLASSES",
    "OTHER_CLASSES",
    "NoImages",
    "NoName",
    "NotRepeated",
    "Pass",
    "RealSubject",
    "Shapes",
    "Strayed",
    "Subject",
    "Unmodelled",
    "leave_out_threads",
    "names",
]
