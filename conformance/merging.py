"""This module joins the shards of an audit into the run that one audit would have written."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from conformance.record import Footer, Header, Record, Run, count

_FACTS = ("schema", "suite", "timm", "torch", "python", "machine", "tier", "claims")
"""What the headers of one audit's shards have in common; `started` varies."""


class NotOneAudit(Exception):
    """Files that are not the shards of one audit, each once. Its text is one sentence."""


def merge(runs: Mapping[str, Run]) -> Run:
    """The run of which these are the shards, by the names of their files.

    Raises:
        NotOneAudit: They overlap, leave a hole, or are parts of different audits; the text says which.
    """
    numbers: dict[int, str] = {}
    first, *_ = runs
    for name, run in runs.items():
        shard = run.header.shard
        if shard is None:
            raise NotOneAudit(f"{name} is no shard; merge joins what audit --shard K/N wrote")
        _check_same(first, runs[first].header, name, run.header)
        if shard.number in numbers:
            both = f"{numbers[shard.number]} and {name}"
            raise NotOneAudit(f"{both} are both shard {shard.number}/{shard.of}; name each shard once")
        numbers[shard.number] = name
    whole = runs[first].header.shard
    assert whole is not None
    if missing := [number for number in range(1, whole.of + 1) if number not in numbers]:
        shards = ", ".join(f"{number}/{whole.of}" for number in missing)
        noun = "shard {} is" if len(missing) == 1 else "shards {} are"
        raise NotOneAudit(
            f"{noun.format(shards)} missing; audit with --shard {missing[0]}/{whole.of} and name its file too"
        )
    return _joined(runs, whole.subjects)


def _check_same(first: str, known: Header, name: str, header: Header) -> None:
    for fact in _FACTS:
        if getattr(known, fact) != getattr(header, fact):
            told = "" if fact == "claims" else f": {getattr(known, fact)} and {getattr(header, fact)}"
            raise NotOneAudit(f"{first} and {name} are of different audits ({fact} differ{told}); merge shards of one")
    ours, theirs = known.shard, header.shard
    assert ours is not None
    assert theirs is not None
    if (ours.of, ours.subjects, ours.models) != (theirs.of, theirs.subjects, theirs.models):
        left = f"{first} is a shard of {ours.subjects} models in {ours.of}"
        right = f"{name} one of {theirs.subjects} in {theirs.of}"
        raise NotOneAudit(f"{left}, {right}, or of other names; merge shards of one audit")


def _joined(runs: Mapping[str, Run], subjects: int) -> Run:
    records: dict[str, tuple[str, Record]] = {}
    for name, run in runs.items():
        for record in run.records:
            if record.model in records:
                raise NotOneAudit(
                    f"{record.model!r} is in {records[record.model][0]} and in {name}; audit these shards again"
                )
            records[record.model] = (name, record)
    if len(records) != subjects:
        raise NotOneAudit(f"the shards have {len(records)} of {subjects} models; audit these shards again")
    header = msgspec.structs.replace(
        next(iter(runs.values())).header,
        shard=None,
        subjects=subjects,
        started=min(run.header.started for run in runs.values()),
    )
    ordered = tuple(records[model][1] for model in sorted(records))
    return Run(header=header, records=ordered, footer=Footer(subjects=subjects, verdicts=count(ordered)))
