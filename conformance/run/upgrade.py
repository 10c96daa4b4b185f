"""This module compares two releases of timm: both are audited, each in processes of its own, and what differs is run.

Fingerprints that are equal settle an output. For one whose fingerprints differ the older release draws weights and the
newer one loads them; where what comes out differs, both list their operations to find where they part.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec

from conformance import __version__
from conformance.gate.changes import Comparison, Kind, ModelChange, Output, Status
from conformance.gate.compare import compare, needs_settling, sorted_and_judged, versions_of
from conformance.gate.expectations import Expectations
from conformance.gate.naming import Paired, paired
from conformance.gate.parting import parting
from conformance.gate.surfaces import lost_tags
from conformance.record import Evidence, Header, Record, Run, Tier, Verdict
from conformance.record_file import SentinelWrong, read_run
from conformance.release import OUTPUTS, Carried, Measured, Registry, Step, Surface
from conformance.run import local
from conformance.run.elsewhere import Elsewhere, NotAnswered
from conformance.run.estimate import Steps
from conformance.run.kept import Kept, run_of
from conformance.run.wheels import Release

DETERMINISTIC = "deterministic_in_eval"
"""The claim without which nothing is confirmed by measuring."""


class NotAudited(Exception):
    """An audit of one of the releases did not come to its end. Its text says why, its `code` is the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Pair:
    """Two releases, each with a process that answers for it."""

    before: Elsewhere
    after: Elsewhere

    def registries(self) -> tuple[Registry, Registry]:
        """What both know of names.

        Raises:
            NoSuchRelease: One of them cannot be imported.
        """
        with ThreadPoolExecutor(2) as both:
            old, new = both.map(Elsewhere.registry, (self.before, self.after))
        return old, new


@dataclass(frozen=True)
class Choice:
    """Which models are compared: names of either release, perhaps with a tag, and how to go about it."""

    models: tuple[str, ...]
    imports: tuple[str, ...] = ()
    workers: int | Literal["auto"] = "auto"
    keeps: bool = True
    """Whether what was decided of a release before is taken, and what is decided now kept."""


def upgrade(pair: Pair, choice: Choice, expectations: Expectations, tell: Callable[[str], None]) -> Comparison:
    """What becomes of these models when one release takes the place of the other; `tell` is told what is being done.

    Raises:
        NoSuchRelease: A release cannot be imported.
        NotAudited: An audit failed or was interrupted.
    """
    named = paired(choice.models, *pair.registries())
    common = sorted(named.pairs)
    shelves = tuple(_shelf(there.release, choice) for there in (pair.before, pair.after))
    surfaces = _surfaces(pair, common, shelves, tell)
    before = _decided(pair.before.release, sorted({name for name, _ in common}), choice, shelves[0], tell)
    after = _decided(pair.after.release, sorted({place for _, place in common}), choice, shelves[1], tell)
    settled = _settled(pair, before, after, common, tell)
    compared = compare(before, after, expectations, pairs=named.pairs, settled=settled, surfaces=surfaces)
    removed = [*named.removed, *_lost_weights(choice.models, named, surfaces)]
    others = [
        *(ModelChange(model=name, presence=Kind.REMOVED) for name in removed),
        *(ModelChange(model=name, presence=Kind.ADDED) for name in named.added),
    ]
    models = sorted_and_judged((*compared.models, *others), expectations, versions_of(after.header))
    unknown = [f"{', '.join(named.unknown)}: neither release has a model for it"] if named.unknown else []
    return msgspec.structs.replace(compared, models=models, notes=(*compared.notes, *unknown))


def _lost_weights(
    words: Iterable[str], named: Paired, surfaces: tuple[Mapping[str, Surface], Mapping[str, Surface]]
) -> list[str]:
    """Of the words that name weights (`resnet18.a1_in1k`), those whose weights only the older release declares."""
    lost = []
    for word in words:
        name, _, tag = word.partition(".")
        if any(
            tag in lost_tags(surfaces[0][before], surfaces[1][after])
            for before, after in named.pairs
            if tag and before == name
        ):
            lost.append(word)
    return lost


def _shelf(release: Release, choice: Choice) -> Kept | None:
    """What is kept of a release, unless nothing is to be: modules of one's own change, and have no version."""
    return Kept(release) if choice.keeps and not choice.imports else None


