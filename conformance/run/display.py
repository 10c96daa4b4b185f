"""This module shows on standard error how an audit goes: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from conformance.record import Verdict, printable, printable_code
from conformance.report.console import Terminal
from conformance.run.estimate import SECONDS_BETWEEN_LINES
from conformance.run.tally import Tally


class Display:
    """Counts of verdicts, rate, time left and the model at hand. `head` gives words that follow the count of cells."""

    def __init__(self, tally: Tally, head: Callable[[], str] = str) -> None:
        self._console = Terminal(stderr=True, highlight=False)
        self._tally = tally
        self._head = head
        self._model = ""
        self._ended = threading.Event()
        self._bar: Progress | None = None

    def begin(self, opening: str) -> None:
        """Say what begins, and begin."""
        self.say(opening)
        if self._console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task("starting", total=self._tally.cells)
            self._bar.start()
        else:
            threading.Thread(target=self._tell, daemon=True).start()

    def at(self, model: str) -> None:
        """The model that was begun last."""
        self._model = model

    def add(self, model: str, verdict: Verdict) -> None:
        """One more cell is decided."""
        self._tally.add(model, verdict)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, description=self._line())

    def say(self, text: str) -> None:
        """A line that stays."""
        self.say_block(printable(text))

    def say_block(self, text: str) -> None:
        """Lines that stay."""
        with suppress(OSError):  # nobody may read it any more: the work goes on, and its records are what counts
            self._console.print(printable_code(text), markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Take away the bar."""
        self._ended.set()
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone
                self._bar.stop()
            self._bar = None

    def end(self) -> None:
        """Leave the last counts on the screen."""
        self.stop()
        self.say(self._line())

    def _tell(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_LINES):
            self.say(self._line())

    def _line(self) -> str:
        return self._tally.line(head=self._head(), at=self._model)
