"""This module is the contract as pytest items: one for each cell, its outcome told from verdict and expectation."""

from __future__ import annotations

import enum
import os
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from conformance.gate.expectations import OverlappingExpectations
from conformance.record import Cell, Level, Verdict, printable
from conformance.run.parcel import PROPERTY, pack

if TYPE_CHECKING:
    from conformance.claims import Claim
    from conformance.gate.expectations import Expectation
    from conformance.run.bench import Bench

NODE = "conformance/test_contract.py"
"""The node id of the contract, wherever it is installed and whatever pytest takes for its root."""
FUNCTION = "test_contract"

UNRELIABLE = "nothing that this run says can be relied on"


class ContractSignal(UserWarning):
    """A claim that binds nobody does not hold."""


class Outcome(enum.Enum):
    """What pytest is told of a cell."""

    PASSED = enum.auto()
    SKIPPED = enum.auto()
    EXPECTED = enum.auto()
    SIGNAL = enum.auto()
    STALE = enum.auto()
    FAILED = enum.auto()


def outcome(cell: Cell, level: Level, expectation: Expectation | None) -> Outcome:
    """Which outcome a verdict is, given what was expected of the cell."""
    if expectation is not None:
        return Outcome.EXPECTED if cell.verdict is expectation.verdict else Outcome.STALE
    match cell.verdict:
        case Verdict.HOLDS:
            return Outcome.PASSED
        case Verdict.NOT_APPLICABLE:
            return Outcome.SKIPPED
        case Verdict.VIOLATED if level is Level.SIGNAL:
            return Outcome.SIGNAL
        case _:
            return Outcome.FAILED


class Contract(pytest.File):
    """`conformance/test_contract.py`, whose items are made from the choice and not by importing it."""

    bench: Bench

    def collect(self) -> Iterator[pytest.Item]:
        """Every chosen cell, models in order and each model's claims in order."""
        chosen = self.bench.chosen()
        for row, model in enumerate(chosen.models):
            for column, claim_id in enumerate(chosen.claims):
                yield ContractItem.from_parent(
                    self, name=f"{FUNCTION}[{model}-{claim_id}]", model=model, claim_id=claim_id, place=(row, column)
                )


class ContractItem(pytest.Item):
    """One cell."""

    parent: Contract

    def __init__(self, *, model: str, claim_id: str, place: tuple[int, int], **others: Any) -> None:
        super().__init__(**others)
        self.model = model
        self.claim_id = claim_id
        self.place = place
        """Row of the model and column of the claim: the order in which building a model once serves all its claims."""

    def runtest(self) -> None:
        """Decide the cell, send it off, and raise what makes pytest say its outcome."""
        bench = self.parent.bench
        parcel = bench.parcel(self.model, self.claim_id)
        self.user_properties.append((PROPERTY, pack(parcel)))
        if parcel.broken:
            raise pytest.fail.Exception(f"{UNRELIABLE}: {parcel.broken[0]}", pytrace=False)
        claim = bench.claim(self.claim_id)
        try:
            expectation = bench.expectation(self.model, self.claim_id)
        except OverlappingExpectations as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        cell = parcel.cell
        match outcome(cell, claim.level, expectation):
            case Outcome.PASSED:
                return
            case Outcome.SKIPPED:
                raise pytest.skip.Exception(printable(cell.reason or ""), _use_item_location=True)
            case Outcome.EXPECTED if not self.config.getoption("runxfail", False):
                assert expectation is not None
                raise pytest.xfail.Exception(f"{cell.verdict} as expected: {printable(expectation.reason)}")
            case Outcome.SIGNAL:
                self._signal(f"{self.model}: {claim.text} Violated: {printable(cell.reason or '')}")
            case _:
                raise pytest.fail.Exception(_failure(self.model, claim, cell, expectation), pytrace=False)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        """Where pytest says that the item is."""
        return self.path, 0, self.name

    def _signal(self, text: str) -> None:
        # Past the filters: a signal breaks nobody, so warnings-as-errors must not turn it into a failure.
        message = warnings.WarningMessage(ContractSignal(text), ContractSignal, str(self.path), 1)
        self.ihook.pytest_warning_recorded.call_historic(
            kwargs={"warning_message": message, "when": "runtest", "nodeid": self.nodeid, "location": None}
        )


def cell_of(nodeid: str) -> tuple[str, str] | None:
    """Model and claim id that a node id names, or None for a test that is not ours."""
    place, _, rest = nodeid.partition(f"::{FUNCTION}[")
    model, dash, claim_id = rest.removesuffix("]").rpartition("-")
    return (model, claim_id) if place == NODE and dash else None


def _failure(model: str, claim: Claim, cell: Cell, expectation: Expectation | None) -> str:
    reason = printable(cell.reason or "the claim holds")
    lines = [f"{claim.id} of {model} is {cell.verdict}: {reason}"]
    if expectation is not None and expectation.verdict is not cell.verdict:
        lines[0] = f"{claim.id} of {model} is {cell.verdict}, expected {expectation.verdict}: {reason}"
        lines.append(f"  expected   {expectation.origin}: {printable(expectation.reason)}")
    lines += [f"  claim      {claim.text}", f"  level      {claim.level}"]
    if cell.evidence is not None:
        lines.append(f"  evidence   {cell.evidence}")
    if cell.cause is not None:
        lines.append(f"  cause      {printable(cell.cause)}")
    lines.append(f"  reproduce  timm-conformance show {model} --claim {claim.id}")
    return "\n".join(lines)
