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
_ROUNDS = 2
"""Into how many chunks for each process what is left is divided."""


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
    chunks: list[Chunk] = []
    for run, models in enumerate(runs):
        for chunk in _cut_one(run, models, processes, seconds, left):
            chunks.append(chunk)
            left -= chunk.seconds
    return sorted(chunks, key=lambda chunk: -chunk.seconds)


def _cut_one(
    run: int, models: Sequence[str], processes: int, seconds: Callable[[str], float], left: float
) -> Iterator[Chunk]:
    beginning: list[str] = []
    spent = 0.0
    for model in models:
        most = min(max(left / (_ROUNDS * processes), SHORTEST), LONGEST)
        cost = seconds(model)
        if cost >= most:
            yield Chunk(run, (model,), cost)
            left -= cost
            continue
        if beginning and spent + cost > most:
            yield Chunk(run, tuple(beginning), spent)
            left -= spent
            beginning, spent = [], 0.0
        beginning.append(model)
        spent += cost
    if beginning:
        yield Chunk(run, tuple(beginning), spent)
