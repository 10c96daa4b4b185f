"""This module decides one subject: claims in, cells and a record out. Every way of running calls it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property

import msgspec

from conformance.claims import CLAIMS
from conformance.claims.claim import (
    ON_META,
    Claim,
    is_unprovable,
    not_applicable,
    undecided,
    undecided_on_meta,
)
from conformance.claims.equality import DREW_APART
from conformance.claims.numbers import DOUBLE, LARGEST_IN_DOUBLE, SEEDS, SINGLE, Precision, measured, weights_in
from conformance.claims.raised import MEMORY, cell_of, digest, must_be_seen_on_real_tensors, normalised
from conformance.record import Cell, Evidence, Record, Remedy, Verdict
from conformance.release import OUTPUTS
from conformance.subject import Pass, RealSubject, Shapes, Subject, leave_out_threads
from conformance.subject.passes import tensors_of
from conformance.subject.subject import BATCH

__all__ = ["Examination", "Shapes", "cell_of", "decide", "leave_out_threads", "normalised"]

ROUNDING_OF_SINGLE = 2.0**-23
"""Relative: float32's eps."""


class Examination:
    """One subject being decided, claim by claim; what claims share is built once.

    `known` are cells settled elsewhere (a worker that died deciding them): they are taken as they are, so that what
    killed one process does not kill the next. `shapes` may be handed from one examination to the next to save time.
    """

    def __init__(self, name: str, known: Mapping[str, Cell] | None = None, shapes: Shapes | None = None) -> None:
        self.subject = Subject(name, shapes)
        self.cells: dict[str, Cell] = dict(known or {})
        self.cost: dict[str, float] = {}

    def cell(self, claim_id: str) -> Cell:
        """The cell of one claim, its prerequisites decided first. No Exception of the model's gets out."""
        if claim_id not in self.cells:
            self.cells[claim_id] = self._decide(claim_id)
        return self.cells[claim_id]

    def _decide(self, claim_id: str) -> Cell:
        claim = CLAIMS[claim_id]
        for need in claim.needs:
            if self.cell(need).verdict is not Verdict.HOLDS:
                return not_applicable(f"needs {need}, which {_said(self.cell(need))}")
        started = time.perf_counter()
        try:
            cell = self._settled(claim)
            if cell.verdict is Verdict.VIOLATED:
                cell = msgspec.structs.replace(cell, remedy=self._remedy(claim))
        finally:
            self.cost[claim_id] = time.perf_counter() - started
        return _with_cause(claim_id, cell)

    def _settled(self, claim: Claim, seeds: Sequence[int] = SEEDS) -> Cell:
        """What is proved or observed, and what is measured on `seeds` where that says nothing."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                cell = claim.decide(self.subject)
        except Exception as error:  # noqa: BLE001  # the one boundary: what a model raises is a verdict
            cell = cell_of(error)
            if cell.verdict is Verdict.VIOLATED and must_be_seen_on_real_tensors(claim, error):
                return self._unless_on_meta_alone(claim, cell, seeds)
        if cell.verdict is Verdict.UNDECIDED and cell.cause != MEMORY:
            return self._measured(claim, cell, seeds)
        return cell

    def _unless_on_meta_alone(self, claim: Claim, cell: Cell, seeds: Sequence[int]) -> Cell:
        """The cell of an exception on the meta device, unless real tensors raise none.

        A model may refuse devices that it does not know, in words of its own. Of one that is too large for real tensors
        a compiler's refusal is believed: it is seldom one of the device.
        """
        on_meta = msgspec.structs.replace(undecided_on_meta(str(cell.reason)), cause=cell.cause)
        real = self._measured(claim, on_meta, seeds)
        is_confirmed = real.verdict is Verdict.VIOLATED and real.evidence is Evidence.OBSERVED
        is_too_large = real.cause == MEMORY and claim.group == "capture"
        if is_confirmed or is_too_large:
            return cell
        if real.verdict is Verdict.HOLDS and not self._is_raised_again(claim):
            return undecided(f"{cell.reason}; but not again, and not on real tensors")
        return real

    def _is_raised_again(self, claim: Claim) -> bool:
        """Whether deciding the claim of another subject without weights raises something too."""
        return _raised(claim, Subject(self.subject.name)) is not None

    def _is_raised_undrawn(self, claim: Claim, cause: str | None) -> bool:
        """Whether deciding the claim raises the same with the weights that the model begins with: those that are drawn
        may be none that it could ever have."""
        raised = _raised(claim, RealSubject(self.subject, SEEDS[0], SINGLE, draws=False))
        return raised is not None and raised.cause == cause

    def _remedy(self, claim: Claim) -> Remedy | None:
        """The first way to what the claim promises that is proved or measured to lead there."""
        try:
            for way in claim.ways(self.subject) if claim.ways else ():
                found = self._settled(replace(claim, decide=way.decide), seeds=SEEDS[:1])
                if found.verdict is Verdict.HOLDS and found.evidence is not None:
                    return Remedy(text=way.text, code=way.code, evidence=found.evidence)
        except Exception:  # noqa: BLE001  # the boundary: a model may raise where ways are looked for
            return None
        return None

    def _measured(self, claim: Claim, cell: Cell, seeds: Sequence[int]) -> Cell:
        """What real numbers say where the engine could not tell; a failure of theirs leaves the cell undecided."""
        if str(cell.reason).endswith(DREW_APART):
            return cell
        by_numbers, raised = self._by_numbers(claim, seeds)
        if raised and by_numbers.cause == MEMORY:
            size = weights_in(self.subject, SINGLE)
            needed = f": one copy of its weights takes {size / 1e9:.1f} GB in float32" if size is not None else ""
            return undecided(f"{cell.reason}; memory ran out while it was measured{needed}", cause=MEMORY)
        if raised and by_numbers.cause != cell.cause and not self._is_raised_undrawn(claim, by_numbers.cause):
            return undecided(f"{by_numbers.reason}; but only with weights that were drawn for this")
        if raised and by_numbers == cell:
            return cell
        if raised and not str(cell.reason).startswith(ON_META):
            return undecided(f"{cell.reason}; measuring it failed: {by_numbers.reason}", cause=by_numbers.cause)
        if by_numbers.verdict is Verdict.HOLDS and is_unprovable(cell):
            return undecided(f"{cell.reason}; nothing else was measured, but what is hidden may show later")
        if by_numbers.verdict is Verdict.UNDECIDED:
            return undecided(f"{cell.reason}; measured: {by_numbers.reason}")
        if by_numbers.verdict is Verdict.VIOLATED and by_numbers.evidence is Evidence.MEASURED and self._builds_differ:
            return undecided(f"{by_numbers.reason}; but so do two models of it that are built alike")
        return by_numbers

    @cached_property
    def _builds_differ(self) -> bool:
        """Whether no two real models of the name are the same."""
        real = RealSubject(self.subject, SEEDS[0], SINGLE)
        try:
            return real.builds_differ
        except Exception:  # noqa: BLE001  # what was measured stands
            return False
        finally:
            real.close()

    def _by_numbers(self, claim: Claim, seeds: Sequence[int]) -> tuple[Cell, bool]:
        """The cell on real numbers, and whether it is that of an exception.

        What float32 shows to differ needs nothing better, which takes two to three times as long; what is not
        measured in float64 (it is too large, memory runs out, the model is made for float32) is what float32 says.
        """
        cell, raised = self._computed(claim, SINGLE, seeds)
        if raised or cell.verdict is Verdict.VIOLATED or cell.evidence is Evidence.OBSERVED:
            return cell, raised
        if claim.in_double and (weights_in(self.subject, DOUBLE) or 0) <= LARGEST_IN_DOUBLE:
            better, failed = self._computed(claim, DOUBLE, seeds)
            # Models promise float32: a constant of that dtype, or a cast to it, is no fault of theirs.
            is_of_dtype = failed or (better.verdict is Verdict.VIOLATED and better.evidence is Evidence.OBSERVED)
            if _is_below_float32(better):
                return undecided(f"{better.reason}: less than what float32 keeps of a number"), False
            if not is_of_dtype:
                return better, failed
        if cell.verdict is Verdict.HOLDS:  # within a wider bound, which the cell must say
            cell = msgspec.structs.replace(cell, witness={"dtype": "float32"})
        return cell, False

    def _computed(self, claim: Claim, precision: Precision, seeds: Sequence[int]) -> tuple[Cell, bool]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return measured(claim, self.subject, precision, seeds), False
        except Exception as error:  # noqa: BLE001  # the boundary again
            return cell_of(error), True

    def describe(self) -> Record:
        """The facts of the subject (class, widths, fingerprints), without cells. Nothing is built if `builds` fails."""
        if self.cell("builds").verdict is not Verdict.HOLDS:
            return Record(model=self.subject.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A forward that failed, or ended the process that tried it, is not tried again for its fingerprint.
            runs = self.cells.get("forward_features_runs")
            traced = runs is None or runs.verdict is Verdict.HOLDS
            try:
                self.subject.as_built  # noqa: B018  # for what it raises
            except Exception:  # noqa: BLE001  # it can be built on real tensors alone
                real = RealSubject(self.subject, SEEDS[0], SINGLE)
                try:
                    return _facts(real, traced=False)
                except Exception:  # noqa: BLE001  # not even so this time: memory ran out, as a rule
                    return Record(model=self.subject.name)
                finally:
                    real.close()
            return _facts(self.subject, traced=traced)

    def close(self) -> None:
        """Let go of the models and clear what TorchScript keeps for the process."""
        self.subject.close()


def decide(name: str, claim_ids: Iterable[str]) -> Record:
    """Decide `claim_ids` for the model called `name`."""
    examination = Examination(name)
    cells = {claim_id: examination.cell(claim_id) for claim_id in claim_ids}
    facts = examination.describe()
    cost = {claim_id: round(seconds, 3) for claim_id, seconds in examination.cost.items()}
    examination.close()
    return msgspec.structs.replace(facts, cells=cells, cost=cost)


def _raised(claim: Claim, subject: Subject) -> Cell | None:
    """The cell of what deciding the claim of the subject raises, if anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            claim.decide(subject)
    except Exception as error:  # noqa: BLE001  # whatever it is
        return cell_of(error)
    finally:
        subject.close()
    return None


