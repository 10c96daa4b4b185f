"""This module is `timm-conformance upgrade`: two releases of timm, compared for some models."""

from __future__ import annotations

from typing import Annotated

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.choosing import chosen, wanted
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
    refuse_overlaps,
    release_called,
    say,
    tell_changes,
)


def upgrade(
    before: Annotated[str, typer.Argument(metavar="FROM", help="The release in use, or `installed`.")],
    after: Annotated[str, typer.Argument(metavar="TO", help="The release to go to, or `installed`.")],
    models: ChosenModels = None,
    models_from: ModelsFrom = None,
    fail_on: FailOn = None,
    form: ChangesForm = "text",
    imports: Imports = None,
    workers: Workers = "auto",
    afresh: Annotated[
        bool, typer.Option("--afresh", help="Decide everything now, whatever is kept of an earlier comparison.")
    ] = False,
    expectations: ExpectedBy = None,
    output: ChangesOutput = None,
) -> int:
    """Say what another release of timm changes.

    Which claims break, and whether each model computes the same. Exits 1 if something is found.
    """
    form = form_called(form, output)
    project = wanted(models, models_from, imports, expectations, fail_on)
    wanted_workers = arguments.workers_called(workers)
    accepted = accepted_by(project.expectations)
    releases = release_called(before), release_called(after)

    import platform
    from importlib.metadata import version

    from conformance.run.elsewhere import Elsewhere
    from conformance.run.upgrade import Choice, NotAudited, Pair
    from conformance.run.upgrade import upgrade as compare_all
    from conformance.run.wheels import NoSuchRelease

    try:
        with Elsewhere(releases[0], project.imports) as old, Elsewhere(releases[1], project.imports) as new:
            pair = Pair(old, new)
            registries = pair.registries()
            names = sorted({*registries[0].models, *registries[1].models})
            which = chosen(project, names, {*registries[0].deprecated, *registries[1].deprecated})
            refuse_overlaps(
                accepted,
                names,
                {"timm": releases[1].version, "torch": version("torch"), "python": platform.python_version()},
            )
            choice = Choice(which.models, imports=project.imports, workers=wanted_workers, keeps=not afresh)
            comparison = compare_all(pair, choice, accepted, lambda doing: say(doing, err=True))
    except NoSuchRelease as error:
        raise CouldNotRun(str(error)) from error
    except NotAudited as error:
        say(f"timm-conformance: {error}", err=True)
        return error.code
    if not comparison.models:  # nothing was looked at, which is no reason to open a gate
        raise CouldNotRun(f"neither release has a model for {', '.join(which.models)}; see `timm.list_models()`")
    comparison = completed(comparison, project, accepted, which.notes)
    tell_changes(comparison, form, output)
    return FINDINGS if comparison.failing() else 0