def _surfaces(
    pair: Pair, common: Iterable[tuple[str, str]], shelves: Sequence[Kept | None], tell: Callable[[str], None]
) -> tuple[Mapping[str, Surface], Mapping[str, Surface]]:
    """What both releases say of the models, asked at once where it is not kept."""
    names = [sorted({name for name, _ in common}), sorted({place for _, place in common})]
    known = [{} if shelf is None else shelf.surfaces() for shelf in shelves]
    missing = [[name for name in side if name not in kept] for side, kept in zip(names, known, strict=True)]
    what = f"what timm {pair.before.release.version} and {pair.after.release.version} say of {len(names[0])} models"
    steps = Steps(what, sum(map(len, missing)), tell)
    if any(missing):
        tell(what)

    def ask(there: Elsewhere, wanted: Sequence[str]) -> dict[str, Surface]:
        found = {}
        for name in wanted:
            try:
                found[name] = there.surface(name)
            except NotAnswered as error:
                found[name] = Surface(model=name, problem=str(error))
            steps.one()
        return found

    with ThreadPoolExecutor(2) as both:
        old, new = both.map(ask, (pair.before, pair.after), missing)
    for shelf, asked in zip(shelves, (old, new), strict=True):
        if shelf is not None:
            shelf.keep_surfaces(asked)
    return known[0] | old, known[1] | new


def _decided(
    release: Release, models: Sequence[str], choice: Choice, kept: Kept | None, tell: Callable[[str], None]
) -> Run:
    """The core tier of the models, in a release: what is kept of it, and the rest decided now."""
    known = kept.run() if kept is not None else None
    before = {record.model: record for record in (known.records if known is not None else ())}
    there = [before[model] for model in models if model in before]
    missing = [model for model in models if model not in before]
    if there:
        tell(f"timm {release.version}: {len(there)} of {len(models)} models were decided before")
    if known is not None and not missing:
        return run_of(known.header, there)
    run = _audited(release, missing, choice)
    if kept is not None:
        kept.keep(run)
    return run_of(run.header, (*there, *run.records))


def _audited(release: Release, models: Sequence[str], choice: Choice) -> Run:
    """The core tier of the models, in a release, decided now."""
    if not models:  # to an audit that would mean all of them
        header = Header(
            suite=__version__,
            timm=release.version,
            torch=version("torch"),
            python=platform.python_version(),
            tier=Tier.CORE,
            started="",
            subjects=0,
            claims=(),
        )
        return run_of(header, ())
    with tempfile.TemporaryDirectory(prefix="timm-conformance-") as directory:
        selection = local.Selection(
            output=Path(directory, "run.jsonl"),
            models=tuple(models),
            imports=choice.imports,
            workers=choice.workers,
            expectations="none",
            memory=4.0,
            release=release,
        )
        code = local.audit(selection)
        if code != local.WRITTEN:
            raise NotAudited(f"the audit of timm {release.version} did not come to its end", code)
        try:
            return read_run(selection.output)
        except SentinelWrong as error:
            raise NotAudited(f"timm {release.version}: {error}", local.FAILED) from error


def _settled(
    pair: Pair, before: Run, after: Run, common: Iterable[tuple[str, str]], tell: Callable[[str], None]
) -> dict[tuple[str, str, str], Output]:
    """What became of the outputs whose fingerprints do not say it, by name before, after, and output."""
    old = {record.model: record for record in before.records}
    new = {record.model: record for record in after.records}
    pending = [
        (name, place, outputs)
        for name, place in common
        if (outputs := [output for output in OUTPUTS if needs_settling(old[name], new[place], output)])
    ]
    found: dict[tuple[str, str, str], Output] = {}
    for number, (name, place, outputs) in enumerate(pending, start=1):
        tell(f"what {place} gives in both, {number} of {len(pending)}")
        for output, became in _became(pair, old[name], new[place], outputs).items():
            found[name, place, output] = became
    return found


