"""This module counts what an audit has decided, and says how long the rest may take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from conformance.record import Verdict, printable
from conformance.run.estimate import clock
from conformance.run.expected import Expected

_SHOWN = (
    (Verdict.HOLDS, "hold"),
    (Verdict.VIOLATED, "violated"),
    (Verdict.UNDECIDED, "undecided"),
    (Verdict.NOT_APPLICABLE, "n/a"),
)


class Tally:
    """Counts cells of `models` (a name for each subject, repeated where several releases have it) by `claims`.

    Models take between a tenth of a second and minutes: what is left is told from what each is expected to take, at
    the pace of what is done.
    """

    def __init__(self, models: Sequence[str], claims: Sequence[str], now: Callable[[], float] = time.monotonic) -> None:
        expected = Expected.of(claims)
        self._seconds = {model: expected.seconds(model) / max(len(claims), 1) for model in set(models)}
        self._total = sum(self._seconds[model] for model in models) * len(claims)
        self._done = 0.0
        self._verdicts: Counter[Verdict] = Counter()
        self._now = now
        self._began = now()
        self.cells = len(models) * len(claims)

    def add(self, model: str, verdict: Verdict) -> None:
        """One more cell is decided."""
        self._verdicts[verdict] += 1
        self._done += self._seconds.get(model, 0.0)

    def line(self, *, head: str = "", at: str = "") -> str:
        """All of it on one line, after words of the caller's and before the model `at` hand."""
        return " · ".join(self._words(head, at))

    def _words(self, head: str, at: str) -> Iterator[str]:
        done, elapsed = self._verdicts.total(), max(self._now() - self._began, 1e-9)
        yield f"{done} of {self.cells} cells"
        if head:
            yield head
        yield f"{done / elapsed:.1f}/s"
        if 0 < done < self.cells and self._done:
            yield f"{clock(max(self._total - self._done, 0.0) * elapsed / self._done)} left"
        yield from (f"{self._verdicts[verdict]} {word}" for verdict, word in _SHOWN if self._verdicts[verdict])
        if at and done < self.cells:
            yield printable(at)
