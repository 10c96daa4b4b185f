"""This script plays large audits from recorded costs, without running a model: it prints the table of docs/scale.md.

Models take what they took in the published run, off by as much as names tell of them; machines start processes, are
slow, and are lost. What is played are the chunks that `conformance.run.chunks` cuts, handed out as Ray does it: to
whoever is free, in their order.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from conformance.record_file import read_run
from conformance.run.chunks import cut
from conformance.run.expected import BUILDING
from conformance.run.writer import Writer

PUBLISHED = Path(__file__).parents[1] / "reports" / "timm-1.0.31.jsonl.gz"
START = 7.0
"""Seconds that a chunk takes before its first model: two processes import torch and timm."""
NOTICED = 30.0
"""Seconds until a lost machine is missed, and its chunks go out again."""
OFF = 0.5
"""Standard deviation of the logarithm of what a model takes against what was expected: more than names are off."""
SLOW, SLOWNESS = 0.05, 2.0
"""Part of the processes that are slow, and how much longer they take."""
LOST = 0.05
"""Part of the machines that are lost, at some time of the audit."""
ON_A_MACHINE = 16
"""Processes."""


@dataclass
class Process:
    """One that decides chunks: how fast, and until when it is there."""

    speed: float = 1.0
    ends: float = math.inf


def recorded() -> dict[str, float]:
    """Seconds of each model in the full tier."""
    return {
        record.model: BUILDING + sum(cost for step, cost in record.cost.items() if step != "peak_mb")
        for record in read_run(PUBLISHED).records
    }


def many(costs: dict[str, float], count: int) -> dict[str, float]:
    """So many models, of which one costs what one of the recorded does."""
    return {f"{number:05} {name}": costs[name] for number, name in zip(range(count), itertools.cycle(sorted(costs)))}


def processes(count: int, *, disturbed: bool, until: float, chance: random.Random) -> list[Process]:
    """Those of a cluster. If it is disturbed some are slow, and of several machines some are lost before `until`."""
    found = [Process() for _ in range(count)]
    if disturbed:
        for number in chance.sample(range(count), math.ceil(SLOW * count)):
            found[number].speed = 1 / SLOWNESS
        machines = count // ON_A_MACHINE
        for machine in chance.sample(range(machines), math.ceil(LOST * machines) if machines > 1 else 0):
            ends = chance.uniform(0, until)
            for process in found[machine * ON_A_MACHINE : (machine + 1) * ON_A_MACHINE]:
                process.ends = ends
    return found


def makespan(chunks: Iterable[Sequence[float]], workers: Sequence[Process]) -> float:
    """When the last model is decided. `chunks` have the seconds that each of their models really takes."""
    waiting, late = deque(chunks), list[tuple[float, int, Sequence[float]]]()
    free = [(0.0, number) for number in range(len(workers))]
    ended, count = 0.0, itertools.count()
    while free:
        now, number = heapq.heappop(free)
        worker = workers[number]
        if now >= worker.ends:
            continue
        while late and late[0][0] <= now:
            waiting.appendleft(heapq.heappop(late)[2])
        if not waiting:
            if late:
                heapq.heappush(free, (late[0][0], number))
            continue
        models = waiting.popleft()
        then = now + START
        for place, seconds in enumerate(models):
            then += seconds / worker.speed
            if then > worker.ends:  # what was decided before has been written
                heapq.heappush(late, (worker.ends + NOTICED, next(count), models[place:]))
                break
            ended = max(ended, then)
        else:
            heapq.heappush(free, (then, number))
    if late or waiting:
        raise RuntimeError("every machine is lost")
    return ended


def bound(work: float, longest: float, workers: Sequence[Process]) -> float:
    """What no schedule can be faster than: the processes, as long as they are there, do nothing but decide."""
    low, high = 0.0, 2 * work / sum(worker.speed for worker in workers if worker.ends == math.inf)
    for _ in range(100):
        middle = (low + high) / 2
        done = sum(worker.speed * min(middle, worker.ends) for worker in workers)
        low, high = (low, middle) if done >= work else (middle, high)
    return max(high, longest)


def played(
    expected: dict[str, float], releases: int, count: int, *, disturbed: bool, seed: int = 0
) -> tuple[float, float, int]:
    """How long an audit of some releases takes on so many processes, the bound of that, and how many chunks it has."""
    chance = random.Random(seed)
    # The mean is as expected: half of what is expected is off one way.
    real = {name: cost * math.exp(chance.gauss(-OFF * OFF / 2, OFF)) for name, cost in expected.items()}
    chunks = cut([list(expected)] * releases, count, expected.__getitem__)
    work = releases * sum(real.values())
    workers = processes(count, disturbed=disturbed, until=work / count, chance=chance)
    taken = makespan([[real[model] for model in chunk.models] for chunk in chunks], workers)
    return taken, bound(work, max(real.values()), workers), len(chunks)


def written_in_a_second() -> tuple[float, float]:
    """Records that one writer takes in a second, and their bytes on average."""
    run = read_run(PUBLISHED)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "run.jsonl")
        writer = Writer(file)
        writer.start(run.header, resume=False, models=tuple(record.model for record in run.records))
        began = time.perf_counter()
        for record in run.records:
            writer.put(record)
        rate = len(run.records) / (time.perf_counter() - began)
        size = Path(directory, "run.jsonl.partial").stat().st_size / len(run.records)
        writer.leave()
    return rate, size


PLAYS = 5
LARGEST = 1000
AUDITS = (
    ("1,371 models, 1 release", 1371, 1, (2, 16, 64)),
    ("2,000 models, 10 releases", 2000, 10, (64, 1024)),
    ("2,000 models, 100 releases", 2000, 100, (64, 1024)),
    ("2,000 models, 1,000 runs", 2000, LARGEST, (64, 1024)),
)


def main() -> int:
    """Print the table, and exit with 1 if the largest audit takes a tenth longer than it must."""
    costs, table = recorded(), Table("audit", "processes", "chunks", "bound", "takes", "disturbed: bound", "takes")
    is_slow = False
    for title, models, releases, sizes in AUDITS:
        expected = many(costs, models)
        for count in sizes:
            cells = [title, f"{count:,}"]
            for disturbed in (False, True):
                runs = [played(expected, releases, count, disturbed=disturbed, seed=seed) for seed in range(PLAYS)]
                least = statistics.mean(run[1] for run in runs)
                ratios = [run[0] / run[1] for run in runs]
                is_slow |= releases == LARGEST and max(ratios) > 1.1
                cells += [] if disturbed else [f"{runs[0][2]:,}"]
                cells += [f"{least / 3600:.2f} h", f"{statistics.mean(ratios):.3f} x, at most {max(ratios):.3f}"]
            table.add_row(*cells)
    Console(width=140).print(table)
    rate, size = written_in_a_second()
    Console().print(f"one writer: {rate:,.0f} records a second, of {size:,.0f} bytes")
    return int(is_slow)


if __name__ == "__main__":
    sys.exit(main())
