"""This module is the terminal of an audit: what its child shows of verdicts in place of pytest's reporter."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from conformance.record import Verdict, printable
from conformance.run.bench import end_with_parent
from conformance.run.controller import NAME, Controller, parcel_of
from conformance.run.estimate import SECONDS_BETWEEN_LINES, clock
from conformance.run.items import cell_of

PARENT = "TIMM_CONFORMANCE_PARENT"
"""The environment variable that carries the process id of `timm-conformance audit`."""

_SHOWN = (
    (Verdict.HOLDS, "hold"),
    (Verdict.VIOLATED, "violated"),
    (Verdict.UNDECIDED, "undecided"),
    (Verdict.NOT_APPLICABLE, "n/a"),
)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """In the child itself, not in its workers: end with the parent, stop at SIGTERM as at Ctrl-C, and show progress."""
    if hasattr(config, "workerinput"):
        return
    if PARENT in os.environ:
        end_with_parent(int(os.environ[PARENT]))
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job begins with the former ignored
        signal.signal(number, signal.default_int_handler)
    config.pluginmanager.register(Display(config), "timm-conformance-display")


class Display:
    """Counts of verdicts, rate, time left and the model at hand, on standard error."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._console = Console(stderr=True, highlight=False)
        self._verdicts: Counter[Verdict] = Counter()
        self._cells = 0
        self._began = time.monotonic()
        self._model = ""
        self._ended = threading.Event()
        self._bar: Progress | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Begin, now that what is to be decided is known."""
        controller = self._config.pluginmanager.getplugin(NAME)
        assert isinstance(controller, Controller)
        self._cells = controller.cells
        self._began = time.monotonic()
        self._console.print(controller.pytest_report_header(), markup=False, soft_wrap=True)
        if self._console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task("starting", total=self._cells)
            self._bar.start()
        else:
            threading.Thread(target=self._tell, daemon=True).start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember the model that was begun last."""
        self._model = (cell_of(nodeid) or ("",))[0]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a verdict; show a crash that is looked into."""
        if (outcome := str(report.outcome)) == "rerun":
            self._console.print(f"again: {printable(str(report.longrepr))}", markup=False, soft_wrap=True)
        elif outcome == "failed" and (report.when != "call" or parcel_of(report) is None):
            # No verdict: a fault of the suite, which no record will show.
            self._console.print(f"{report.nodeid}\n{report.longreprtext}", markup=False, soft_wrap=True)
        parcel = parcel_of(report)
        if parcel is None:
            return
        self._verdicts[parcel.cell.verdict] += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, description=self._line())

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Say why the run stops."""
        self._end()
        message = getattr(excinfo.value, "msg", None) or "interrupted"
        self._console.print(printable(str(message)), markup=False, soft_wrap=True)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Leave the last counts on the screen."""
        self._end()
        self._console.print(self._line(), markup=False, soft_wrap=True)

    def _tell(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_LINES):
            self._console.print(self._line(), markup=False, soft_wrap=True)

    def _end(self) -> None:
        self._ended.set()
        if self._bar is not None:
            with suppress(OSError):  # the terminal may be gone
                self._bar.stop()
            self._bar = None

    def _line(self) -> str:
        return " · ".join(self._words(time.monotonic()))

    def _words(self, now: float) -> Iterator[str]:
        done = self._verdicts.total()
        rate = done / max(now - self._began, 1e-9)
        yield f"{done} of {self._cells} cells"
        yield f"{rate:.1f}/s"
        if 0 < done < self._cells:
            yield f"{clock((self._cells - done) / rate)} left"
        for verdict, word in _SHOWN:
            if self._verdicts[verdict]:
                yield f"{self._verdicts[verdict]} {word}"
        if done < self._cells and self._model:
            yield printable(self._model)