def _became(pair: Pair, left: Record, right: Record, outputs: Sequence[str]) -> dict[str, Output]:
    """What became of some outputs of one model."""
    size = left.input_size if left.input_size != right.input_size else None
    if size is not None:  # compared at the older one, since another size is another computation
        listed = {output: _steps(pair, left.model, right.model, output, size) for output in outputs}
        if all(_are_one(*sides) for sides in listed.values()):
            why = f"on images of the older size, {' by '.join(map(str, size[1:]))} pixels"
            return {output: Output(status=Status.SAME, evidence=Evidence.PROVED, reason=why) for output in outputs}
    try:
        measured = _measured(pair, left.model, right.model, outputs)
    except NotAnswered as error:
        reason = f"it could not be measured: {error}"
        return {output: Output(status=Status.UNDECIDED, reason=reason) for output in outputs}
    found = {}
    hidden = _hidden(left, right)
    for output, became in measured.items():
        if became.status is Status.SAME and hidden is not None:
            became = msgspec.structs.replace(became, status=Status.UNDECIDED, evidence=None, reason=hidden)
        if became.status is not Status.SAME:
            sides = _steps(pair, left.model, right.model, output, size)
            became = msgspec.structs.replace(became, parting=parting(*sides))
        found[output] = became
    return found


def _measured(pair: Pair, left: str, right: str, outputs: Iterable[str]) -> dict[str, Output]:
    """What real numbers say, in float64 where that is possible.

    Of a model that computes something in float32 whatever its weights are, float64 shows the rounding of that and
    cannot tell it from a change; float32, in which it is used, may. What raises in float64 may be made for float32.

    Raises:
        NotAnswered: A model cannot be run, or the weights cannot be loaded.
    """

    def carried(*, in_double: bool) -> Carried:
        with tempfile.TemporaryDirectory(prefix="timm-conformance-") as directory:
            file = Path(directory, "weights.pt")
            pair.before.depart(left, file, in_double=in_double)
            return pair.after.arrive(right, file)

    first = carried(in_double=True)
    found = {output: _read(first.outputs[output], first) for output in outputs}
    raised = [output for output in found if first.outputs[output].raises]
    unclear = [output for output in found if first.outputs[output].is_same is None]
    if first.dtype != "float64" or not (raised or unclear):
        return found
    try:
        second = carried(in_double=False)
    except NotAnswered:  # what float64 said of the other outputs stands
        return found
    for output in {*raised, *unclear}:
        became = _read(second.outputs[output], second)
        if output in raised or became.status is Status.SAME:
            found[output] = became
    return found


def _hidden(left: Record, right: Record) -> str | None:
    """Why measuring the same confirms nothing, if so: what hides from a proof may show at another call."""
    for when, record in (("before", left), ("after", right)):
        cell = record.cells[DETERMINISTIC]
        if cell.verdict is not Verdict.HOLDS:
            return f"it came out the same, but {when} the upgrade {DETERMINISTIC} is {cell.verdict}: {cell.reason}"
    return None


def _read(measured: Measured, carried: Carried) -> Output:
    how = f"in {carried.dtype}"
    if carried.loaded_by == "timm":
        how += ", with the weights' names as timm's own filter for checkpoints changes them"
    if measured.is_same is None:
        return Output(
            status=Status.UNDECIDED,
            reason=measured.problem or f"the difference is neither rounding nor clearly more, {how}",
            relative_error=measured.relative_error,
            cosine_similarity=measured.cosine_similarity,
        )
    return Output(
        status=Status.SAME if measured.is_same else Status.DRIFTED,
        evidence=Evidence.MEASURED if measured.problem is None else Evidence.OBSERVED,
        reason=measured.problem or how,
        relative_error=measured.relative_error,
        cosine_similarity=measured.cosine_similarity,
    )


def _steps(pair: Pair, left: str, right: str, output: str, size: Sequence[int] | None) -> tuple[list[Step], list[Step]]:
    """The operations of both releases; none where a model cannot be run so."""

    def of(there: Elsewhere, name: str) -> list[Step]:
        try:
            return there.steps(name, output, size)
        except NotAnswered:
            return []

    with ThreadPoolExecutor(2) as both:
        old, new = both.submit(of, pair.before, left), both.submit(of, pair.after, right)
        return old.result(), new.result()


def _are_one(left: Sequence[Step], right: Sequence[Step]) -> bool:
    """Whether both lists end in the same computation."""
    return bool(left and right) and left[-1].digest is not None and left[-1].digest == right[-1].digest
