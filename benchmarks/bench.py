"""This script measures what the design promises in numbers, and prints a table with the machine it was measured on.

    python benchmarks/bench.py [MODELS]

Start-up, the report of the published run, the core tier on a sample of MODELS (100 unless told otherwise), the
largest model, and an upgrade of 20 models, whose wheel is fetched first. Nothing else should run meanwhile. The sample
is every n-th model of the list sorted by module, from a seeded start: each module has its share of it, and the time for
all models is the sample's in proportion, less what starting costs.
"""

from __future__ import annotations

import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import timm
from rich.console import Console
from rich.table import Table

from conformance.record import Record, Run
from conformance.record_file import read_run

SEED = 31
STARTS = 11
LARGEST = "vit_7b_patch16_dinov3"
OLDER = "1.0.25"
"""The release from which 20 models are upgraded to the installed one."""
UPGRADED = 20
REPORTS = Path(__file__).parent.parent / "reports"
COMMAND = (sys.executable, "-m", "conformance")


class Row(NamedTuple):
    """One measured number, and what it should not exceed."""

    what: str
    measured: float
    unit: str
    reach: float | None = None


def seconds(*words: str, codes: tuple[int, ...] = (0,)) -> float:
    """Wall time of one command."""
    began = time.perf_counter()
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if ended.returncode not in codes:
        sys.exit(f"{' '.join(words)} ended with {ended.returncode}:\n{ended.stderr}")
    return took


def startup() -> Iterator[Row]:
    """What an answer costs that needs no torch, and the bare interpreter beside it."""
    for what, words, reach in (
        ("python -c pass", (sys.executable, "-c", "pass"), None),
        ("--help", (*COMMAND, "--help"), 0.2),
        ("report --help", (*COMMAND, "report", "--help"), 0.2),
    ):
        yield Row(f"start-up: {what}", statistics.median(seconds(*words) for _ in range(STARTS)), "s", reach)


def report(scratch: Path) -> Iterator[Row]:
    """The page of the published run."""
    for file in sorted(REPORTS.glob(f"timm-{timm.__version__}.jsonl*")):
        page = scratch / "page.html"
        words = (*COMMAND, "report", str(file), "--output", str(page))
        run = read_run(file)
        cells = len(run.records) * len(run.header.claims)
        yield Row(f"report of {cells} cells", min(seconds(*words) for _ in range(3)), "s", 2)
        yield Row("its page", page.stat().st_size / 2**20, "MB", 3)


def sample(models: int) -> list[str]:
    """Names spread evenly over the list sorted by module, the same at every call."""
    by_module = [name for module in sorted(timm.list_modules()) for name in sorted(timm.list_models(module=module))]
    step = len(by_module) / models
    start = random.Random(SEED).random() * step
    return [by_module[int(start + number * step)] for number in range(models)]


def audit(names: list[str], scratch: Path, workers: int) -> tuple[float, Run]:
    """Wall time of an audit of the core tier, processes and imports included, and its run."""
    output = scratch / "run.jsonl"
    words = ("audit", *names, "-n", str(workers), "--expectations", "none", "--output", str(output))
    return seconds(*COMMAND, *words, codes=(0, 1)), read_run(output)


def decided(models: int, scratch: Path) -> Iterator[Row]:
    """Seven billion parameters, and then the sample, on as many workers as there are cores."""
    alone, run = audit([LARGEST], scratch, 1)
    (record,) = run.records
    # Starting processes and importing torch is paid once, however many models follow.
    overhead = alone - spent(record)
    yield Row(f"{LARGEST}, every claim", spent(record), "s", 5)
    yield Row("its worker's peak memory", record.cost["peak_mb"] / 1024, "GB", 1.5)
    yield Row("starting an audit and ending it", overhead, "s")

    workers, names, everything = len(os.sched_getaffinity(0)), sample(models), len(timm.list_models())
    took, run = audit(names, scratch, workers)
    yield Row(f"core tier, {models} models, {workers} workers", took, "s")
    whole = overhead + max(took - overhead, 0) * everything / models
    yield Row(f"all {everything} models, in proportion", whole / 60, "min", 20)
    yield Row("peak memory of a worker", max(record.cost["peak_mb"] for record in run.records) / 1024, "GB", 1.5)
    slowest = max(run.records, key=spent)
    yield Row(f"slowest of them: {slowest.model}", spent(slowest), "s")


def upgraded() -> Iterator[Row]:
    """An upgrade between releases that are at hand, decided afresh and from what is kept of them."""
    names = sample(UPGRADED)
    words = (*COMMAND, "upgrade", OLDER, "installed", *names)
    seconds(*words[:-UPGRADED], names[0], codes=(0, 1))
    told = f"upgrade of {UPGRADED} models from {OLDER}"
    yield Row(told, seconds(*words, "--afresh", codes=(0, 1)), "s", 60)
    seconds(*words, codes=(0, 1))
    yield Row(f"{told}, decided before", seconds(*words, codes=(0, 1)), "s")


def spent(record: Record) -> float:
    """Seconds in which the claims of a model were decided."""
    return sum(cost for step, cost in record.cost.items() if step != "peak_mb")


def within(row: Row) -> tuple[str, ...]:
    """What the number should not exceed, and how much of that it is."""
    return () if row.reach is None else (f"≤ {row.reach:g} {row.unit}", f"{row.measured / row.reach:.0%}")


def machine() -> str:
    """What the numbers were measured on."""
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    processor = next(
        (line.partition(": ")[2] for line in told.splitlines() if line.startswith("model name")), platform.machine()
    )
    memory = psutil.virtual_memory().total / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{processor}, {cores} cores, {memory:.0f} GiB; Python {platform.python_version()}, timm {timm.__version__}"


def main(models: int = 100) -> None:
    """Measure and print."""
    table = Table("what", "measured", "reach", "of it", title=machine())
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        for rows in (startup(), report(scratch), decided(models, scratch), upgraded()):
            for row in rows:
                table.add_row(row.what, f"{row.measured:.2f} {row.unit}", *within(row))
    Console().print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
