"""This module is the arguments that several commands take, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ChosenModels = Annotated[
    list[str] | None, typer.Argument(metavar="GLOB", help="Models by name or glob; all if nothing says which.")
]
ModelsFrom = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Models that this file or directory names, in code or configuration."),
]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import a module that registers models of your own with timm."),
]
Workers = Annotated[str, typer.Option("-n", metavar="auto|N", help="How many processes decide.")]
ExpectedBy = Annotated[
    str | None, typer.Option(metavar="FILE|none", help="Expect what FILE says too, or nothing at all.")
]
FailOn = Annotated[
    str | None, typer.Option(metavar="KIND,...", help="What fails: broken,drifted,undecided,removed by default.")
]
ChangesForm = Annotated[
    str, typer.Option("--format", metavar="text|markdown|json|github|junit", help="How to say what was found.")
]
ChangesOutput = Annotated[Path | None, typer.Option(metavar="PATH", help="Write there instead of standard output.")]
