"""This module is which models a gate looks at and what it fails on: what was typed, or else what the project says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.shared import LONGEST_LINE, say
from conformance.configuration import BrokenConfiguration, Configuration, configuration

if TYPE_CHECKING:
    from conformance.gate.changes import Kind
    from conformance.gate.your_models import Uses

_MOST_TOLD = 20


@dataclass(frozen=True)
class Wanted:
    """What was typed, with what the project says where nothing was."""

    globs: tuple[str, ...]
    models_from: tuple[Path, ...]
    imports: tuple[str, ...]
    expectations: str | None
    fail_on: tuple[Kind, ...]


def wanted(
    globs: list[str] | None,
    models_from: list[Path] | None,
    imports: list[str] | None,
    expectations: str | None,
    fail_on: str | None,
) -> Wanted:
    """What is to be looked at. Models that are typed take the place of those that the project names.

    Raises:
        CouldNotRun: The project's table is broken, or a kind does not exist.
    """
    project = _project()
    typed = bool(globs or models_from)
    return Wanted(
        globs=tuple(globs or ()) if typed else project.models,
        models_from=tuple(models_from or ()) if typed else project.models_from,
        imports=tuple(imports) if imports else project.imports,
        expectations=expectations if expectations is not None else project.expectations,
        fail_on=_kinds(fail_on if fail_on is not None else project.fail_on),
    )


def _project() -> Configuration:
    try:
        return configuration()
    except BrokenConfiguration as error:
        raise CouldNotRun(str(error)) from error


def _kinds(words: str | None) -> tuple[Kind, ...]:
    from conformance.gate.changes import DEFAULT_FAILURES, Kind

    if words is None:
        return DEFAULT_FAILURES
    split = [word.strip().replace("-", "_") for word in words.split(",")]
    kinds = [
        Kind(arguments.known(word, tuple(Kind), "kind of finding", f"{', '.join(Kind)}")) for word in split if word
    ]
    if not kinds:
        raise CouldNotRun(f"--fail-on names nothing; it takes some of {', '.join(Kind)}")
    return tuple(dict.fromkeys(kinds))


@dataclass(frozen=True)
class Chosen:
    """Models by name, perhaps with a tag, and what of the project was not understood."""

    models: tuple[str, ...]
    notes: tuple[str, ...] = ()


def chosen(wanted: Wanted, names: Collection[str], deprecated: Collection[str] = ()) -> Chosen:
    """The models of `names` that are wanted; all of them if nothing says which.

    A glob means models; `deprecated` names, and models with a tag (`resnet18.a1_in1k`), are wanted as they are written.

    Raises:
        CouldNotRun: A glob matches nothing, a path is not there, or the paths name no model.
    """
    if not wanted.globs and not wanted.models_from:
        return Chosen(tuple(names))
    known = dict.fromkeys([*names, *deprecated])
    exact = [word for word in wanted.globs if _is_exact(word, known)]
    globs = [word for word in wanted.globs if word not in exact]
    found = [*exact, *(arguments.matching(globs, tuple(names)) if globs else ())]
    notes: list[str] = []
    if wanted.models_from:
        used = _used(wanted, known)
        found += used.words()
        missed = len(used.not_understood)
        notes += [f"{missed} {'place was' if missed == 1 else 'places were'} not understood"] if missed else []
    if not found:
        where = ", ".join(str(path) for path in wanted.models_from)
        raise CouldNotRun(f"no model is named in {where}; name some, or give another path to --models-from")
    return Chosen(tuple(sorted(set(found))), tuple(notes))


def _is_exact(word: str, known: Collection[str]) -> bool:
    return word in known or ("." in word and word.partition(".")[0] in known)


def _used(wanted: Wanted, known: Collection[str]) -> Uses:
    """What the project uses; what of it was not understood is told."""
    from conformance.gate.your_models import uses

    try:
        used = uses(wanted.models_from, known)
    except FileNotFoundError as error:
        raise CouldNotRun(
            f"{str(error.args[0])!r} is neither a file nor a directory; --models-from needs one"
        ) from error
    for place in used.not_understood[:_MOST_TOLD]:
        say(f"not understood: {place}"[:LONGEST_LINE], err=True)
    if len(used.not_understood) > _MOST_TOLD:
        typer.echo(f"and {len(used.not_understood) - _MOST_TOLD} more", err=True)
    typer.echo(f"{len(used.models())} models are named in {used.files} files", err=True)
    return used
