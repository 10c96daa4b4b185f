"""This module is how a claim is declared: one decorated function, its name the id, its docstring the public text."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from conformance.record import Cell, ClaimEntry, Evidence, Level, Tier, Verdict

if TYPE_CHECKING:
    from conformance.claims.remedies import Ways
    from conformance.subject import Subject

Decision = Callable[["Subject"], Cell]


class Cost(enum.StrEnum):
    """What deciding a claim takes, once what it needs is decided."""

    LIGHT = "light"
    """It is read from what other claims made."""
    RUN = "run"
    """Models are built or run: some hundredths of a second."""
    COMPILER = "compiler"
    """A compiler works on the model: some tenths of a second, or seconds."""


@dataclass(frozen=True)
class Claim:
    """One sentence of the contract and the function that decides it for a subject."""

    id: str
    text: str
    group: str
    level: Level
    tier: Tier
    needs: tuple[str, ...]
    """Ids of the claims that must hold for this one to have a meaning."""
    source: str
    """Who makes the promise: a document or test of timm or PyTorch."""
    why: str
    """Who relies on it, and what goes wrong for them where it is broken."""
    cost: Cost
    repro: str
    """Python that shows a violation, in the terms of `conformance.claims.witness`."""
    decide: Decision
    ways: Ways | None = None
    """Where it is violated, other ways to what it promises, the best first."""
    extra: str | None = None
    """The extra of this distribution that deciding it needs, and what that installs."""
    packages: tuple[str, ...] = ()
    in_double: bool = True
    """Whether it can be measured in float64."""

    @property
    def lacks(self) -> str | None:
        """What is not installed that deciding it needs, in a sentence; None if it can be decided."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if not missing:
            return None
        return f"{self.id} needs {', '.join(missing)}; pip install 'timm-conformance[{self.extra}]'"

    def entry(self) -> ClaimEntry:
        """The claim as the header of a run carries it."""
        return ClaimEntry(
            id=self.id,
            text=self.text,
            group=self.group,
            level=self.level,
            tier=self.tier,
            needs=self.needs,
            source=self.source,
            why=self.why,
        )


def claim(
    *,
    group: str,
    source: str,
    why: str,
    cost: Cost,
    repro: str,
    level: Level = Level.MUST,
    tier: Tier = Tier.CORE,
    needs: tuple[str, ...] = ("builds",),
    ways: Ways | None = None,
    extra: str | None = None,
    packages: tuple[str, ...] = (),
    in_double: bool = True,
) -> Callable[[Decision], Claim]:
    """Declare the decorated function to be a claim.

    The function gets a subject and returns a cell. An exception that it lets through is a violation (observed), since
    the contract says that the call works; memory errors are told apart by `conformance.claims.raised`.
    """

    def declare(function: Decision) -> Claim:
        text = inspect.getdoc(function) or ""
        return Claim(
            id=function.__name__,
            text=" ".join(text.split("\n\n")[0].split()),
            group=group,
            level=level,
            tier=tier,
            needs=needs,
            source=source,
            why=why,
            cost=cost,
            repro=inspect.cleandoc(repro),
            decide=function,
            ways=ways,
            extra=extra,
            packages=packages,
            in_double=in_double,
        )

    return declare


def holds(evidence: Evidence) -> Cell:
    """The claim is kept."""
    return Cell(verdict=Verdict.HOLDS, evidence=evidence)


def violated(reason: str, evidence: Evidence = Evidence.OBSERVED, *, cause: str | None = None, **witness: Any) -> Cell:
    """The claim is broken; `witness` are the facts that show it, as JSON values."""
    return Cell(verdict=Verdict.VIOLATED, evidence=evidence, reason=reason, cause=cause, witness=dict(witness) or None)


def undecided(reason: str, *, cause: str | None = None) -> Cell:
    """Neither proved nor refuted; the reason says what stood in the way."""
    return Cell(verdict=Verdict.UNDECIDED, reason=reason, cause=cause)


ON_META = "cannot be decided on the meta device"


def undecided_on_meta(why: str) -> Cell:
    """Undecided because the meta device cannot tell: real numbers do, exceptions included."""
    return undecided(f"{ON_META}: {why}")


NO_PROOF = "no proof: "


def unprovable(why: str) -> Cell:
    """Undecided because something that no number stands for may have a part in the computation: state, chance.

    Measuring may refute such a claim. It cannot confirm it: what is hidden may show at the next call.
    """
    return undecided(NO_PROOF + why)


def is_unprovable(cell: Cell) -> bool:
    """Whether `unprovable` made the cell."""
    return cell.verdict is Verdict.UNDECIDED and str(cell.reason).startswith(NO_PROOF)


def not_applicable(reason: str) -> Cell:
    """The claim has no meaning for this subject."""
    return Cell(verdict=Verdict.NOT_APPLICABLE, reason=reason)
