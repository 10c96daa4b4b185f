"""This module is the command line: arguments in, one call, an exit code out.

0: nothing found. 1: findings. 2: could not run, with one sentence on standard error. 130: interrupted.

Whatever takes time to import is imported by the command that needs it: help answers at once, and `report` never
imports torch.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun

if TYPE_CHECKING:
    from rich.console import Console

    from conformance.claims import Claim
    from conformance.gate import Expectations
    from conformance.record import ClaimEntry, Record, Run

FINDINGS, COULD_NOT_RUN, INTERRUPTED = 1, 2, 130

# Without rich's help: importing it would double the time that --help takes.
app = typer.Typer(
    name="timm-conformance",
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    # A help option that was not given is False and not None: typer imports pydantic to find that out for itself.
    context_settings={"default_map": {"help": False}},
)


def main() -> NoReturn:
    """Run the command line and exit the process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a sign gets its number, not a traceback
            stream.reconfigure(errors="backslashreplace")
    # typer's usage errors have no public name; they are what BadParameter is a kind of.
    usage_error = cast("type[Exception]", typer.BadParameter.__base__)
    try:
        code = app(prog_name="timm-conformance", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except CouldNotRun as error:
        code = _complain(str(error))
    except usage_error as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "timm-conformance"
        code = _complain(f"{error.format_message().rstrip('.')}; see `{path} --help`")  # type: ignore[attr-defined]
    sys.exit(code or 0)


def _complain(sentence: str) -> int:
    from conformance.record import printable

    print(f"timm-conformance: {printable(sentence)}", file=sys.stderr)  # noqa: T201  # the one place that complains
    return COULD_NOT_RUN


def _version(wanted: bool) -> None:
    if wanted:
        from conformance import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What every timm model keeps of its promises, proved where others sample."""
    assert not version  # its callback has ended the process
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(COULD_NOT_RUN)


@app.command()
def audit(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="GLOB", help="Models by name or glob; all if none is given.")
    ] = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Decide this claim only; may be repeated. Overrides --tier.")
    ] = None,
    tier: Annotated[str, typer.Option(metavar="core|full", help="Which claims to decide.")] = "core",
    workers: Annotated[str, typer.Option("-n", metavar="auto|N", help="How many processes decide.")] = "auto",
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Import a module that registers models of your own with timm."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the records go: timm-VERSION.jsonl unless told otherwise."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run in FILE.partial.")] = False,
    expectations: Annotated[
        str | None, typer.Option(metavar="FILE|none", help="Expect what FILE says too, or nothing at all.")
    ] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="For one cell.")] = 300,
    memory: Annotated[float, typer.Option(metavar="GB", min=0.1, help="For one process.")] = 4,
) -> int:
    """Decide the contract for timm's models.

    Writes the records, says what was found, and exits 1 if something of it is not expected.
    """
    from importlib.metadata import version

    wanted_tier, wanted_workers = arguments.tier_called(tier), arguments.workers_called(workers)
    file = arguments.writable(output or Path(f"timm-{version('timm')}.jsonl"))
    expected = _expectations(expectations)
    arguments.import_all(imports or ())
    from conformance.claims import CLAIMS
    from conformance.subject import names

    claim_ids = tuple(claim.id for claim in _claims_called(claim or ()))
    everything = names()
    chosen = arguments.matching(models, everything) if models else everything
    _check(expected, chosen, CLAIMS)

    from conformance.run.local import Selection
    from conformance.run.local import audit as decide_all

    selection = Selection(
        models=tuple(models or ()),
        claims=claim_ids,
        tier=wanted_tier,
        imports=tuple(imports or ()),
        workers=wanted_workers,
        output=file,
        resume=resume,
        expectations="none" if expectations == "none" else Path(expectations).absolute() if expectations else None,
        timeout=timeout,
        memory=memory,
    )
    code = decide_all(selection)
    if code not in (0, FINDINGS):
        return code
    from conformance.gate import judge
    from conformance.report.text import print_summary

    run = _read(file)
    judgement = judge(run, expected, names=everything)
    print_summary(run, str(file), _console(), judgement)
    return 0 if judgement.is_clean else FINDINGS


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Record files, .jsonl or .jsonl.gz.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A file, a directory, or - for standard output. HTML goes beside FILE if this is left out.",
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="html|markdown|json", help="html, or what the output's name says.")
    ] = None,
) -> None:
    """Render records as a page, Markdown or JSON.

    Exits 0 whatever the verdicts.
    """
    from conformance.report.formats import SUFFIXES, render

    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    form = form or by_suffix.get(output.suffix if output else "", "html")
    arguments.known(form, SUFFIXES, "format", "timm-conformance report --help")
    targets = arguments.targets(files, output, SUFFIXES[form])
    contents = [render(_read(file), form) for file in files]  # all of them before the first is written
    for target, content in zip(targets, contents, strict=True):
        if target is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            arguments.write_whole(target, content)
            typer.echo(str(target))


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name in timm.list_models().")],
    claim: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Show this claim in full; may be repeated.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Read the verdicts there instead of deciding them now."),
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="Import a module that registers models of your own with timm."),
    ] = None,
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
    console = _console()
    if not claim:
        print_record(record, entries, console)
    for number, entry in enumerate(entries if claim else ()):
        if number:
            console.print()
        print_claim(record, entry, console)


@app.command()
def claims() -> None:
    """List the contract.

    Every claim with its group, level, tier, cost, text and source.
    """
    from conformance.claims import CLAIMS
    from conformance.report.text import print_claims

    print_claims(((claim.entry(), claim.source, claim.cost) for claim in CLAIMS.values()), _console())


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _read(file: Path) -> Run:
    from conformance.record_file import BrokenRecord, read_run

    try:
        return read_run(file)
    except BrokenRecord as error:
        raise CouldNotRun(str(error)) from error


def _expectations(word: str | None) -> Expectations:
    from conformance.gate import BrokenExpectations, Expectations, load

    if word == "none":
        return Expectations()
    try:
        shipped = load()
        return shipped if word is None else shipped.extended_by(load(word))
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def _check(expected: Expectations, models: Iterable[str], claim_ids: Collection[str]) -> None:
    """Refuse expectations that would fail when the work is done."""
    import platform
    from importlib.metadata import version

    from conformance.gate import BrokenExpectations

    try:
        expected.check_claims(claim_ids)
        expected.check_overlaps(
            models, claim_ids, timm=version("timm"), torch=version("torch"), python=platform.python_version()
        )
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def _claims_called(words: Iterable[str]) -> list[Claim]:
    """The claims of those ids, all of which can be decided here."""
    from conformance.claims import CLAIMS

    wanted = [CLAIMS[arguments.known(word, CLAIMS, "claim", "timm-conformance claims")] for word in words]
    for claim in wanted:
        if claim.lacks is not None:
            raise CouldNotRun(claim.lacks)
    return wanted


def _decided(model: str, claim_ids: list[str]) -> tuple[Record, list[ClaimEntry]]:
    from conformance.claims import in_tier
    from conformance.decide import decide
    from conformance.record import Tier
    from conformance.subject import names

    wanted = _claims_called(claim_ids)
    arguments.known(model, names(), "model of this timm", "timm.list_models()")
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
    run = _read(file)
    entries = {entry.id: entry for entry in run.header.claims}
    records = {record.model: record for record in run.records}
    where = f"timm-conformance report {file}"
    record = records[arguments.known(model, records, f"model of {str(file)!r}", where)]
    wanted = [entries[arguments.known(word, entries, f"claim of {str(file)!r}", where)] for word in claim_ids]
    return record, wanted or list(entries.values())
