"""This module is what commands have in common: reading runs and expectations, refusing what cannot be done."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun

if TYPE_CHECKING:
    from rich.console import Console

    from conformance.claims import Claim
    from conformance.commands.choosing import Wanted
    from conformance.gate import Expectations
    from conformance.gate.changes import Comparison
    from conformance.record import Run
    from conformance.run.wheels import Release

FINDINGS = 1
"""The exit code of a command that found something."""


LONGEST_LINE = 2000
"""Characters of a line about something that a file says."""


def say(line: str, *, err: bool = False) -> None:
    """Print a line as it stands, but for what a terminal would obey: paths and names are not always one's own."""
    from conformance.record import spelled_out

    typer.echo(_unheard(spelled_out(line)), err=err)


def _unheard(text: str) -> str:
    """`text` as a job of GitHub's prints it: no line begins like a command of the runner's (`: :error::`)."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return text
    return re.sub(r"^(\s*):(?=:)", r"\1: ", text, flags=re.MULTILINE).replace("##[", "# #[")


class _Log:
    """Standard output, on which nothing is a command of the runner's."""

    def write(self, text: str) -> int:
        """Print it."""
        return sys.stdout.write(_unheard(text))

    def flush(self) -> None:
        """Print it now."""
        sys.stdout.flush()


def console() -> Console:
    """The terminal, or whatever standard output is."""
    from conformance.report.console import Terminal

    if os.environ.get("GITHUB_ACTIONS") == "true":
        return Terminal(file=cast("IO[str]", _Log()), highlight=False, markup=False, emoji=False)
    return Terminal(highlight=False, markup=False, emoji=False)


def read(file: Path, *, any_schema: bool = False) -> Run:
    """The finished run in a file, perhaps of another version of the format.

    Raises:
        CouldNotRun: It is none.
    """
    from conformance.record_file import BrokenRecord, read_run

    try:
        return read_run(file, any_schema=any_schema)
    except BrokenRecord as error:
        raise CouldNotRun(str(error)) from error


def expected_by(word: str | None) -> Expectations:
    """What is expected: the shipped file, that and the named one, or nothing for `none`.

    Raises:
        CouldNotRun: A file cannot be used.
    """
    from conformance.gate import BrokenExpectations, Expectations, load

    if word == "none":
        return Expectations()
    try:
        shipped = load()
        return shipped if word is None else shipped.extended_by(load(word))
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def accepted_by(word: str | None) -> Expectations:
    """What the user accepts of an upgrade: the named file alone. What ships with the suite is known of a release, and
    whoever comes to it from another one has not accepted it.

    Raises:
        CouldNotRun: The file cannot be used.
    """
    from conformance.gate import BrokenExpectations, Expectations, load

    if word in (None, "none"):
        return Expectations()
    try:
        return load(word)
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def refuse_overlaps(accepted: Expectations, models: Iterable[str], versions: Mapping[str, str]) -> None:
    """Refuse entries that contradict one another for one of the models."""
    from conformance.gate import BrokenExpectations

    try:
        accepted.check_overlaps(models, {claim for entry in accepted.entries for claim in entry.claims}, **versions)
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def completed(comparison: Comparison, project: Wanted, accepted: Expectations, notes: Iterable[str]) -> Comparison:
    """The comparison with what the user wanted of it, and what is to be noted besides."""
    import msgspec

    from conformance.gate.compare import idle

    return msgspec.structs.replace(
        comparison,
        fail_on=project.fail_on,
        notes=(*comparison.notes, *idle(accepted, comparison), *notes),
        imports=project.imports,
        expectations=None if project.expectations in (None, "none") else _seen_from_here(str(project.expectations)),
    )


def _seen_from_here(path: str) -> str:
    """The path from the working directory, where it lies below."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except ValueError:
        return path


def refuse_contradictions(
    expected: Expectations, models: Iterable[str], claim_ids: Collection[str], *, timm: str
) -> None:
    """Refuse expectations that would fail when the work is done."""
    import platform
    from importlib.metadata import version

    from conformance.gate import BrokenExpectations

    try:
        expected.check_claims(claim_ids)
        expected.check_overlaps(models, claim_ids, timm=timm, torch=version("torch"), python=platform.python_version())
    except BrokenExpectations as error:
        raise CouldNotRun(str(error)) from error


def claims_called(words: Iterable[str]) -> list[Claim]:
    """The claims of those ids, all of which can be decided here."""
    from conformance.claims import CLAIMS

    wanted = [CLAIMS[arguments.known(word, CLAIMS, "claim", "timm-conformance claims")] for word in words]
    for claim in wanted:
        if claim.lacks is not None:
            raise CouldNotRun(claim.lacks)
    return wanted


def release_called(word: str) -> Release:
    """The timm of that version, fetched if need be.

    Raises:
        CouldNotRun: There is none, or it cannot be had.
    """
    from conformance.run.wheels import NoSuchRelease, release

    try:
        return release(word)
    except NoSuchRelease as error:
        raise CouldNotRun(str(error)) from error


def names_here() -> list[str]:
    """The models of the environment's own timm, and of the modules that were imported.

    Raises:
        CouldNotRun: One of them cannot be written down.
    """
    from conformance.subject import NoName, names

    try:
        return names()
    except NoName as error:
        raise CouldNotRun(str(error)) from error


def names_in(release: Release, imports: Iterable[str]) -> list[str]:
    """The models of a release, with those that the modules register.

    Raises:
        CouldNotRun: The release or a module cannot be imported.
    """
    if release.path is None:
        arguments.import_all(imports)
        return names_here()
    from conformance.run.elsewhere import Elsewhere
    from conformance.run.wheels import NoSuchRelease

    try:
        with Elsewhere(release, tuple(imports)) as there:
            return list(there.registry().models)
    except NoSuchRelease as error:
        raise CouldNotRun(str(error)) from error


def tell_changes(comparison: Comparison, form: str, output: Path | None) -> None:
    """Say what was found, in a format, where it was asked for."""
    from conformance.report.changes import render_changes

    if output is not None and output != Path("-"):
        arguments.write_whole(output, render_changes(comparison, form))
        say(str(output), err=True)
    elif form == "text":
        from conformance.report.changes_text import print_changes

        print_changes(comparison, console())
    else:
        sys.stdout.buffer.write(render_changes(comparison, form))
        sys.stdout.buffer.flush()


def form_called(word: str, output: Path | None) -> str:
    """The format of that name, with a place to write it: told before the work.

    Raises:
        CouldNotRun: There is no such format, or nothing can be written there.
    """
    from conformance.report.changes import FORMATS

    if output is not None and output != Path("-"):
        arguments.writable(output)
    return arguments.known(word, FORMATS, "format", "timm-conformance upgrade --help")
