"""This module is `timm-conformance merge`: the shards of an audit, joined."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.shared import read, say


def merge(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="The records of every shard.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="Where the whole run goes.")],
) -> None:
    """Join the shards of an audit into the run that one audit would have written.

    Every shard must be there once, and all must be of one audit.
    """
    from conformance.merging import NotOneAudit
    from conformance.merging import merge as joined
    from conformance.record_file import packed

    arguments.writable(output)
    arguments.not_over(output, files)
    if len({arguments.place(file) for file in files}) < len(files):
        raise CouldNotRun("a file is named twice; name each shard once")
    try:
        run = joined({str(file): read(file) for file in files})
    except NotOneAudit as error:
        raise CouldNotRun(str(error)) from error
    arguments.write_whole(output, packed(run, compressed=output.suffix == ".gz"))
    say(str(output))
