"""This module judges a finished run against what was expected of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from conformance.gate.expectations import Expectation, Expectations
from conformance.record import Cell, Header, Level, Run, Verdict

_BINDING = (Level.MUST, Level.SHOULD)
_FINDING = (Verdict.VIOLATED, Verdict.UNDECIDED)


@dataclass(frozen=True)
class Finding:
    """A must or should claim that is violated or undecided, and not expected to be."""

    model: str
    claim_id: str
    cell: Cell
    expectation: Expectation | None = None
    """The entry that expects another verdict of the cell, if there is one."""

    def __str__(self) -> str:
        expected = f" (expected {self.expectation.verdict}: {self.expectation.origin})" if self.expectation else ""
        return f"{self.claim_id} of {self.model} is {self.cell.verdict}{expected}: {self.cell.reason}"


@dataclass(frozen=True)
class StaleExpectation:
    """An awake entry that did not come true, for one cell, or one glob of it that matches no model at all."""

    expectation: Expectation
    model: str | None = None
    """None: the glob matches nothing."""
    claim_id: str | None = None
    cell: Cell | None = None
    glob: str | None = None

    def __str__(self) -> str:
        origin = self.expectation.origin
        if self.cell is None:
            return f"{origin}: no model is called {self.glob!r}; remove it from the entry"
        return (
            f"{origin}: {self.claim_id} of {self.model} is {self.cell.verdict}, not {self.expectation.verdict}; "
            "take the model out of the entry"
        )


@dataclass(frozen=True)
class Judgement:
    """What of a run was not expected."""

    unexpected: tuple[Finding, ...]
    stale: tuple[StaleExpectation, ...]
    """Without the cells that are unexpected findings: each cell is named once."""
    expected: int
    """How many violated or undecided cells of must and should claims were expected to be."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left to say: the exit code of an audit is 0."""
        return not self.unexpected and not self.stale


def judge(run: Run, expectations: Expectations, *, names: Collection[str] | None = None) -> Judgement:
    """What of `run` was not expected; `names` is the whole list of models, as in `stale`.

    Raises:
        OverlappingExpectations: Two awake entries expect different verdicts of one cell.
    """
    binding = {entry.id for entry in run.header.claims if entry.level in _BINDING}
    unexpected: dict[tuple[str | None, str | None], Finding] = {}
    expected = 0
    for model, claim_id, cell, expectation in _cells(run, expectations):
        if claim_id not in binding or cell.verdict not in _FINDING:
            continue
        if expectation is not None and expectation.verdict is cell.verdict:
            expected += 1
        else:
            unexpected[model, claim_id] = Finding(model, claim_id, cell, expectation)
    return Judgement(
        unexpected=tuple(unexpected.values()),
        stale=tuple(
            entry for entry in stale(run, expectations, names=names) if (entry.model, entry.claim_id) not in unexpected
        ),
        expected=expected,
    )


def stale(run: Run, expectations: Expectations, *, names: Collection[str] | None = None) -> list[StaleExpectation]:
    """The awake entries that no longer come true, model by model, in the order of the run.

    A glob that matches nothing is told only if the run covers all of `names`, the whole list of models, and every
    claim of the entry: a selection says nothing about what it left out.

    Raises:
        OverlappingExpectations: Two awake entries expect different verdicts of one cell.
    """
    found = [
        StaleExpectation(expectation, model, claim_id, cell)
        for model, claim_id, cell, expectation in _cells(run, expectations)
        if expectation is not None and expectation.verdict is not cell.verdict
    ]
    if names is not None and {record.model for record in run.records}.issuperset(names):
        found += _unmatched(run, expectations)
    return found


def _cells(run: Run, expectations: Expectations) -> Iterator[tuple[str, str, Cell, Expectation | None]]:
    header = run.header
    for record in run.records:
        for claim_id, cell in record.cells.items():
            yield record.model, claim_id, cell, expectations.for_cell(record.model, claim_id, **_versions(header))


def _unmatched(run: Run, expectations: Expectations) -> Iterator[StaleExpectation]:
    models = [record.model for record in run.records]
    audited = {entry.id for entry in run.header.claims}
    for expectation in expectations.awake(**_versions(run.header)):
        if expectation.claims and audited.issuperset(expectation.claims):
            for glob in expectation.models:
                if not any(fnmatch.fnmatchcase(model, glob) for model in models):
                    yield StaleExpectation(expectation, glob=glob)


def _versions(header: Header) -> dict[str, str]:
    return {"timm": header.timm, "torch": header.torch, "python": header.python}
