"""This script decides models both ways, by proof and on real numbers, and looks for a disagreement.

`agreement.py [MODELS] [PROCESSES] [AFTER] [DEVICE]`: so many models (300), of all modules, small ones first; with
AFTER, less so many first ones; measured on DEVICE ("cpu", or "cuda", whose kernels are others than those that were
numbered). Each equality that is proved is measured as well: the difference must be one of rounding. Compiled models
run under torch's own executor, optimiser included, four times. Exits 1 if a proof and a measurement disagree, and says
what was not measured and why.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import sys
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import psutil
import torch

from conformance.claims import in_tier
from conformance.claims.numbers import DOUBLE
from conformance.decide import Examination, cell_of
from conformance.record import Evidence, Tier, Verdict
from conformance.record_file import read_run
from conformance.subject import RealSubject

PUBLISHED = Path(__file__).parents[1] / "reports" / "timm-1.0.31.jsonl.gz"
LARGEST = 120_000_000
"""Parameters of the largest model that is taken: larger ones take minutes and say nothing new."""


def chosen(count: int) -> list[str]:
    """Names: the smallest of each module, and then the smallest of all others."""
    by_module = defaultdict(list)
    for record in read_run(PUBLISHED).records:
        if (record.params or 0) <= LARGEST:
            by_module[record.module].append((record.params or 0, record.model))
    ranked = [(rank > 0, *one) for models in by_module.values() for rank, one in enumerate(sorted(models))]
    return [model for _, _, model in sorted(ranked)[:count]]


def compared(model: str, device: str = "cpu") -> tuple[str, list[tuple[str, str]]]:
    """(claim, what became of it) for every proved equality of the model: agreed, disagreed or why not measured."""
    if device != "cpu":
        # On a GPU torch's fuser takes the constants of hard-sigmoid and hard-swish as float32, in float64 too: from the
        # second call on a scripted model is 1e-7 of its size off (torch 2.11, H200). That is no matter of proofs.
        torch._C._jit_set_texpr_fuser_enabled(False)
    examination, found = Examination(model), []
    # One for all claims, which share its passes: it is the proofs that are looked at here.
    real = RealSubject(examination.subject, 0, DOUBLE, device)
    for claim in in_tier(Tier.CORE):
        cell = examination.cell(claim.id)
        if cell.verdict is not Verdict.HOLDS or cell.evidence is not Evidence.PROVED:
            continue
        try:
            other = claim.decide(real)
        except Exception as error:  # noqa: BLE001  # a model that real numbers break is what this looks for
            other = cell_of(error)
        if other.verdict is Verdict.HOLDS:
            found.append((claim.id, "agreed"))
        elif other.verdict is Verdict.UNDECIDED:
            found.append((claim.id, f"not measured: {other.reason}"[:300]))
        else:
            found.append((claim.id, f"disagreed: {other.reason}"[:300]))
    real.close()
    examination.close()
    gc.collect()
    return model, found


def limit(gigabytes: float) -> None:
    """Keep the process below so much on top of what it maps: one that the system kills would be waited for in vain."""
    mapped = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (mapped + int(gigabytes * 1e9),) * 2)


def main(count: str = "300", processes: str = "2", after: str = "0", device: str = "cpu") -> int:
    """Compare, say what was found, and give the exit status."""
    models, began = chosen(int(count))[int(after) :], time.monotonic()
    counts: Counter[str] = Counter()
    # On a GPU addresses are reserved by the hundred gigabytes.
    memory = psutil.virtual_memory().available * 0.8e-9 / int(processes) if device == "cpu" else float("1e6")
    with multiprocessing.get_context("spawn").Pool(
        int(processes), initializer=limit, initargs=(memory,), maxtasksperchild=20
    ) as pool:
        for number, (model, found) in enumerate(pool.imap_unordered(partial(compared, device=device), models), start=1):
            for claim, what in found:
                counts[what.partition(":")[0]] += 1
                if what != "agreed":
                    print(f"{model} {claim} {what}", flush=True)
            told = f"{number} of {len(models)} models, {time.monotonic() - began:.0f} s, {dict(counts)}, {model}"
            print(told, flush=True)
    print(f"{len(models)} models: {dict(counts)} in {time.monotonic() - began:.0f} s")
    return int(bool(counts["disagreed"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
