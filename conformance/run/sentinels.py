"""This module has a process decide sentinels among its models, and says what is wrong with one that comes out wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from conformance.record import Cell, Verdict, printable

BETWEEN = 250
"""Models between two sets of sentinels in one process."""


OPEN = ("which is undecided", "which does not apply")
"""How the reason of a cell ends that says nothing, since what it needs says nothing: that is judged by itself."""


class Sentinels:
    """When a process decides sentinels: before its first model, after every `BETWEEN`, and at its end.

    `decide` gives the cell of a claim of a sentinel, as of any model.
    """

    def __init__(self, claims: Sequence[str], decide: Callable[[str, str], Cell]) -> None:
        self._claims = claims
        self._decide = decide
        self._sets = 0
        self._model = ""
        self._since = 0
        """Models since the last set."""

    def before(self, model: str) -> tuple[str, ...]:
        """What came out wrong, if it was time to look before this model."""
        if self.is_at(model):
            return ()
        self._model = model
        wrong = self.heard() if self._sets == 0 or self._since >= BETWEEN else ()
        self._since += 1
        return wrong

    def is_at(self, model: str) -> bool:
        """Whether that is the model at hand."""
        return model == self._model

    def heard(self) -> tuple[str, ...]:
        """Decide a set now, and give what came out wrong: nothing, as a rule."""
        self._sets += 1
        self._since = 0
        return tuple(self._wrong(self._sets))

    @property
    def are_due(self) -> bool:
        """Whether models were decided since the last set."""
        return self._since > 0

    def _wrong(self, number: int) -> Iterator[str]:
        from conformance.subject.sentinels import entries

        for name in entries(number):
            for claim in self._claims:
                if (said := fault(name, claim, self._decide(name, claim))) is not None:
                    yield said


def fault(name: str, claim: str, cell: Cell) -> str | None:
    """What is wrong with a sentinel's cell, in words; None of one that is as it must be."""
    from conformance.subject.sentinels import sentinel_of

    true = sentinel_of(name).true(claim)
    is_open = cell.verdict is Verdict.NOT_APPLICABLE and (cell.reason or "").endswith(OPEN)
    if cell.verdict in true or is_open:
        return None
    expected = " or ".join(verdict for verdict in Verdict if verdict in true)
    reason = f": {printable(cell.reason)}" if cell.reason else ""
    return f"{claim} of {name} came out {cell.verdict}, {expected} was expected{reason}"
