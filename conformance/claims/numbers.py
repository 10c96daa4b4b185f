"""This module decides a claim on real numbers, where it could not be decided without them."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch

from conformance.claims.claim import Claim
from conformance.record import Cell, Verdict
from conformance.subject import RealSubject, Subject
from conformance.subject.sizes import smallest_size

SEEDS = (0, 1)
"""Draws of the weights: what one happens to hide (a gain of almost one) another shows."""


Precision = torch.dtype
SINGLE, DOUBLE = torch.float32, torch.float64


def measured(claim: Claim, subject: Subject, precision: Precision = DOUBLE, seeds: Sequence[int] = SEEDS) -> Cell:
    """The cell of the claim for the subject with drawn weights, computing in `precision`.

    It holds if it holds of each draw, and is violated if one violates it.

    Raises:
        Exception: what the model raises on real numbers.
    """
    gc.collect()  # of the precision before
    size = smallest_size(subject)
    kept: Cell | None = None
    for seed in seeds:
        real = RealSubject(subject, seed, precision, size)
        try:
            cell = claim.decide(real)
        finally:
            real.close()
            del real
            gc.collect()
        if cell.verdict is not Verdict.HOLDS:
            return cell
        kept = cell
    assert kept is not None
    return kept
