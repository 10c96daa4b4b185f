"""This module is what a page tells of earlier runs: what changed since, finding by finding and model by model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.version import Version

from conformance.gate.changes import Comparison, Kind, ModelChange, Output, Status
from conformance.gate.compare import compare
from conformance.gate.expectations import Expectations
from conformance.gate.findings import Found, found, said
from conformance.record import Cell, Evidence, Header, Run, printable
from conformance.release import OUTPUTS

OTHER = "other"
"""The kind of a change that is neither for better nor for worse: a claim that applies no more, a signal."""
KINDS = (*map(str, Kind), OTHER)
_LETTERS = {Status.DRIFTED: "d", Status.UNDECIDED: "u", Status.ABSENT: "a"}


_OF_RUNS = {
    Kind.REMOVED: "not in this run: the model is gone, or was not chosen for it",
    Kind.ADDED: "not in the earlier run: the model is new, or was not chosen for that",
}
"""A run does not say of how many models it was chosen."""


class OtherRelease(Exception):
    """Changes that lead to another release than that of the page. Its text is one sentence."""


@dataclass(frozen=True)
class Since:
    """One earlier run, compared with that of the page."""

    name: str
    """What the page's address calls it: its timm, and what else it takes to tell it from others."""
    comparison: Comparison
    findings: tuple[Found, ...]
    """The worst first."""
    words: Mapping[Kind, str]
    """What is said of kinds, where that is not what the gate says."""

    @property
    def compared(self) -> int:
        """How many models both have."""
        return sum(change.presence is None for change in self.comparison.models)

    @property
    def others(self) -> int:
        """How many models have a verdict that changed and is neither broken nor mended."""
        return sum(
            any(not (cell.is_break or cell.is_mended) for cell in change.cells) for change in self.comparison.models
        )

    @property
    def counts(self) -> dict[Kind, int]:
        """How many models have each kind of finding; those that none has are left out."""
        return {kind: number for kind, number in self.comparison.count().items() if number}


def since(run: Run, earlier: Iterable[Run | Comparison]) -> tuple[Since, ...]:
    """The run compared with earlier ones, the latest release first; of what an upgrade found, what it found.

    Raises:
        OtherRelease: An upgrade led elsewhere.
    """
    comparisons = [_compared(one, run) for one in earlier]
    comparisons.sort(key=lambda one: _release(one[0].before.timm), reverse=True)
    told: dict[str, Since] = {}
    for comparison, words in comparisons:
        findings = tuple(replace(one, what=words.get(one.kind, one.what)) for one in found(comparison))
        name = _name(comparison, run.header, told)
        told[name] = Since(name, comparison, findings, words)
    return tuple(told.values())


def _compared(one: Run | Comparison, run: Run) -> tuple[Comparison, Mapping[Kind, str]]:
    if isinstance(one, Run):
        return compare(one, run, Expectations()), _OF_RUNS
    return _checked(one, run), {}


def is_earlier(one: Header, other: Header) -> bool:
    """Whether a run is of an earlier timm than another."""
    return _release(one.timm) < _release(other.timm)


def _checked(comparison: Comparison, run: Run) -> Comparison:
    after = comparison.after
    if (after.timm, after.torch) != (run.header.timm, run.header.torch):
        raise OtherRelease(
            f"the changes lead to timm {after.timm} with torch {after.torch}, and the run is of timm {run.header.timm} "
            f"with torch {run.header.torch}; name changes that lead to the release of the run"
        )
    return comparison


def _name(comparison: Comparison, header: Header, taken: Collection[str]) -> str:
    before = comparison.before
    name = before.timm
    if name == header.timm or name in taken:
        name = f"{name} with torch {before.torch}"
    number = 2
    while name in taken:
        name, number = f"{before.timm} ({number})", number + 1
    return name


def _release(version: str) -> tuple[bool, Version]:
    try:
        return True, Version(version)
    except ValueError:  # an InvalidVersion, or a number of thousands of digits
        return False, Version("0")


def embedded(
    one: Since,
    models: Sequence[str],
    claims: Sequence[str],
    note: Callable[[Cell], int | None],
    code: Callable[[Cell], str],
) -> dict[str, Any]:
    """What the page's script is told of an earlier run.

    Args:
        one: The run, compared.
        models: The page's, in its order: they are called by their places.
        claims: Likewise.
        note: The number of what a cell says besides its verdict.
        code: Verdict and evidence of a cell, in letters.
    """
    places = {model: place for place, model in enumerate(models)}
    columns = {claim_id: place for place, claim_id in enumerate(claims)}
    sentences: dict[tuple[Any, ...], int] = {}
    outputs: list[Any] = [0] * len(models)
    changes: dict[int, dict[str, Any]] = {}
    for change in one.comparison.models:
        place = places.get(change.model)
        if place is None:  # it was removed: the findings say so
            continue
        if change.presence is None:
            outputs[place] = "".join(_letter(change.outputs.get(name)) for name in OUTPUTS)
        told = [
            sentences.setdefault((KINDS.index(kind), *map(printable, (what, *detail))), len(sentences))
            for kind, what, detail in _told(change, one.words)
        ]
        cells = [
            [columns[cell.claim], code(cell.before), note(cell.before)]
            for cell in change.cells
            if cell.claim in columns
        ]
        if told or cells:
            changes[place] = {"told": told, "cells": cells}
    return {
        "name": printable(one.name),
        "notes": list(map(printable, one.comparison.notes)),
        "sentences": list(sentences),
        "outputs": outputs,
        "changes": changes,
    }


def _told(change: ModelChange, words: Mapping[Kind, str]) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    for kind, what, detail, _ in said(change):
        yield str(kind), words.get(kind, what), detail
    for cell in change.cells:
        if not (cell.is_break or cell.is_mended):
            yield OTHER, f"{cell.claim} was {cell.before.verdict} and is {cell.after.verdict}", ()


def _letter(output: Output | None) -> str:
    if output is None:
        return "a"
    if output.status is Status.SAME:
        return "p" if output.evidence is Evidence.PROVED else "m"
    return _LETTERS[output.status]
