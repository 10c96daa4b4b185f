"""This module places sentinels among the models of a run, and says what is wrong with one that comes out wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conformance.record import Verdict, printable
from conformance.run.parcel import Parcel

BETWEEN = 250
"""Models between two sets of sentinels: what breaks one process of several should not go unseen for long."""


def is_sentinel(model: str) -> bool:
    """Whether it is no model of the run's."""
    from conformance.subject.sentinels import PREFIX

    return model.startswith(PREFIX)


def among(models: Sequence[str]) -> Iterator[str]:
    """The models in their order, with a set of sentinels after every `BETWEEN` of them and after the last."""
    from conformance.subject.sentinels import entries

    for number, start in enumerate(range(0, max(len(models), 1), BETWEEN), start=1):
        yield from models[start : start + BETWEEN]
        yield from entries(number)


def fault(parcel: Parcel) -> str | None:
    """What is wrong with a sentinel's cell, in words; None of one that is as it must be."""
    from conformance.subject.sentinels import sentinel_of

    true = sentinel_of(parcel.model).true(parcel.claim)
    if parcel.cell.verdict in true:
        return None
    expected = " or ".join(verdict for verdict in Verdict if verdict in true)
    reason = f": {printable(parcel.cell.reason)}" if parcel.cell.reason else ""
    return f"{parcel.claim} of {parcel.model} came out {parcel.cell.verdict}, {expected} was expected{reason}"
