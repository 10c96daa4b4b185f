"""This module is `timm-conformance report`: records rendered as a page, Markdown or JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from conformance import arguments
from conformance.commands.shared import read


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
    contents = [render(read(file), form) for file in files]  # all of them before the first is written
    for target, content in zip(targets, contents, strict=True):
        if target is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            arguments.write_whole(target, content)
            typer.echo(str(target))
