"""This module declares the Head claims: features, pre_logits and logits, and how they compose."""

from __future__ import annotations

from conformance.claims.claim import claim, holds
from conformance.record import Cell, Evidence
from conformance.subject import Subject


@claim(group="head", source="timm documentation: timm.create_model", needs=())
def builds(subject: Subject) -> Cell:
    """`timm.create_model(name)` builds the model."""
    subject.model()
    return holds(Evidence.OBSERVED)
