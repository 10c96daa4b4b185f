"""This module is `timm-conformance audit`: models and claims of one timm or several, decided and judged."""

from __future__ import annotations

import fnmatch
import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.commands.options import ExpectedBy, Imports, Workers
from conformance.commands.shared import (
    FINDINGS,
    claims_called,
    console,
    expected_by,
    names_in,
    read,
    refuse_contradictions,
    release_called,
)

if TYPE_CHECKING:
    from conformance.gate import Expectations
    from conformance.run.local import Selection

INSTALLED = "installed"
"""The environment's own timm, as `conformance.run.wheels` calls it; that is imported when it is needed."""


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise typer.BadParameter(f"{number} is no limit; give a number")
    return number


def audit(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="GLOB", help="Models by name or glob; all if none is given.")
    ] = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Decide this claim only; may be repeated. Overrides --tier.")
    ] = None,
    tier: Annotated[str, typer.Option(metavar="core|full", help="Which claims to decide.")] = "core",
    workers: Workers = "auto",
    imports: Imports = None,
    timm: Annotated[
        list[str] | None,
        typer.Option(metavar="VERSION", help="Audit this release instead of the environment's; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Where the records go: timm-VERSION.jsonl unless told otherwise. A folder for several releases.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Decide part K of N, of about equal cost; `merge` joins the records."),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="local|ADDRESS", help="Decide on a cluster of Ray: one of this machine's own, or a running one."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished run in FILE.partial.")] = False,
    expectations: ExpectedBy = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=1, callback=_finite, help="For one cell.")] = 300,
    memory: Annotated[float, typer.Option(metavar="GB", min=0.1, callback=_finite, help="For one process.")] = 4,
) -> int:
    """Decide the contract for timm's models.

    Writes the records, says what was found, and exits 1 if something of it is not expected.
    """
    wanted_tier, wanted_workers = arguments.tier_called(tier), arguments.workers_called(workers)
    expected = expected_by(expectations)
    wanted_shard = None if shard is None else arguments.shard_called(shard)
    releases = [release_called(word) for word in timm or [INSTALLED]]
    files = _files(output, [release.version for release in releases])
    from conformance.claims import CLAIMS
    from conformance.run.local import Selection

    names = [names_in(release, imports or ()) for release in releases]
    matched = arguments.matching(models, dict.fromkeys(itertools.chain(*names))) if models else None
    selection = Selection(
        output=Path(),
        claims=tuple(claim.id for claim in claims_called(claim or ())),
        tier=wanted_tier,
        imports=tuple(imports or ()),
        workers=wanted_workers,
        shard=wanted_shard,
        resume=resume,
        expectations="none" if expectations == "none" else Path(expectations).absolute() if expectations else None,
        timeout=timeout,
        memory=memory,
    )
    parts = []
    for release, file, everything in zip(releases, files, names, strict=True):
        chosen = everything if matched is None else [name for name in everything if name in matched]
        if not chosen:
            typer.echo(f"timm {release.version} has none of these models; it is left out", err=True)
            continue
        refuse_contradictions(expected, chosen, CLAIMS, timm=release.version)
        globs = tuple(glob for glob in models or () if any(fnmatch.fnmatchcase(name, glob) for name in chosen))
        parts.append(_Part(replace(selection, output=file, models=globs, release=release), chosen, everything))
    if cluster is not None:
        return _decided_on(cluster, parts, expected)
    code = 0
    for part in parts:
        found = _decided_here(part, expected)
        if found not in (0, FINDINGS):
            return found
        code = max(code, found)
    return code


@dataclass(frozen=True)
class _Part:
    """What is decided of one release."""

    selection: Selection
    chosen: list[str]
    everything: list[str]
    """The names of the release, by which expectations are judged."""


def _decided_here(part: _Part, expected: Expectations) -> int:
    """Decide on this machine, say what was found, and give the exit code."""
    from conformance.run.local import audit as decide_all

    return decide_all(part.selection) or _judged(part, expected)


def _decided_on(address: str, parts: list[_Part], expected: Expectations) -> int:
    """Decide everything together on a cluster, say what was found of each release, and give the exit code."""
    from conformance.run.chosen import chosen, claims_of
    from conformance.run.cluster import audit as decide_all

    first = parts[0].selection
    claims = claims_of(first.claims, first.tier)
    choices = [chosen(part.chosen, claims, first.tier, first.shard) for part in parts]
    code = decide_all([part.selection for part in parts], choices, address)
    return code or max(_judged(part, expected) for part in parts)


def _judged(part: _Part, expected: Expectations) -> int:
    from conformance.gate import judge
    from conformance.report.text import print_summary

    run = read(part.selection.output)
    judgement = judge(run, expected, names=part.everything)
    print_summary(run, str(part.selection.output), console(), judgement)
    return 0 if judgement.is_clean else FINDINGS


def _files(output: Path | None, versions: list[str]) -> list[Path]:
    """Where the records of each release go."""
    if len(versions) == 1:
        return [arguments.writable(output or Path(f"timm-{versions[0]}.jsonl"))]
    if len(set(versions)) < len(versions):
        raise CouldNotRun("--timm names a release twice; name each once")
    folder = arguments.folder(output or Path())
    return [arguments.writable(folder / f"timm-{version}.jsonl") for version in versions]
