"""This script compares a fresh run with the published one: `compare.py FRESH DIRECTORY`.

The fresh run must speak of every model of the installed timm, and say of each cell, each fingerprint and each fact
what `DIRECTORY/timm-VERSION.jsonl` (or `.jsonl.gz`) says. `started` and `cost` vary; the Python that ran and the
version of this suite are told and not compared. Exits 1 with the first differences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import timm

from conformance.record import Header, Record, Run
from conformance.record_file import read_run

SHOWN = 10
VARYING = ("started", "cost")
TOLD = ("python", "suite")


def published(directory: Path, version: str) -> Path | None:
    """The file of the published run of that timm, if there is one."""
    names = (f"timm-{version}.jsonl", f"timm-{version}.jsonl.gz")
    return next((directory / name for name in names if (directory / name).exists()), None)


def differences(old: Run, new: Run) -> Iterator[str]:
    """One line for each thing that two runs say differently, the header's first, then model by model."""
    yield from _between("header", _facts(old.header), _facts(new.header))
    before = {record.model: record for record in old.records}
    after = {record.model: record for record in new.records}
    for model in sorted(before.keys() | after.keys()):
        if model not in before or model not in after:
            yield f"{model}: only in the {'fresh' if model in after else 'published'} run"
        else:
            yield from _between(model, _facts(before[model]), _facts(after[model]))


def _facts(line: Header | Record) -> dict[str, Any]:
    """What is compared of a line, each cell a fact of its own."""
    facts: dict[str, Any] = msgspec.to_builtins(line)
    cells: dict[str, Any] = facts.pop("cells", {})
    return {name: fact for name, fact in facts.items() if name not in (*VARYING, *TOLD)} | cells


def _between(where: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{where}: {name}\n  published  {old.get(name)}\n  fresh      {new.get(name)}"


def main(fresh: str, directory: str) -> int:
    """Compare, say what was found, and give the exit status."""
    run = read_run(fresh)
    models = len(timm.list_models())
    if run.footer.subjects != models:
        print(f"{fresh} speaks of {run.footer.subjects} subjects; timm.list_models() has {models}")
        return 1
    file = published(Path(directory), timm.__version__)
    if file is None:
        print(f"{models} subjects; {directory} holds no run of timm {timm.__version__} yet, so nothing was compared")
        return 0
    old = read_run(file)
    for name in TOLD:
        if getattr(old.header, name) != getattr(run.header, name):
            print(f"{name}: {getattr(old.header, name)} published, {getattr(run.header, name)} here")
    found = list(differences(old, run))
    for difference in found[:SHOWN]:
        print(difference)
    if found:
        print(f"differences from {file}: {len(found)}; if they are meant, publish the run anew: nox -s audit")
        return 1
    print(f"{models} subjects; every cell and fingerprint is as {file} has it")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
