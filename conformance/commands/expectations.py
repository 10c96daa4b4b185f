"""This module is `timm-conformance expectations`: files of expectations checked, extended and pruned by command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.shared import FINDINGS, LONGEST_LINE, read, say

if TYPE_CHECKING:
    from conformance.gate import Expectations

app = typer.Typer(name="expectations", invoke_without_command=True, rich_markup_mode=None)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A TOML file of [[expect]] tables.")]
From = Annotated[Path | None, typer.Option("--from", metavar="RUN", help="The record file of an audit.")]


@app.callback()
def expectations(context: typer.Context) -> None:
    """Check, extend and prune a file of what is expected."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def check(file: File, source: From = None) -> int:
    """Say whether the file can be used, and, of a run, what it does not expect and what does not come true.

    Exits 1 if a run has something to say.
    """
    from conformance.gate import judge

    expected = _loaded(file)
    _refuse_unknown_claims(expected)
    say(f"{file}: {len(expected.entries)} entries")
    if source is None:
        return 0
    run = read(source)
    judged = judge(run, expected)
    for finding in (*judged.unexpected, *judged.stale):
        say(f"  {finding}"[:LONGEST_LINE])
    typer.echo(
        f"{judged.expected} cells as declared, {len(judged.unexpected)} not expected, {len(judged.stale)} entries stale"
    )
    return 0 if judged.is_clean else FINDINGS


@app.command()
def update(
    file: File,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="GLOB", help="Models by name or glob; all that the run names.")
    ] = None,
    source: From = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Expect what the run says of this claim only.")
    ] = None,
    change: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Expect this change that an upgrade brings; needs no run.")
    ] = None,
    verdict: Annotated[
        str | None, typer.Option(metavar="VERDICT", help="Expect this verdict of the claims; needs no run.")
    ] = None,
    timm: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The release that is spoken of; a run says its own.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; what the run's cells say, if nothing is given.")
    ] = None,
) -> int:
    """Add what is accepted.

    That is what of a run is violated and not expected yet; or, without a run, a verdict or a change that is named.
    """
    _refuse_in_ci()
    if source is not None:
        if change or verdict or timm:
            raise CouldNotRun("--from says verdicts and release; leave out --change, --verdict and --timm")
        entries = _accepted(file, source, models, claim, reason)
    else:
        entries = [_declared(models, claim, change, verdict, timm, reason)]
    if not entries:
        typer.echo("nothing to add: all of it is expected")
        return 0
    arguments.write_whole(file, _written(file, entries))
    say(f"{file}: {len(entries)} entries added; say in each why it is accepted, in your own words")
    return 0


@app.command()
def prune(
    file: File, source: Annotated[Path, typer.Option("--from", metavar="RUN", help="The record file of an audit.")]
) -> int:
    """Take out what no longer comes true in a run. Globs of which a part does become the names of that part."""
    _refuse_in_ci()
    from conformance.gate import BrokenExpectations, declaring

    run = read(source)
    try:
        found = declaring.pruned(file, run)
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error
    for line in found.removed:
        say(f"  {line}"[:LONGEST_LINE])
    if found.removed:
        arguments.write_whole(file, found.text.encode())
    say(f"{file}: {len(found.removed)} globs no longer came true")
    return 0


def _declared(
    models: list[str] | None,
    claims: list[str] | None,
    changes: list[str] | None,
    verdict: str | None,
    timm: str | None,
    reason: str | None,
) -> dict[str, object]:
    """One entry, as it was typed."""
    if not (models and timm and reason) or bool(changes) == bool(claims and verdict):
        raise CouldNotRun(
            "name a run with --from RUN; or models, --timm VERSION, --reason TEXT, and either --change KIND "
            "or --claim ID with --verdict VERDICT"
        )
    from conformance.gate import declaring
    from conformance.gate.changes import Kind
    from conformance.gate.expectations import EXPECTABLE

    entry: dict[str, object] = {"models": list(models)}
    if changes:
        where = "timm-conformance upgrade --help"
        entry["changes"] = [str(arguments.known(word, tuple(Kind), "kind of finding", where)) for word in changes]
    else:
        from conformance.claims import CLAIMS

        where = "timm-conformance expectations update --help"
        entry["claims"] = [arguments.known(word, CLAIMS, "claim", "timm-conformance claims") for word in claims or ()]
        entry["verdict"] = str(arguments.known(str(verdict), EXPECTABLE, "verdict to expect", where))
    return declaring.bounded(entry, timm, reason)


def _accepted(
    file: Path, source: Path, models: list[str] | None, claims: list[str] | None, reason: str | None
) -> list[dict[str, object]]:
    """Entries for what of the run is not expected by the shipped file or this one."""
    from conformance.gate import declaring, judge, load

    run = read(source)
    expected = load().extended_by(_loaded(file)) if file.exists() else load()
    known = [record.model for record in run.records]
    chosen = set(arguments.matching(models, known) if models else known)
    ids = [entry.id for entry in run.header.claims]
    where = f"timm-conformance report {source}"
    wanted = {arguments.known(word, ids, f"claim of {str(source)!r}", where) for word in claims or ids}
    findings = [
        finding
        for finding in judge(run, expected).unexpected
        if finding.model in chosen and finding.claim_id in wanted and finding.expectation is None
    ]
    return declaring.entries_of(findings, timm=run.header.timm, reason=reason)


def _written(file: Path, entries: list[dict[str, object]]) -> bytes:
    from conformance.gate import BrokenExpectations, declaring

    try:
        return declaring.added(file, entries).encode()
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def _loaded(file: Path) -> Expectations:
    from conformance.gate import BrokenExpectations, load

    try:
        return load(file)
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def _refuse_unknown_claims(expected: Expectations) -> None:
    from conformance.claims import CLAIMS
    from conformance.gate import BrokenExpectations

    try:
        expected.check_claims(CLAIMS)
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def _refuse_in_ci() -> None:
    """What is accepted is somebody's decision, never that of a job."""
    if os.environ.get("CI", "").casefold() not in ("", "0", "false"):
        raise CouldNotRun("CI is set, and a job accepts nothing; run this where somebody decides, and commit the file")
