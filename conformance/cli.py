"""This module is the command line: arguments in, one call, an exit code out.

0: nothing found. 1: findings. 2: could not run, with one sentence on standard error. 130: interrupted.

Whatever takes time to import is imported by the command that needs it: help answers at once, and `report` never
imports torch.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated, NoReturn, cast

import typer

from conformance import stopping
from conformance.arguments import CouldNotRun
from conformance.commands.audit import audit
from conformance.commands.claims import claims
from conformance.commands.expectations import app as expectations
from conformance.commands.gate import gate
from conformance.commands.merge import merge
from conformance.commands.report import report
from conformance.commands.show import show
from conformance.commands.upgrade import upgrade

COULD_NOT_RUN, INTERRUPTED = 2, 130
_SENTENCE = 1500
"""Characters: files, or exceptions of somebody else's modules, may be quoted in it."""

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
    stopping.listen()
    _fill_in_streams()
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
    except (BrokenPipeError, SystemExit) as error:
        # Where its reader is gone typer ends with 1, which means findings.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        code = _complain("its output was closed before all of it was written")
        _forget_output()
    except OSError as error:
        where = "" if error.filename is None else f": {str(error.filename)!r}"
        code = _complain(f"the system refused something ({error.strerror or error}{where}); see to that, and try again")
        _forget_output()
    except usage_error as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "timm-conformance"
        code = _complain(f"{error.format_message().rstrip('.')}; see `{path} --help`")  # type: ignore[attr-defined]
    stopping.ignore()
    sys.exit(code or 0)


def _fill_in_streams() -> None:
    """Have no file that is opened later take the place of a standard stream that is closed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free is this one
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: PTH123, SIM115  # as long as the process


def _forget_output() -> None:
    """Have Python not try again, while it ends, to write what could not be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # None, closed, or of no descriptor
            os.dup2(nowhere, stream.fileno())


def _complain(sentence: str) -> int:
    from conformance.record import printable

    sentence = printable(sentence)
    sentence = sentence if len(sentence) <= _SENTENCE else f"{sentence[:_SENTENCE]}…"
    with suppress(OSError):  # there may be nobody to complain to
        print(f"timm-conformance: {sentence}", file=sys.stderr)  # noqa: T201  # the one place that complains
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


app.add_typer(expectations, name="expectations")
for _command in (audit, upgrade, gate, report, show, merge, claims):
    app.command()(_command)
