"""This module is the terminal of an audit: what its child shows of verdicts in place of pytest's reporter."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator

import pytest

from conformance import stopping
from conformance.run.bench import end_with_parent
from conformance.run.controller import NAME, Controller, parcel_of
from conformance.run.display import Display
from conformance.run.items import cell_of
from conformance.run.tally import Tally

PARENT = "TIMM_CONFORMANCE_PARENT"
"""The environment variable that carries the process id of `timm-conformance audit`."""


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """In the child itself, not in its workers: end with the parent, stop at SIGTERM as at Ctrl-C, and show progress."""
    if hasattr(config, "workerinput"):
        return
    if PARENT in os.environ:
        end_with_parent(int(os.environ[PARENT]))
    stopping.listen()
    config.pluginmanager.register(Reporter(config), "timm-conformance-display")
    # They wait since before this process began, so that none meets a half-started Python.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping.STOPPING)


class Reporter:
    """Tells a display what pytest tells."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._display = Display(Tally((), ()))
        self._counted: set[tuple[str, str]] = set()
        self._told: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Begin, now that what is to be decided is known."""
        self._display = Display(self._controller.tally())
        self._display.begin(self._controller.pytest_report_header())

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember the model that was begun last."""
        self._display.at((cell_of(nodeid) or ("",))[0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a verdict; show a crash that is looked into."""
        if (outcome := str(report.outcome)) == "rerun":
            self._display.say(f"again: {report.longrepr}")
        elif outcome == "failed" and (report.when != "call" or parcel_of(report) is None):
            # No verdict: a fault of the suite, which no record will show.
            self._display.say_block(f"{report.nodeid}\n{report.longreprtext}")
        parcel = parcel_of(report)
        if parcel is not None and (cell := (parcel.model, parcel.claim)) not in self._counted:
            self._counted.add(cell)  # a worker may die after its word has come: then the cell is decided again
            self._display.add(parcel.model, parcel.cell.verdict)
        self._tell_of_sentinels()

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Say why the run stops."""
        self._display.stop()
        if not self._config.pluginmanager.hasplugin(NAME) or self._controller.problem is None:
            self._display.say(str(getattr(excinfo.value, "msg", None) or "interrupted"))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Leave the last counts on the screen, and end with success if and only if the record file is whole."""
        stopping.ignore()  # it ends; if that takes too long, its parent ends it
        yield
        self._tell_of_sentinels()
        self._display.end()
        controller = self._controller
        if controller.problem is not None:
            self._display.say(f"timm-conformance: {controller.problem}")
        if controller.is_written:
            session.exitstatus = pytest.ExitCode.OK
        elif session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _tell_of_sentinels(self) -> None:
        for said in [said for said in self._controller.broken if said not in self._told]:
            self._told.add(said)
            self._display.say(f"broken: {said}")

    @property
    def _controller(self) -> Controller:
        controller = self._config.pluginmanager.getplugin(NAME)
        assert isinstance(controller, Controller)
        return controller
