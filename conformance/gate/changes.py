"""This module is what came of comparing two runs: what became of each model's outputs, claims and surface."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable

import msgspec

from conformance.record import Cell, Evidence, Level, Verdict
from conformance.release import OUTPUTS, Step

CHANGES_VERSION = 1


class Kind(enum.StrEnum):
    """What can be found of a model; the worst comes first. `--fail-on` names these."""

    BROKEN = "broken"
    """A must or should claim held and is violated or undecided, which nothing expects."""
    DRIFTED = "drifted"
    """An output is computed otherwise, and comes out otherwise."""
    REMOVED = "removed"
    """The model exists no more, under no name."""
    UNDECIDED = "undecided"
    """Whether an output comes out as before is not known."""
    WEIGHTS = "weights"
    """`pretrained=True` loads others, or loads them from elsewhere."""
    PREPROCESSING = "preprocessing"
    """Images must be prepared otherwise."""
    WIDTHS = "widths"
    """`num_features`, `head_hidden_size` or the number of classes is another."""
    STATE_DICT = "state_dict"
    """Names, shapes or dtypes in `state_dict()` are others."""
    CONSTRUCTOR = "constructor"
    """Arguments of the model's class, or their defaults, are others."""
    RENAMED = "renamed"
    """The name is deprecated in favour of another one."""
    ADDED = "added"
    """The model is new."""
    MENDED = "mended"
    """A claim was violated or undecided and holds."""


DEFAULT_FAILURES = (Kind.BROKEN, Kind.DRIFTED, Kind.UNDECIDED, Kind.REMOVED)


SURFACE = frozenset({Kind.WEIGHTS, Kind.PREPROCESSING, Kind.WIDTHS, Kind.STATE_DICT, Kind.CONSTRUCTOR})
"""What is told of models besides outputs and claims."""


class Status(enum.StrEnum):
    """What became of one output of one model."""

    SAME = "same"
    DRIFTED = "drifted"
    UNDECIDED = "undecided"
    ABSENT = "absent"
    """There was none before: nothing can be lost."""


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """The first operations that the two computations do not have in common; None: the other's are all in this one."""

    before: Step | None
    after: Step | None


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an output: `features`, `pre_logits` or `logits`."""

    status: Status
    evidence: Evidence | None = None
    """Of `same` and `drifted`."""
    reason: str | None = None
    """Of all but what is proved to be the same."""
    relative_error: float | None = None
    """The largest difference relative to the largest element."""
    cosine_similarity: float | None = None
    """Of what was and is computed for one image; the smallest of the batch."""
    parting: Parting | None = None

    def __post_init__(self) -> None:
        if self.status is Status.SAME and self.evidence not in (Evidence.PROVED, Evidence.MEASURED):
            raise ValueError("an output that is the same is proved or measured to be")


class CellChange(msgspec.Struct, frozen=True, kw_only=True):
    """A claim of which another verdict is given than before."""

    claim: str
    level: Level
    before: Cell
    after: Cell
    expected: str | None = None
    """Why the new verdict is expected, if it is."""

    @property
    def is_break(self) -> bool:
        """Whether a promise that was kept is kept no more, or not known to be, and nothing expects that."""
        return (
            self.before.verdict is Verdict.HOLDS
            and self.after.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED)
            and self.level is not Level.SIGNAL
            and self.expected is None
        )

    @property
    def is_mended(self) -> bool:
        """Whether a promise that was not kept, or not known to be, is kept."""
        return self.before.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED) and self.after.verdict is Verdict.HOLDS


class ModelChange(msgspec.Struct, frozen=True, kw_only=True):
    """One model in two runs."""

    model: str
    """Its name after; of a model that was removed, before."""
    was: str | None = None
    """Its name before, if that was another."""
    outputs: dict[str, Output] = {}
    cells: tuple[CellChange, ...] = ()
    """Every claim whose verdict changed."""
    surface: dict[Kind, tuple[str, ...]] = {}
    """Sentences on what changed besides, by kind."""
    presence: Kind | None = None
    """`added`, `removed`, or None: both runs have it."""
    expected: dict[Kind, str] = {}
    """What was declared to be expected of it, with the reason."""

    def __post_init__(self) -> None:
        if self.presence not in (None, Kind.ADDED, Kind.REMOVED):
            raise ValueError(f"a model cannot be {self.presence} as one that is added or removed")
        if others := self.surface.keys() - SURFACE:
            raise ValueError(f"what changed besides cannot be {min(others)}")

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What was found of the model, the worst first."""
        statuses = {output.status for output in self.outputs.values()}
        found = {
            Kind.BROKEN: any(cell.is_break for cell in self.cells),
            Kind.DRIFTED: Status.DRIFTED in statuses,
            Kind.UNDECIDED: Status.UNDECIDED in statuses,
            Kind.RENAMED: self.was is not None,
            Kind.MENDED: any(cell.is_mended for cell in self.cells),
            **{kind: bool(sentences) for kind, sentences in self.surface.items()},
        }
        if self.presence is not None:
            found[self.presence] = True
        return tuple(kind for kind in Kind if found.get(kind))

    @property
    def unexpected(self) -> tuple[Kind, ...]:
        """The same without what was declared to be expected."""
        return tuple(kind for kind in self.kinds if kind not in self.expected)

    def fails(self, kinds: Collection[Kind]) -> bool:
        """Whether one of these kinds was found of it and not expected."""
        return any(kind in kinds for kind in self.unexpected)


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the runs that were compared."""

    timm: str
    torch: str
    python: str
    suite: str


class CauseChange(msgspec.Struct, frozen=True, kw_only=True):
    """A reason for which claims failed in one of the runs alone."""

    verdict: Verdict
    claims: tuple[str, ...]
    models: tuple[str, ...]
    reason: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs compared, over the models that were chosen."""

    schema: int = CHANGES_VERSION
    before: Side
    after: Side
    fail_on: tuple[Kind, ...] = DEFAULT_FAILURES
    models: tuple[ModelChange, ...]
    """Sorted by name. Those of which nothing was found are here as well."""
    new_causes: tuple[CauseChange, ...] = ()
    vanished_causes: tuple[CauseChange, ...] = ()
    notes: tuple[str, ...] = ()
    """What was not compared, and why; what was not understood."""
    imports: tuple[str, ...] = ()
    """Modules that registered models of the user's own."""
    expectations: str | None = None
    """The file of what the user accepts, if there is one."""

    def __post_init__(self) -> None:
        if not self.fail_on:
            raise ValueError("what fails is named nowhere")

    def failing(self) -> list[ModelChange]:
        """Models for which the gate does not open, the worst first."""
        order = list(Kind)
        failing = [change for change in self.models if change.fails(self.fail_on)]
        return sorted(failing, key=lambda change: (order.index(change.unexpected[0]), change.model))

    def count(self) -> dict[Kind, int]:
        """How many models have each kind of finding."""
        return {kind: sum(kind in change.kinds for change in self.models) for kind in Kind}

    def statuses(self) -> dict[str, dict[str, int]]:
        """By output, how many models have it proved the same, measured the same, drifted, undecided, absent."""
        return {
            name: _tally(change.outputs[name] for change in self.models if name in change.outputs) for name in OUTPUTS
        }


def _tally(outputs: Iterable[Output]) -> dict[str, int]:
    words = ("same, proved", "same, measured", "drifted", "undecided", "absent")
    counts = dict.fromkeys(words, 0)
    for output in outputs:
        same = output.status is Status.SAME
        counts[f"same, {output.evidence}" if same else str(output.status)] += 1
    return counts
