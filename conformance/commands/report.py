"""This module is `timm-conformance report`: records rendered as a page, Markdown or JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.shared import form_called, read, say, tell_changes

if TYPE_CHECKING:
    from conformance.gate.changes import Comparison
    from conformance.record import Run

INDEX = "index.html"
"""The page that leads to the others of a directory."""


def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Records, .jsonl or .jsonl.gz; changes, .json.")],
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A file, a directory, or - for standard output. HTML goes beside FILE if this is left out.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="html|markdown|json|junit|badge", help="html, or what the output's name says."
        ),
    ] = None,
    since: Annotated[
        list[Path] | None,
        typer.Option(
            "--since",
            metavar="FILE",
            help="An earlier run, or what upgrade --format json found: the page tells what changed. "
            "With several FILEs, each page tells it of the earlier releases.",
        ),
    ] = None,
    index: Annotated[bool, typer.Option("--index", help="Write an index.html that leads to the pages.")] = False,
) -> None:
    """Render records as a page, Markdown or JSON; or what `upgrade --format json` wrote, in another format.

    Exits 0 whatever the verdicts.
    """
    if any(file.suffix == ".json" for file in files):
        if since or index:
            option = "--since" if since else "--index"
            raise CouldNotRun(f"{option} is for pages of runs; name the records of a run, .jsonl or .jsonl.gz")
        _tell(files, output, form)
        return
    from conformance.report.formats import SUFFIXES, render

    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()}
    form = form or by_suffix.get(output.suffix if output else "", "html")
    if index and not (form == "html" and output is not None and output.is_dir()):
        raise CouldNotRun("--index leads to pages of a directory; give --output DIRECTORY, and html or no format")
    arguments.known(form, SUFFIXES, "format", "timm-conformance report --help")
    targets = arguments.targets(files, output, SUFFIXES[form])
    if index and output is not None and arguments.writable(output / INDEX) in targets:
        raise CouldNotRun(f"the page of a run would be {INDEX} itself; give its file another name")
    if since and form != "html":
        raise CouldNotRun(
            f"--since is for pages, and {form} was asked for; gate and upgrade tell changes in other formats"
        )
    for target in targets:
        if target is not None:
            arguments.not_over(target, since or ())
    runs = [read(file) for file in files]
    # All of them before the first is written.
    contents = _pages(runs, since) if since else [render(run, form) for run in runs]
    for target, content in zip(targets, contents, strict=True):
        if target is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            arguments.write_whole(target, content)
            say(str(target))
    if index and output is not None:
        arguments.write_whole(output / INDEX, _index(runs, targets))
        say(str(output / INDEX))


def _pages(runs: list[Run], since: list[Path]) -> list[bytes]:
    """The pages, each with what changed since earlier runs; of several, since those of earlier releases."""
    from conformance.record import Run
    from conformance.report.page import page
    from conformance.report.since import OtherRelease, is_earlier

    earlier = [_changes(file) if file.suffix == ".json" else read(file, any_schema=True) for file in since]
    try:
        if len(runs) == 1:
            return [page(runs[0], [one for one in earlier if one != runs[0]]).encode()]  # but for the run itself
        before = [one for one in earlier if isinstance(one, Run)]
        if len(before) < len(earlier):
            raise CouldNotRun("what an upgrade found belongs to one page; name one FILE with it")
        return [page(run, [one for one in before if is_earlier(one.header, run.header)]).encode() for run in runs]
    except OtherRelease as error:
        raise CouldNotRun(str(error)) from error


def _changes(file: Path) -> Comparison:
    from conformance.report.changes_machine import NoChanges, read_changes

    try:
        return read_changes(file)
    except NoChanges as error:
        raise CouldNotRun(str(error)) from error


def _index(runs: list[Run], targets: list[Path | None]) -> bytes:
    from conformance.report.index import index as rendered

    pages = {target.name: run for target, run in zip(targets, runs, strict=True) if target is not None}
    return rendered(pages).encode()


def _tell(files: list[Path], output: Path | None, form: str | None) -> None:
    """Render what an upgrade was found to change."""
    if len(files) > 1:
        raise CouldNotRun("the changes of an upgrade are rendered alone; name one .json file")
    form = form_called(form or "text", output)
    comparison = _changes(files[0])
    tell_changes(comparison, form, output)
