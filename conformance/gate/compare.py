"""This module compares two runs: fingerprints with fingerprints, verdicts with verdicts, surfaces with surfaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from conformance.gate.changes import (
    CauseChange,
    CellChange,
    Comparison,
    Kind,
    ModelChange,
    Output,
    Side,
    Status,
)
from conformance.gate.expectations import Expectations
from conformance.gate.naming import Tags
from conformance.gate.surfaces import surface_changes
from conformance.record import Cell, ClaimEntry, Evidence, Header, Record, Run, Verdict
from conformance.release import OUTPUTS, Surface

HAS_A_HEAD, RUNS = "pre_logits_supported", "forward_features_runs"
"""The claims that say whether there is something to compare."""


def compare(
    before: Run,
    after: Run,
    expectations: Expectations,
    *,
    models: Collection[str] | None = None,
    pairs: Mapping[tuple[str, str], Sequence[Tags]] | None = None,
    settled: Mapping[tuple[str, str, str], Output] | None = None,
    surfaces: tuple[Mapping[str, Surface], Mapping[str, Surface]] = ({}, {}),
) -> Comparison:
    """What changed from one run to the other.

    Args:
        before: The run to compare with.
        after: The run that is judged.
        expectations: What is expected of the latter.
        models: Names of either run; None compares all.
        pairs: Models of the first run with those that took their place, and the weights that are meant; None pairs
            models of the same name.
        settled: What is known of outputs whose fingerprints differ or are missing, by name before, after, and output.
        surfaces: By name, what both releases say of models besides.
    """
    old = {record.model: record for record in before.records}
    new = {record.model: record for record in after.records}
    pairs = {(name, name): [] for name in old} if pairs is None else pairs
    chosen = set(old) | set(new) if models is None else set(models)
    refusal = _why_not_fingerprints(before.header, after.header)
    levels = _common_claims(before.header, after.header)
    versions = versions_of(after.header)
    changes = []
    for (name, place), tags in pairs.items():
        if name not in chosen and place not in chosen:
            continue
        if place not in new:
            changes.append(ModelChange(model=name, presence=Kind.REMOVED))
            continue
        left, right = old[name], new[place]
        changes.append(
            ModelChange(
                model=place,
                was=name if name != place else None,
                outputs=_outputs(left, right, refusal, settled or {}),
                cells=tuple(_cells(left, right, levels, expectations, versions)),
                surface=_widths(left, right) | surface_changes(surfaces[0].get(name), surfaces[1].get(place), tags),
            )
        )
    fresh = chosen & new.keys() - {place for _, place in pairs}
    changes += [ModelChange(model=name, presence=Kind.ADDED) for name in fresh]
    compared = [change for change in changes if change.presence is None]
    gone, come = _causes(
        [(old[change.was or change.model], new[change.model]) for change in compared], list(levels.values())
    )
    return Comparison(
        before=_side(before.header),
        after=_side(after.header),
        models=sorted_and_judged(changes, expectations, versions),
        new_causes=come,
        vanished_causes=gone,
        notes=tuple(note for note in (refusal, _undecided_claims(before.header, levels)) if note is not None),
    )


def sorted_and_judged(
    changes: Iterable[ModelChange], expectations: Expectations, versions: Mapping[str, str]
) -> tuple[ModelChange, ...]:
    """The changes in order, each with what was expected of it."""
    judged = []
    for change in changes:
        entries = {kind: expectations.for_change(change.model, kind, **versions) for kind in change.kinds}
        expected = {kind: entry.reason for kind, entry in entries.items() if entry is not None}
        judged.append(msgspec.structs.replace(change, expected=expected))
    return tuple(sorted(judged, key=lambda change: (change.model, change.was or "")))


def idle(expectations: Expectations, comparison: Comparison) -> list[str]:
    """A sentence for each change that is expected of models that were compared, and that none of them brought."""
    versions = {"timm": comparison.after.timm, "torch": comparison.after.torch, "python": comparison.after.python}
    sentences = []
    for entry in expectations.awake(**versions):
        meant = [change for change in comparison.models if entry.matches(change.model)]
        if entry.changes and meant and not any(kind in change.kinds for change in meant for kind in entry.changes):
            sentences.append(f"{entry.origin} expects {' or '.join(entry.changes)}, which was not found; take it out")
    return sentences


def _side(header: Header) -> Side:
    return Side(timm=header.timm, torch=header.torch, python=header.python, suite=header.suite)


def versions_of(header: Header) -> dict[str, str]:
    """What expectations are bounded by."""
    return {"timm": header.timm, "torch": header.torch, "python": header.python}


def _why_not_fingerprints(before: Header, after: Header) -> str | None:
    """Fingerprints name operations of torch, and are made by rules of this suite."""
    for what, left, right in (
        ("schema", before.schema, after.schema),
        ("torch", before.torch, after.torch),
        ("timm-conformance", before.suite, after.suite),
    ):
        if left != right:
            return f"the runs are of {what} {left} and {right}, so fingerprints are not compared; claims are"
    return None


def _common_claims(before: Header, after: Header) -> dict[str, ClaimEntry]:
    known = {entry.id for entry in before.claims}
    return {entry.id: entry for entry in after.claims if entry.id in known}


def _undecided_claims(before: Header, common: Mapping[str, ClaimEntry]) -> str | None:
    lost = [entry.id for entry in before.claims if entry.id not in common]
    if not lost:
        return None
    return (
        f"{len(lost)} claims of the first run were not decided in the second, and are not compared: {', '.join(lost)}"
    )


def _outputs(
    left: Record, right: Record, refusal: str | None, settled: Mapping[tuple[str, str, str], Output]
) -> dict[str, Output]:
    return {name: _output(left, right, name, refusal, settled.get((left.model, right.model, name))) for name in OUTPUTS}


def needs_settling(left: Record, right: Record, name: str) -> bool:
    """Whether fingerprints do not say what became of an output that there was."""
    was, is_ = left.fingerprints.get(name), right.fingerprints.get(name)
    return (was is None or was != is_) and not _was_absent(left, name)


def _output(left: Record, right: Record, name: str, refusal: str | None, settled: Output | None) -> Output:
    if refusal is None and not needs_settling(left, right, name):
        if left.fingerprints.get(name) is None:
            return Output(status=Status.ABSENT, reason="there was none before")
        return Output(status=Status.SAME, evidence=Evidence.PROVED)
    if settled is not None:
        return settled
    if refusal is not None:
        return (
            Output(status=Status.ABSENT, reason="there was none before")
            if _was_absent(left, name)
            else Output(status=Status.UNDECIDED, reason=refusal)
        )
    if _is_absent(right, name):
        return Output(status=Status.DRIFTED, evidence=Evidence.OBSERVED, reason="it is computed no more")
    return Output(
        status=Status.UNDECIDED,
        reason="its fingerprint is another, or there is none; `timm-conformance upgrade` measures what comes out",
    )


def _was_absent(record: Record, name: str) -> bool:
    return record.fingerprints.get(name) is None and _is_absent(record, name)


def _is_absent(record: Record, name: str) -> bool:
    """Whether the model does not compute the output, as its cells say."""
    asked = (RUNS, HAS_A_HEAD) if name == "pre_logits" else (RUNS,)
    cells = [record.cells[claim_id] for claim_id in asked if claim_id in record.cells]
    return any(cell.verdict in (Verdict.VIOLATED, Verdict.NOT_APPLICABLE) for cell in cells)


def _cells(
    left: Record,
    right: Record,
    claims: Mapping[str, ClaimEntry],
    expectations: Expectations,
    versions: Mapping[str, str],
) -> Iterable[CellChange]:
    for claim_id, entry in claims.items():
        was, is_ = left.cells.get(claim_id), right.cells.get(claim_id)
        if was is None or is_ is None or was.verdict is is_.verdict:
            continue
        expectation = expectations.for_cell(right.model, claim_id, **versions)
        is_expected = expectation is not None and expectation.verdict is is_.verdict
        yield CellChange(
            claim=claim_id,
            level=entry.level,
            before=was,
            after=is_,
            expected=expectation.reason if is_expected and expectation is not None else None,
        )


def _widths(left: Record, right: Record) -> dict[Kind, tuple[str, ...]]:
    sentences = tuple(
        f"{name} was {was} and is {is_}"
        for name, was, is_ in (
            ("num_features", left.num_features, right.num_features),
            ("head_hidden_size", left.head_hidden_size, right.head_hidden_size),
        )
        if was != is_ and was is not None
    )
    return {Kind.WIDTHS: sentences} if sentences else {}


def _causes(
    pairs: Iterable[tuple[Record, Record]], claims: Collection[ClaimEntry]
) -> tuple[tuple[CauseChange, ...], tuple[CauseChange, ...]]:
    """The causes that only the older records have, and those that only the newer have, the commonest first."""
    order = {entry.id: place for place, entry in enumerate(claims)}
    sides: tuple[dict[tuple[str, str], list[tuple[str, str, Cell]]], ...] = ({}, {})
    for pair in pairs:
        for record, groups in zip(pair, sides, strict=True):
            for claim_id in order:
                cell = record.cells.get(claim_id)
                if cell is not None and cell.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED):
                    key = (str(cell.verdict), cell.cause or f"{claim_id} {cell.reason}")
                    groups.setdefault(key, []).append((record.model, claim_id, cell))
    gone, come = (
        tuple(sorted((_cause(groups[key], order) for key in groups.keys() - other.keys()), key=_weight))
        for groups, other in (sides, sides[::-1])
    )
    return gone, come


def _cause(found: list[tuple[str, str, Cell]], order: Mapping[str, int]) -> CauseChange:
    _, _, first = found[0]
    return CauseChange(
        verdict=first.verdict,
        claims=tuple(sorted({claim_id for _, claim_id, _ in found}, key=order.__getitem__)),
        models=tuple(sorted({model for model, _, _ in found})),
        reason=first.reason or "",
    )


def _weight(cause: CauseChange) -> tuple[object, ...]:
    return (-len(cause.models), cause.claims, cause.models, cause.reason)
