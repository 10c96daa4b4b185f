"""This script compares a fresh run with the published one: `compare.py FRESH DIRECTORY [--part]`.

The fresh run must speak of every model of the installed timm, and say of each of its cells, of each fingerprint and
each fact what `DIRECTORY/timm-VERSION.jsonl` (or `.jsonl.gz`) says, which may say more. With `--part` it may speak of
some models, and claims that are not published are told and not compared. `started` and `cost` vary, and so does the
size of a measured error, which is the processor's; the Python that ran, the machine's class and the version of this
suite are told and not compared. Exits 1 with the first differences.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import timm

from conformance.record import Header, Record, Run, Tier
from conformance.record_file import read_run

SHOWN = 10
VARYING = ("started", "cost", "tier", "subjects")
TOLD = ("python", "suite", "machine")
OF_THE_PROCESSOR = ("witness", "reason", "cause")
"""What a measured cell says of the error's size, in which a model may make much of another rounding."""


def published(directory: Path, version: str) -> Path | None:
    """The file of the published run of that timm, if there is one."""
    names = (f"timm-{version}.jsonl", f"timm-{version}.jsonl.gz")
    return next((directory / name for name in names if (directory / name).exists()), None)


def unpublished(old: Run, new: Run) -> list[str]:
    """The claims that only the new run speaks of."""
    known = {claim.id for claim in old.header.claims}
    return [claim.id for claim in new.header.claims if claim.id not in known]


def differences(old: Run, new: Run, *, is_part: bool = False) -> Iterator[str]:
    """One line for each thing that two runs say differently, the header's first, then model by model.

    Of the old run only the claims that the new one speaks of are looked at; of a part only its models, and only the
    claims that both speak of.
    """
    claims = {claim.id for claim in new.header.claims} - (set(unpublished(old, new)) if is_part else set())
    yield from _between("header", _facts(old.header, claims), _facts(new.header, claims))
    before = {record.model: record for record in old.records}
    if not is_part:
        lost = [claim.id for claim in old.header.claims if claim.tier is Tier.CORE and claim.id not in claims]
        yield from (f"{claim}: a claim of the core tier that only the published run has" for claim in lost)
        left_out = sorted(before.keys() - {record.model for record in new.records})
        yield from (f"{model}: only in the published run" for model in left_out)
    for record in new.records:
        if record.model not in before:
            yield f"{record.model}: only in the fresh run"
        else:
            yield from _between(record.model, _facts(before[record.model], claims), _facts(record, claims))


def _facts(line: Header | Record, claims: set[str]) -> dict[str, Any]:
    """What is compared of a line, each cell, or each claim of a header, a fact of its own."""
    facts: dict[str, Any] = msgspec.to_builtins(line)
    cells: dict[str, Any] = facts.pop("cells", {})
    cells |= {entry["id"]: entry for entry in facts.pop("claims", ())}
    kept = {name: fact for name, fact in facts.items() if name not in (*VARYING, *TOLD)}
    return kept | {name: cell for name, cell in cells.items() if name in claims}


def _compared(fact: Any) -> Any:
    if not isinstance(fact, dict) or fact.get("evidence") != "measured":
        return fact
    return {name: value for name, value in fact.items() if name not in OF_THE_PROCESSOR}


def _between(where: str, old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if _compared(old.get(name)) != _compared(new.get(name)):
            yield f"{where}: {name}\n  published  {old.get(name)}\n  fresh      {new.get(name)}"


def main(fresh: str, directory: str, *options: str) -> int:
    """Compare, say what was found, and give the exit status."""
    run = read_run(fresh)
    if not run.records:
        print(f"{fresh} speaks of no subject")
        return 1
    models = len(timm.list_models())
    if run.footer.subjects != models and "--part" not in options:
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
    found = list(differences(old, run, is_part="--part" in options))
    if missing := unpublished(old, run):
        print(f"not published, and so not compared with --part: {', '.join(missing)}")
    for difference in found[:SHOWN]:
        print(difference)
    if found:
        print(f"differences from {file}: {len(found)}; if they are meant, publish the run anew: nox -s audit")
        return 1
    size = f"{run.footer.subjects} subjects, {len(run.header.claims)} claims"
    print(f"{size}; every cell and fingerprint is as {file} has it")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
