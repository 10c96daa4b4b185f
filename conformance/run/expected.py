"""This module is what deciding a claim of a model is expected to take, learnt from records.

Shards, chunks and estimates need the time of models before anything of them is built, so a name is all there is to go
by: a model that is known takes what it took, any other what those take whose names it shares the longest beginning
with. `expected.json` beside this file was learnt from the published run (`python -m conformance.run.expected RUN`);
the absolute times are that machine's, and only their ratios are meant to carry over.
"""

from __future__ import annotations

import bisect
import math
import os
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

import msgspec

from conformance.record import Record, Run, Tier
from conformance.record_file import read_run

FILE = "expected.json"
BUILDING = 0.2
"""Seconds that a model takes beyond its claims: it is traced, described, and let go."""
USUAL_MEMORY = 2500.0
"""MiB of a process where nothing was measured: of what is imported, and of a model of some size on real numbers."""
_HELD_OUT = 400
"""Models that the error is measured on, about."""
_SHORTEST = 3
"""Characters of a beginning that says something."""


class Known(msgspec.Struct, frozen=True):
    """What records taught: seconds of each model in the core tier and in the rest, and how claims share in these."""

    models: dict[str, tuple[float, float]]
    shares: dict[str, tuple[Tier, float]]
    """By claim, its tier and its part of that tier's time, over all models."""
    memory: dict[str, dict[Tier, float]] = {}
    """MiB that the process of a model had resident at most, by tier, where that was measured."""


def learnt(run: Run, *others: Run) -> Known:
    """What a run of the full tier teaches, and of memory others of either tier.

    `peak_mb` is that of one model's in runs of this version of the suite on; in older ones it is that of a process.
    """
    tiers = {entry.id: entry.tier for entry in run.header.claims}
    by_tier = {tier: [name for name, one in tiers.items() if one is tier] for tier in (Tier.CORE, Tier.FULL)}
    spent = {record.model: tuple(_seconds(record, by_tier[tier]) for tier in by_tier) for record in run.records}
    shares = {}
    for tier, names in by_tier.items():
        total = sum(_seconds(record, names) for record in run.records)
        for name in names:
            of_claim = sum(record.cost.get(name, 0.0) for record in run.records)
            shares[name] = (tier, round(of_claim / total, 5) if total else 0.0)
    memory: dict[str, dict[Tier, float]] = {}
    for other in others:
        for record in other.records:
            memory.setdefault(record.model, {})[other.header.tier] = round(record.cost["peak_mb"])
    models = {name: (round(a, 2), round(b, 2)) for name, (a, b) in spent.items()}
    return Known(models=models, shares=shares, memory=memory)


def _seconds(record: Record, claims: Iterable[str]) -> float:
    return sum(record.cost.get(claim, 0.0) for claim in claims)


@cache
def shipped() -> Known:
    """What the published run taught."""
    return msgspec.json.decode(files("conformance.run").joinpath(FILE).read_bytes(), type=Known)


@dataclass(frozen=True)
class ByName:
    """A figure for each of some models, and from them one for any other name."""

    known: Mapping[str, float]

    def of(self, model: str) -> float:
        """The model's own figure, or that of models that are called like it."""
        found = self.known.get(model)
        return self._like(model, self._names) if found is None else found

    @cached_property
    def _names(self) -> Sequence[str]:
        return sorted(self.known)

    def _like(self, model: str, names: Sequence[str]) -> float:
        """The median of those whose names begin like the model's for longest; or else of all."""
        place = bisect.bisect_left(names, model)
        beside = [name for name in names[max(0, place - 1) : place + 1] if name != model]
        shared = max((os.path.commonprefix((model, name)) for name in beside), key=len, default="")  # noqa: RUF071
        if len(shared) < _SHORTEST:
            return statistics.median(self.known.values())
        begin, end = bisect.bisect_left(names, shared), bisect.bisect_left(names, shared + "\U0010ffff")
        return statistics.median(self.known[name] for name in names[begin:end] if name != model)

    def error(self) -> tuple[float, float]:
        """How far off the figure is of a model of which nothing is known but its name: the factor, either way, that
        half of the models stay within, and the one that nine of ten do.
        """
        names = self._names
        off = []
        for name in names[:: max(1, len(names) // _HELD_OUT)]:
            others = [one for one in names if one != name]
            off.append(abs(math.log(self._like(name, others) / self.known[name])))
        off.sort()
        half, most = (math.exp(off[int(part * (len(off) - 1))]) for part in (0.5, 0.9))
        return half, most


@dataclass(frozen=True)
class Expected:
    """What models are expected to take by their names, for a choice of claims."""

    time: ByName
    """Seconds."""
    memory: ByName
    """MiB."""

    @classmethod
    def of(cls, claims: Iterable[str], known: Known | None = None) -> Expected:
        """For these claims; one that nothing is known of counts like the average of its tier's."""
        known = shipped() if known is None else known
        usual = statistics.mean(share for _, share in known.shares.values())
        parts = {Tier.CORE: 0.0, Tier.FULL: 0.0}
        for claim in claims:
            tier, share = known.shares.get(claim, (Tier.FULL, usual))
            parts[tier] += share
        seconds = {
            name: BUILDING + core * parts[Tier.CORE] + rest * parts[Tier.FULL]
            for name, (core, rest) in known.models.items()
        }
        widest = Tier.FULL if parts[Tier.FULL] else Tier.CORE
        measured = {name: most[widest] for name, most in known.memory.items() if widest in most}
        return cls(ByName(seconds), ByName(measured))

    def seconds(self, model: str) -> float:
        """What the model is expected to take."""
        return self.time.of(model) if self.time.known else BUILDING

    def megabytes(self, model: str) -> float:
        """What the process that decides the model is expected to have resident at most."""
        return self.memory.of(model) if self.memory.known else USUAL_MEMORY


def main(*runs: str) -> None:
    """Learn from the runs in files (`learnt`), write that beside this module, and say how good it is."""
    known = learnt(*map(read_run, runs))
    Path(__file__).with_name(FILE).write_bytes(msgspec.json.encode(known, order="sorted") + b"\n")
    for tier in (Tier.CORE, Tier.FULL):
        claims = [claim for claim, (one, _) in known.shares.items() if one is Tier.CORE or tier is Tier.FULL]
        expected = Expected.of(claims, known)
        for what, figures in (("time", expected.time), ("memory", expected.memory)):
            if figures.known:
                half, most = figures.error()
                sys.stdout.write(
                    f"{tier} tier, {what}: of unknown models half within a factor of {half:.2f}, 9 of 10 within "
                    f"{most:.2f}; {len(figures.known)} known\n"
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
