"""This module is `timm-conformance show`: one model, decided now or read from a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.options import Imports
from conformance.commands.shared import claims_called, console, names_here, read

if TYPE_CHECKING:
    from conformance.record import ClaimEntry, Record


def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name in timm.list_models().")],
    claim: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Show this claim in full; may be repeated.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Read the verdicts there instead of deciding them now."),
    ] = None,
    imports: Imports = None,
    repro: Annotated[
        bool, typer.Option("--repro", help="Print a program that shows the violation with torch and timm alone.")
    ] = False,
) -> None:
    """Say what one model keeps and breaks, and why.

    Decides the core tier now, unless a record file is named. Exits 0 whatever the verdicts.
    """
    if repro and len(claim or []) != 1:
        raise CouldNotRun("--repro shows one violation; name its claim with --claim ID")
    if source is None:
        import os

        from conformance.run.chosen import arithmetic

        os.environ.update(arithmetic())  # before anything runs torch's first kernel
    arguments.import_all(imports or ())
    record, entries = _decided(model, claim or []) if source is None else _recorded(model, claim or [], source)
    from conformance.report.text import print_claim, print_record

    if repro:
        _print_program(record, entries[0], imports or ())
        return
    terminal = console()
    if not claim:
        print_record(record, entries, terminal)
    for number, entry in enumerate(entries if claim else ()):
        if number:
            terminal.print()
        print_claim(record, entry, terminal)


def _decided(model: str, claim_ids: list[str]) -> tuple[Record, list[ClaimEntry]]:
    from conformance.claims import in_tier
    from conformance.decide import decide
    from conformance.record import Tier

    wanted = claims_called(claim_ids)
    arguments.known(model, names_here(), "model of this timm", "timm.list_models()")
    entries = [claim.entry() for claim in wanted or in_tier(Tier.CORE)]
    return decide(model, [entry.id for entry in entries]), entries


def _print_program(record: Record, entry: ClaimEntry, imports: Iterable[str]) -> None:
    from importlib.metadata import version

    from conformance.claims import CLAIMS
    from conformance.claims.witness import program
    from conformance.record import Verdict

    cell = record.cells[entry.id]
    if cell.verdict is not Verdict.VIOLATED:
        raise CouldNotRun(f"{entry.id} of {record.model} is not violated but {cell.verdict}; there is nothing to show")
    claim = CLAIMS[arguments.known(entry.id, CLAIMS, "claim of this suite", "timm-conformance claims")]
    typer.echo(program(claim, record.model, version("timm"), imports, cell.witness), nl=False)


def _recorded(model: str, claim_ids: list[str], file: Path) -> tuple[Record, list[ClaimEntry]]:
    run = read(file)
    entries = {entry.id: entry for entry in run.header.claims}
    records = {record.model: record for record in run.records}
    where = f"timm-conformance report {file}"
    record = records[arguments.known(model, records, f"model of {str(file)!r}", where)]
    wanted = [entries[arguments.known(word, entries, f"claim of {str(file)!r}", where)] for word in claim_ids]
    return record, wanted or list(entries.values())
