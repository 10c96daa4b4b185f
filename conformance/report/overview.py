"""This module condenses a run to what one wants to know first: counts, and the causes behind what does not hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.record import Cell, ClaimEntry, Evidence, Level, Record, Run, Verdict, count

GLYPHS = {Verdict.HOLDS: "✓", Verdict.VIOLATED: "✗", Verdict.UNDECIDED: "?", Verdict.NOT_APPLICABLE: "\N{EN DASH}"}
"""One sign for each verdict, told apart by shape and not by colour alone."""

WORDS = {verdict: verdict.replace("_", " ") for verdict in Verdict}
"""Verdicts as prose says them."""

MEANINGS = {
    Verdict.HOLDS: "The model keeps the claim.",
    Verdict.VIOLATED: "The model breaks the claim; the reason says how.",
    Verdict.UNDECIDED: "Neither shown nor refuted; the reason says what stood in the way. Never count it as kept.",
    Verdict.NOT_APPLICABLE: "The claim has no meaning for this model, or rests on one that does not hold.",
}

EVIDENCE_MEANINGS = {
    Evidence.PROVED: "Both computations have the same value number: they are the same function for every weight.",
    Evidence.MEASURED: "Compared on real numbers with weights drawn anew, within a stated bound.",
    Evidence.OBSERVED: "A shape, an attribute or an exception that was seen.",
}

PROOF = (
    "A proof says: for every weight, at the input size and batch size in the record, in eval mode, on the path that "
    "torch takes for the meta device. Attention, recurrent and fast-path kernels take other, equivalent kernels on a "
    "real device, and a proof does not speak of those."
)
"""What a proof says and what it does not, in plain words; every full report carries it."""

_BINDING = (Level.MUST, Level.SHOULD)
_FAULTS = (Verdict.VIOLATED, Verdict.UNDECIDED)


@dataclass(frozen=True)
class Cause:
    """Cells that fail for the same reason."""

    digest: str | None
    """As the cells carry it; None where they carry none and were grouped by claim and reason."""
    verdict: Verdict
    claim_ids: tuple[str, ...]
    """In the order of the header."""
    models: tuple[str, ...]
    """Sorted, each once."""
    reason: str
    """Of the first model; others may differ in numbers."""


@dataclass(frozen=True)
class Overview:
    """A run at a glance."""

    verdicts: dict[Verdict, int]
    evidence: dict[Evidence, int]
    """Of the cells that hold or are violated."""
    by_claim: dict[str, dict[Verdict, int]]
    by_level: dict[Level, dict[Verdict, int]]
    """Levels without a claim have no entry."""
    causes: tuple[Cause, ...]
    """The one with the most models first."""
    faultless: int
    """How many models have no must or should claim violated or undecided."""


def overview(run: Run) -> Overview:
    """Count and group the cells of a run."""
    claims = {entry.id: entry for entry in run.header.claims}
    by_claim = {claim_id: dict.fromkeys(Verdict, 0) for claim_id in claims}
    evidence = dict.fromkeys(Evidence, 0)
    faultless = 0
    for record in run.records:
        for claim_id, cell in record.cells.items():
            by_claim[claim_id][cell.verdict] += 1
            if cell.evidence is not None:
                evidence[cell.evidence] += 1
        faultless += not any(
            cell.verdict in _FAULTS and claims[claim_id].level in _BINDING for claim_id, cell in record.cells.items()
        )
    by_level: dict[Level, dict[Verdict, int]] = {}
    for level in Level:
        counters = [Counter(by_claim[entry.id]) for entry in claims.values() if entry.level is level]
        if counters:
            by_level[level] = {verdict: sum(counter[verdict] for counter in counters) for verdict in Verdict}
    return Overview(
        verdicts=count(run.records),
        evidence=evidence,
        by_claim=by_claim,
        by_level=by_level,
        causes=causes(run.records, run.header.claims),
        faultless=faultless,
    )


def causes(records: Iterable[Record], claims: Iterable[ClaimEntry]) -> tuple[Cause, ...]:
    """The violated and undecided cells, grouped by why they are so."""
    order = {entry.id: place for place, entry in enumerate(claims)}
    groups: dict[tuple[str, ...], list[tuple[str, str, Cell]]] = {}
    for record in records:
        for claim_id, cell in record.cells.items():
            if cell.verdict in _FAULTS:
                groups.setdefault(_key(claim_id, cell), []).append((record.model, claim_id, cell))
    found = []
    for cells in groups.values():
        model, _, first = min(cells, key=lambda entry: (entry[0], order[entry[1]]))
        assert first.reason is not None, model
        found.append(
            Cause(
                digest=first.cause,
                verdict=first.verdict,
                claim_ids=tuple(sorted({claim_id for _, claim_id, _ in cells}, key=order.__getitem__)),
                models=tuple(sorted({model for model, _, _ in cells})),
                reason=first.reason,
            )
        )
    return tuple(sorted(found, key=lambda cause: (-len(cause.models), cause.claim_ids, cause.models, cause.reason)))


def _key(claim_id: str, cell: Cell) -> tuple[str, ...]:
    if cell.cause is not None:
        return cell.verdict, cell.cause
    # Without a digest, reasons that differ in numbers only (widths, errors) are taken for one.
    return cell.verdict, claim_id, re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", cell.reason or "")
