"""This module cuts models into chunks, each of which one process of a cluster decides.

A chunk costs the start of a process, so chunks are long while much is left and short towards the end, when who is late
holds up everybody (guided self-scheduling, Polychronopoulos and Kuck 1987). Models that take longer than a chunk are
chunks of their own and go first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

SHORTEST, LONGEST = 30.0, 900.0
"""Seconds of expected work: a start should be a small part of it, and little should wait for one process."""
_START = 7.0
"""Seconds that a start takes, about: of less work than these for each process not all are needed."""
_ROUNDS = 4
"""Into how many chunks for each process what is left is divided, so that no slow one holds up the end."""


@dataclass(frozen=True)
class Chunk:
    """Models of one release that are decided one after another by one process."""

    run: int
    """Which of the runs that are decided together it belongs to."""
    models: tuple[str, ...]
    seconds: float
    """What it is expected to take."""


def cut(runs: Sequence[Sequence[str]], processes: int, seconds: Callable[[str], float]) -> list[Chunk]:
    """Chunks of all models of all runs, those first that are expected to take longest.

    Models that stand beside one another stay together: they are of one family, and what is learnt of the shapes of one
    serves the next.
    """
    left = sum(seconds(model) for models in runs for model in models)
    size = _Size(left, processes, shortest=min(SHORTEST, max(left / processes, _START)))
    chunks = [chunk for run, models in enumerate(runs) for chunk in _cut_one(run, models, size, seconds)]
    return sorted(chunks, key=lambda chunk: -chunk.seconds)


@dataclass
class _Size:
    """How long the next chunk should be: less, the less is left."""

    left: float
    processes: int
    shortest: float

    @property
    def most(self) -> float:
        return min(max(self.left / (_ROUNDS * self.processes), self.shortest), LONGEST)


def _cut_one(run: int, models: Sequence[str], size: _Size, seconds: Callable[[str], float]) -> Iterator[Chunk]:
    beginning: list[str] = []
    spent = 0.0
    for model in models:
        cost = seconds(model)
        if cost >= size.most:
            size.left -= cost
            yield Chunk(run, (model,), cost)
            continue
        if beginning and spent + cost > size.most:
            size.left -= spent
            yield Chunk(run, tuple(beginning), spent)
            beginning, spent = [], 0.0
        beginning.append(model)
        spent += cost
    if beginning:
        size.left -= spent
        yield Chunk(run, tuple(beginning), spent)
