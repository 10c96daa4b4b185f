"""This module groups what was found of models: those of which the same is to be said are one finding."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from conformance.gate.changes import CellChange, Comparison, Kind, ModelChange, Output, Parting, Status
from conformance.record import Evidence, printable
from conformance.release import OUTPUTS, Step

DEFAULT_FILE = "expectations.toml"
"""Where what is accepted is written, unless the user has such a file."""
_MOST_NAMED = 5
"""Models that a command names one by one, where a glob would do."""


@dataclass(frozen=True)
class Found:
    """One thing to say of some models."""

    kind: Kind
    what: str
    """A sentence without its full stop; of the first model, where they differ in numbers."""
    models: tuple[str, ...]
    detail: tuple[str, ...] = ()
    fails: bool = False
    reproduce: str = ""
    """The command that shows it again."""
    accept: str = ""
    """The command that declares it to be expected."""


def found(comparison: Comparison) -> list[Found]:
    """Everything that was found, the worst first, and of one kind what concerns most models."""
    groups: dict[tuple[Kind, str | None, str], list[tuple[ModelChange, str, tuple[str, ...]]]] = {}
    for change in comparison.models:
        for kind, what, detail, key in said(change):
            groups.setdefault((kind, change.expected.get(kind), key), []).append((change, what, detail))
    order = list(Kind)
    listed = [_grouped(comparison, kind, why, entries) for (kind, why, _), entries in groups.items()]
    return sorted(listed, key=lambda one: (not one.fails, order.index(one.kind), -len(one.models), one.what))


def said(change: ModelChange) -> Iterator[tuple[Kind, str, tuple[str, ...], str]]:
    """What is to be said of a model: kind, sentence, detail, and what groups it with those of other models."""
    if change.presence is Kind.REMOVED:
        of_weights = "." in change.model
        what = "these weights are gone" if of_weights else "the model is gone, and no other name stands for it"
        yield Kind.REMOVED, what, (), str(of_weights)
    if change.presence is Kind.ADDED:
        yield Kind.ADDED, "the model is new", (), ""
    if change.was is not None:
        yield Kind.RENAMED, f"{change.was} is called {change.model}", (), f"{change.was} {change.model}"
    for cell in change.cells:
        if cell.is_break:
            yield (Kind.BROKEN, *_of_cell(cell))
        elif cell.is_mended:
            yield Kind.MENDED, f"{cell.claim} holds", (), cell.claim
    yield from _of_outputs(change.outputs)
    for kind, sentences in change.surface.items():
        for sentence in sentences:
            yield kind, sentence, (), sentence


def _of_cell(cell: CellChange) -> tuple[str, tuple[str, ...], str]:
    what = f"{cell.claim} held and is {cell.after.verdict}: {cell.after.reason}"
    return what, (), f"{cell.claim} {cell.after.cause or _without_numbers(what)}"


def _of_outputs(outputs: dict[str, Output]) -> Iterator[tuple[Kind, str, tuple[str, ...], str]]:
    """One sentence for all outputs of which the same is to be said."""
    for status, kind in ((Status.DRIFTED, Kind.DRIFTED), (Status.UNDECIDED, Kind.UNDECIDED)):
        names = [name for name in OUTPUTS if name in outputs and outputs[name].status is status]
        said: dict[str, list[str]] = {}
        for name in names:
            said.setdefault(_without_numbers(_of_output(outputs[name])), []).append(name)
        for key, alike in said.items():
            first = outputs[alike[0]]
            places = first.parting
            parted = "" if places is None else f"{_place(places.before)} {_place(places.after)}"
            yield (
                kind,
                f"{', '.join(alike)}: {_of_output(first)}",
                _parts(places),
                f"{' '.join(alike)} {key} {parted}",
            )


def _of_output(output: Output) -> str:
    if output.status is Status.UNDECIDED or output.evidence is Evidence.OBSERVED:
        return str(output.reason)
    numbers = []
    if output.relative_error is not None:
        numbers.append(f"relative error {output.relative_error:.2g}")
    if output.cosine_similarity is not None:
        numbers.append(f"cosine similarity {output.cosine_similarity:.4f}")
    return f"{', '.join(numbers)} ({output.reason})"


def _parts(parting: Parting | None) -> tuple[str, ...]:
    if parting is None:
        return ()
    return tuple(
        f"{when} {_step(step)}" for when, step in (("before", parting.before), ("after ", parting.after)) if step
    )


def _step(step: Step) -> str:
    return f"{step.operation.removeprefix('aten.')} at {step.place}" if step.place else step.operation


def _place(step: Step | None) -> str:
    """The place without its line, which an edit elsewhere in the file moves."""
    return re.sub(r":\d+", "", step.place or step.operation) if step else ""


def _without_numbers(text: str) -> str:
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text)


def _grouped(
    comparison: Comparison, kind: Kind, expected: str | None, entries: list[tuple[ModelChange, str, tuple[str, ...]]]
) -> Found:
    first, what, detail = entries[0]
    models = tuple(change.model for change, _, _ in entries)
    is_failing = kind in comparison.fail_on and expected is None
    claim, verdict = None, ""
    if kind is Kind.BROKEN:
        cell = next(cell for cell in first.cells if cell.is_break and _of_cell(cell)[0] == what)
        claim, verdict = cell.claim, str(cell.after.verdict)
    return Found(
        kind=kind,
        what=what if expected is None else f"{what} (expected: {expected})",
        models=models,
        detail=detail,
        fails=is_failing,
        reproduce=printable(_reproduce(comparison, first, claim)),
        accept=printable(_accept(comparison, models, kind, claim, verdict)) if is_failing else "",
    )


def _reproduce(comparison: Comparison, change: ModelChange, claim: str | None) -> str:
    before, after = (shlex.quote(side.timm) for side in (comparison.before, comparison.after))
    imports = "".join(f" --import {shlex.quote(module)}" for module in comparison.imports)
    if claim is not None:
        return f"timm-conformance audit {_called(change.model)} --claim {shlex.quote(claim)} --timm {after}{imports}"
    model = _called(change.was or change.model)
    if any(getattr(comparison.before, what) != getattr(comparison.after, what) for what in ("torch", "suite")):
        return f"timm-conformance audit {model} --timm {before}{imports}"  # what it needs is a new baseline
    return f"timm-conformance upgrade {before} {after} {model}{imports}"


def _accept(comparison: Comparison, models: tuple[str, ...], kind: Kind, claim: str | None, verdict: str) -> str:
    file = shlex.quote(comparison.expectations or DEFAULT_FILE)
    what = f"--claim {shlex.quote(claim)} --verdict {verdict}" if claim is not None else f"--change {kind}"
    return (
        f"timm-conformance expectations update {file} {_named(comparison, models)} {what} "
        f"--timm {shlex.quote(comparison.after.timm)} --reason '…'"
    )


def _called(model: str) -> str:
    """A name as an argument that means it and no others."""
    return _glob(glob.escape(model))


def _glob(word: str) -> str:
    """A glob as an argument, never taken for an option."""
    return shlex.quote(f"[-]{word[1:]}" if word.startswith("-") else word)


def _named(comparison: Comparison, models: tuple[str, ...]) -> str:
    """The models by one glob, where there are many and it means no others; or else by name."""
    if len(models) > _MOST_NAMED:
        common = f"{glob.escape(os.path.commonprefix(models))}*"  # noqa: RUF071  # no paths: characters are meant
        if {change.model for change in comparison.models if fnmatch.fnmatchcase(change.model, common)} == set(models):
            return _glob(common)
    return " ".join(map(_called, models))
