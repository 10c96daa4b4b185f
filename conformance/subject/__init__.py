"""This package is the subject: one timm model, what it builds and traces, each once. Only it knows timm."""

from conformance.subject.names import names
from conformance.subject.subject import Subject

__all__ = ["Subject", "names"]
