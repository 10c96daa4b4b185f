"""This module decides one subject: claims in, cells and a record out. Every way of running calls it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from conformance.claims import CLAIMS
from conformance.claims.claim import not_applicable
from conformance.record import Cell, Evidence, Record, Verdict
from conformance.subject import Subject


class Examination:
    """One subject being decided, claim by claim; what claims share is built once.

    `known` are cells settled elsewhere (a worker that died deciding them): they are taken as they are, so that what
    killed one process does not kill the next.
    """

    def __init__(self, name: str, known: Mapping[str, Cell] | None = None) -> None:
        self.subject = Subject(name)
        self.cells: dict[str, Cell] = dict(known or {})
        self.cost: dict[str, float] = {}

    def cell(self, claim_id: str) -> Cell:
        """The cell of one claim, its prerequisites decided first. Never raises for what the model does."""
        if claim_id not in self.cells:
            self.cells[claim_id] = self._decide(claim_id)
        return self.cells[claim_id]

    def _decide(self, claim_id: str) -> Cell:
        claim = CLAIMS[claim_id]
        for need in claim.needs:
            if self.cell(need).verdict is not Verdict.HOLDS:
                return not_applicable(f"needs {need}, which does not hold")
        started = time.perf_counter()
        try:
            return claim.decide(self.subject)
        except Exception as error:  # noqa: BLE001  # the one boundary: what a model raises is a verdict
            return Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=repr(error))
        finally:
            self.cost[claim_id] = time.perf_counter() - started

    def describe(self) -> Record:
        """The facts of the subject (class, widths, fingerprints), without cells. Nothing is built if `builds` fails."""
        return Record(model=self.subject.name)

    def close(self) -> None:
        """Let go of the models and clear what TorchScript keeps for the process."""
        self.subject.close()


def decide(name: str, claim_ids: Iterable[str]) -> Record:
    """Decide `claim_ids` for the model called `name`."""
    examination = Examination(name)
    cells = {claim_id: examination.cell(claim_id) for claim_id in claim_ids}
    facts = examination.describe()
    examination.close()
    return Record(model=name, module=facts.module, cells=cells, cost=examination.cost)
