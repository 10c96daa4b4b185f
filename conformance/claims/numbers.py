"""This module decides a claim on real numbers, where it could not be decided without them."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch

from conformance.claims.claim import Claim
from conformance.record import Cell, Evidence, Verdict
from conformance.subject import RealSubject, Subject

SEEDS = (0, 1)
"""Draws of the weights: what one happens to hide (a gain of almost one) another shows."""


LARGE = 256 * 2**20
"""Bytes of weights from which on memory is worth the time of a collection: models lie in cycles, and several of them
may be alive for a claim."""

LARGEST_IN_DOUBLE = 2 * 2**30
"""Bytes of weights from which on float64 would take longer than a cell has: it is 420 million parameters that take five
minutes and 5 GB. How much memory there is must not change what a record says."""

Precision = torch.dtype
SINGLE, DOUBLE = torch.float32, torch.float64


def measured(claim: Claim, subject: Subject, precision: Precision, seeds: Sequence[int]) -> Cell:
    """The cell of the claim for the subject with drawn weights, computing in `precision`.

    It holds if it holds of each draw, and is violated if one violates it. What is only observed (shapes, attributes)
    does not depend on the draw.

    Raises:
        Exception: what the model raises on real numbers.
    """
    kept: Cell | None = None
    for seed in seeds:
        real = RealSubject(subject, seed, precision)
        is_large = (weights_in(real, precision) or 0) > LARGE
        if is_large:
            gc.collect()  # of what a failure before this one kept
        try:
            cell = claim.decide(real)
        finally:
            real.close()
            del real
            if is_large:
                gc.collect()
        if cell.verdict is not Verdict.HOLDS or cell.evidence is Evidence.OBSERVED:
            return cell
        kept = cell
    assert kept is not None
    return kept


def weights_in(subject: Subject, precision: Precision) -> int | None:
    """Bytes that the parameters take, on top of which comes what is computed with them; None if it is not built."""
    try:
        parameters = list(subject.as_built.parameters())
    except Exception:  # noqa: BLE001  # whatever building it raises
        return None
    return sum(parameter.numel() for parameter in parameters) * precision.itemsize
