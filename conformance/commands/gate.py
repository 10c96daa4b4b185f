"""This module is `timm-conformance gate`: a run compared with the one that was accepted before."""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.choosing import Wanted, chosen, wanted
from conformance.commands.options import (
    ChangesForm,
    ChangesOutput,
    ChosenModels,
    ExpectedBy,
    FailOn,
    Imports,
    ModelsFrom,
    Workers,
)
from conformance.commands.shared import (
    FINDINGS,
    accepted_by,
    completed,
    form_called,
    names_in,
    read,
    refuse_overlaps,
    release_called,
    tell_changes,
)

if TYPE_CHECKING:
    from conformance.record import Run


def gate(
    baseline: Annotated[Path, typer.Option(metavar="FILE", help="The record file of what was accepted.")],
    models: ChosenModels = None,
    candidate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The record file to judge; the environment's timm is audited if none is given."
        ),
    ] = None,
    models_from: ModelsFrom = None,
    expectations: ExpectedBy = None,
    fail_on: FailOn = None,
    form: ChangesForm = "text",
    imports: Imports = None,
    workers: Workers = "auto",
    output: ChangesOutput = None,
) -> int:
    """Say what changed since a run that was accepted.

    Exits 1 if something is found. What was violated then, or is declared to be expected, is no finding.
    """
    form = form_called(form, output)
    project = wanted(models, models_from, imports, expectations, fail_on)
    accepted = accepted_by(project.expectations)
    before = read(baseline, any_schema=True)
    after = read(candidate) if candidate is not None else _audited(before, project, workers)

    from conformance.gate.compare import compare, versions_of

    names = sorted({record.model for run in (before, after) for record in run.records})
    which = chosen(project, names)
    refuse_overlaps(accepted, names, versions_of(after.header))
    comparison = compare(before, after, accepted, models=_without_tags(which.models))
    comparison = completed(comparison, project, accepted, which.notes)
    tell_changes(comparison, form, output)
    return FINDINGS if comparison.failing() else 0


def _audited(before: Run, project: Wanted, workers: str) -> Run:
    """The environment's timm, in the claims and the models of the baseline that are wanted.

    Raises:
        CouldNotRun: The audit did not come to its end.
    """
    from conformance.claims import CLAIMS
    from conformance.run import local

    wanted_workers = arguments.workers_called(workers)
    release = release_called("installed")
    there = names_in(release, project.imports)
    known = [record.model for record in before.records]
    which = _without_tags(chosen(project, sorted({*known, *there})).models)
    models = tuple(name for name in which if name in there and (name in known or _is_named(name, project)))
    if not models:
        raise CouldNotRun(f"timm {release.version} has none of these models; see `timm.list_models()`")
    with tempfile.TemporaryDirectory(prefix="timm-conformance-") as directory:
        selection = local.Selection(
            output=Path(directory, "run.jsonl"),
            models=models,
            claims=tuple(entry.id for entry in before.header.claims if entry.id in CLAIMS),
            tier=before.header.tier,
            imports=project.imports,
            workers=wanted_workers,
            expectations="none",
            memory=4.0,
            release=release,
        )
        code = local.audit(selection)
        if code == local.INTERRUPTED:
            raise KeyboardInterrupt
        if code != local.WRITTEN:
            raise CouldNotRun(f"the audit of timm {release.version} did not come to its end")
        return read(selection.output)


def _without_tags(words: Iterable[str]) -> list[str]:
    """Models alone: a run says nothing of pretrained weights."""
    return sorted({word.partition(".")[0] for word in words})


def _is_named(name: str, project: Wanted) -> bool:
    return bool(project.models_from) or any(fnmatch.fnmatchcase(name, glob) for glob in project.globs)