def _is_below_float32(cell: Cell) -> bool:
    """Whether what was measured to differ is less than the rounding of one float32: that of a constant, perhaps."""
    error = (cell.witness or {}).get("max_relative_error")
    is_measured = cell.verdict is Verdict.VIOLATED and cell.evidence is Evidence.MEASURED
    return is_measured and isinstance(error, float) and error < ROUNDING_OF_SINGLE


def _said(cell: Cell) -> str:
    return {
        Verdict.VIOLATED: "is violated",
        Verdict.UNDECIDED: "is undecided",
        Verdict.NOT_APPLICABLE: "does not apply",
        Verdict.HOLDS: "holds",
    }[cell.verdict]


def _with_cause(claim_id: str, cell: Cell) -> Cell:
    if cell.cause is not None or cell.verdict not in (Verdict.VIOLATED, Verdict.UNDECIDED):
        return cell
    return msgspec.structs.replace(cell, cause=digest(claim_id, normalised(cell.reason or "")))


def _facts(subject: Subject, *, traced: bool) -> Record:
    model = subject.as_built
    parameters = {id(parameter): parameter.numel() for parameter in model.parameters()}
    taken = _taken(subject) if traced else {}
    return Record(
        model=subject.name,
        module=type(model).__module__.rpartition(".")[2],
        class_name=type(model).__name__,
        params=sum(parameters.values()),
        input_size=_input_size(subject),
        batch_size=BATCH,
        num_features=_whole(model, "num_features"),
        head_hidden_size=_whole(model, "head_hidden_size"),
        fingerprints={name: _fingerprint(subject, taken.get(name)) for name in OUTPUTS},
        shapes={name: tuple(tuple(tensor.shape) for tensor in tensors_of(one.output)) for name, one in taken.items()},
        source=subject.source,
    )


def _taken(subject: Subject) -> dict[str, Pass]:
    """The outputs by which releases are compared, of those that there are."""
    taken = {}
    for name in OUTPUTS:
        # The claims say what failed; here it only means that there is none.
        with suppress(Exception):
            taken[name] = subject.output(name)
    return taken


def _whole(model: object, attribute: str) -> int | None:
    try:
        value = getattr(model, attribute, None)
    except Exception:  # noqa: BLE001  # a property may raise anything; the claims say so
        return None
    return value if type(value) is int and abs(value) < 2**63 else None


def _input_size(subject: Subject) -> tuple[int, ...] | None:
    try:
        return subject.input_size
    except Exception:  # noqa: BLE001  # no default_cfg, or one without a size: forward_features_runs says so
        return None


def _fingerprint(subject: Subject, taken: Pass | None) -> str | None:
    if taken is None or taken.number is None or not taken.is_provable:
        return None
    return subject.ledger.values.digest(taken.number)
