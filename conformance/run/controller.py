"""This module is the controller's part of a run: it chooses, looks into the deaths of workers and feeds the writer."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from conformance.run import blackbox
from conformance.run import chosen as choice
from conformance.run.bench import INPUT, Bench, WorkerInput
from conformance.run.items import UNRELIABLE, cell_of
from conformance.run.parcel import PROPERTY, Parcel, unpack
from conformance.run.tally import Tally
from conformance.run.watchdog import Watchdog
from conformance.run.writer import OtherRun, OutputTaken, OutputUnwritable, UnfinishedRun, Writer

if TYPE_CHECKING:
    from conformance.run.crashes import Death, Ledger

NAME = "timm-conformance-controller"
BEGINNING = "import sys; line = sys.stdin.readline(); exec(eval(line) if line.endswith(chr(10)) else '')"
"""The program of a new worker, which execnet feeds: without a word where its controller was stopped meanwhile."""
_MOST_DEATHS_AT_START = 2
"""In a row: one may be the system's doing, two would go on for ever."""


class Controller:
    """Plugin of the process that does not decide under xdist, or that decides alone without it."""

    def __init__(self, config: pytest.Config, bench: Bench) -> None:
        self._config = config
        self._bench = bench
        self._writer: Writer | None = None
        self._shared: tempfile.TemporaryDirectory[str] | None = None
        self._ledger: Ledger | None = None
        self._watchdog: Watchdog | None = None
        self._nodes: dict[str, Any] = {}
        self._dead: dict[str, tuple[Death, blackbox.Entry]] = {}
        self._deaths_at_start = 0
        self._began = False
        self._unheard: set[str] = set()
        """Workers that decided something, and have not ended with a word of their sentinels."""
        self.broken: dict[str, None] = {}
        """What came out wrong of sentinels."""
        self.resumed = 0
        """How many subjects an unfinished run had decided."""
        self.problem: str | None = None
        """Why the record file could not be written."""
        self.is_written = False
        """Whether the record file is whole."""

    def tally(self) -> Tally:
        """The count of what this run has to decide, at its beginning."""
        chosen = self._bench.chosen()
        return Tally(chosen.models, chosen.claims)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Refuse what cannot be run before any worker is started."""
        chosen = self._bench.chosen()
        assert self._bench.expectations is not None  # read here, so that a broken file is refused once
        if (output := self._config.getoption("timm_output")) is not None:
            header = choice.header(chosen)
            try:
                self._writer = Writer(Path(self._config.invocation_params.dir, output))
                decided = self._writer.start(header, resume=self._config.getoption("timm_resume"), models=chosen.models)
            except (OutputTaken, OtherRun, OutputUnwritable, UnfinishedRun) as error:
                raise pytest.UsageError(str(error)) from None
            self.resumed = len(decided)
            self._bench.narrow(chosen.without(decided))
        elif self._config.getoption("timm_resume"):
            raise pytest.UsageError("--timm-resume needs --timm-output: it goes on with PATH.partial")
        if self._config.pluginmanager.hasplugin("dsession"):
            from execnet import gateway_io

            from conformance.run.crashes import Ledger

            gateway_io.popen_bootstrapline = BEGINNING
            self._shared = tempfile.TemporaryDirectory(prefix="timm-conformance-")
            timeout = self._config.getoption("timm_timeout")
            self._ledger = Ledger(self._directory, timeout)
            self._watchdog = Watchdog(self._directory, timeout, self._nodes)

    def pytest_report_header(self) -> str:
        """Say what is judged."""
        chosen = self._bench.chosen()
        versions = ", ".join(f"{name} {version}" for name, version in choice.versions().items())
        resumed = f", {self.resumed} models decided before" if self.resumed else ""
        return f"timm-conformance: {len(chosen.models)} models, {len(chosen.claims)} claims{resumed}; {versions}"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker what is chosen and where to leave word."""
        told = WorkerInput(chosen=self._bench.chosen(), directory=str(self._directory), controller=os.getpid())
        node.workerinput[INPUT] = msgspec.json.encode(told).decode()
        self._nodes[node.gateway.id] = node

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Look into a worker's death before xdist replaces it.

        Raises:
            KeyboardInterrupt: The worker was interrupted, and so is the run.
            pytest.exit.Exception: Workers die before their first item: replacing them would go on for ever.
        """
        self._nodes.pop(node.gateway.id, None)
        if error is None:
            words = node.workeroutput.get(INPUT)
            if words is not None:
                self._unheard.discard(node.gateway.id)
                self._mark(words)
            return
        self._unheard.discard(node.gateway.id)
        if error == "keyboard-interrupt":
            raise KeyboardInterrupt
        from conformance.run.crashes import autopsy

        worker = node.gateway.id
        death = autopsy(self._directory, worker, _status(node))
        if self._watchdog is not None and worker in self._watchdog.killed:
            death = msgspec.structs.replace(death, timed_out=True)
        entry = blackbox.last_entry(self._directory, worker)
        self._dead[worker] = (death, entry)
        if entry.step == blackbox.STARTING:
            self._deaths_at_start += 1
            if not self._began or self._deaths_at_start >= _MOST_DEATHS_AT_START:
                said = death.says(self._config.getoption("timm_timeout"))
                pytest.exit(
                    f"worker {worker} {said} before its first item; "
                    "see whether timm, torch and every --timm-import can be imported",
                    returncode=pytest.ExitCode.INTERNAL_ERROR,
                )

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: Any, sched: Any) -> None:
        """Enter the death in the ledger and have the item run again: by then it is repeated, or settled."""
        cell = cell_of(crashitem)
        if cell is None:
            return
        death, entry = self._dead[report.node.gateway.id]
        self._enter(cell, death, entry)
        said = death.says(self._config.getoption("timm_timeout"))
        try:
            sched.mark_test_pending(crashitem)
        except NotImplementedError:
            report.longrepr = f"{crashitem} {said}; --dist={self._config.option.dist} repeats nothing, worksteal does"
            return
        report.when = "call"
        report.outcome = "rerun"
        report.longrepr = f"{crashitem} {said}"

    def _enter(self, cell: tuple[str, str], death: Death, entry: blackbox.Entry) -> None:
        assert self._ledger is not None
        if entry.step in (blackbox.STARTING, blackbox.CLOSING):
            return  # neither happens again to this item
        model, step = entry.model, entry.step
        if step == blackbox.IDLE:
            model, step = cell  # dead between two steps: the item that was next is as near as one can tell
        self._ledger.enter(model, step, death, is_claim=step != blackbox.DESCRIBING)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """A crash that is not settled yet is no outcome."""
        return ("rerun", "R", "RERUN") if report.outcome == "rerun" else None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Give the writer what came."""
        self._began = True
        self._deaths_at_start = 0
        parcel = parcel_of(report)
        if parcel is None:
            return
        if hasattr(report, "node"):  # a worker's
            self._unheard.add(report.node.gateway.id)
        self._mark(parcel.broken)
        if self._writer is not None:
            with self._writing():
                self._writer.take(parcel)

    def _mark(self, wrong: Iterable[str]) -> None:
        """Remember what came out wrong of sentinels, and have the record file say so."""
        for said in wrong:
            self.broken[said] = None
            if self._writer is not None:
                with self._writing():
                    self._writer.mark(said)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Have a record file that cannot be written end the run."""
        try:
            yield
        except OutputUnwritable as error:
            self.problem = str(error)
            pytest.exit(self.problem, returncode=pytest.ExitCode.USAGE_ERROR)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """End workers that are lost in a model, and the record file if it is whole."""
        if exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
            for worker, node in self._nodes.items():
                if blackbox.last_entry(self._directory, worker).step != blackbox.IDLE:
                    with suppress(AttributeError):  # no local process
                        node.gateway._io.kill()
        elif self._shared is None:
            self._mark(self._bench.last_words() or ())
        if self.broken and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._writer is not None and self._writer.missing() == 0 and not self._unheard:
            try:
                self._writer.finish()
            except OutputUnwritable as error:
                self.problem = str(error)
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
            else:
                self._writer = None
                self.is_written = True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became of the record file."""
        for said in self.broken:
            terminalreporter.write_line(f"{UNRELIABLE}: {said}")
        if self.problem is not None:
            terminalreporter.write_line(self.problem)
        elif self._writer is not None:
            output = self._config.getoption("timm_output")
            missing = self._writer.missing()
            left = f"{missing} models are not decided" if missing else "sentinels were not decided at the end"
            terminalreporter.write_line(f"{left}; the rest is in {output}.partial for --timm-resume")

    def pytest_unconfigure(self) -> None:
        """Let go of files and of the watch."""
        if self._watchdog is not None:
            self._watchdog.end()
        if self._writer is not None:
            self._writer.leave()
        if self._shared is not None:
            self._shared.cleanup()

    @property
    def _directory(self) -> Path:
        assert self._shared is not None
        return Path(self._shared.name)


def parcel_of(report: pytest.TestReport) -> Parcel | None:
    """The cell that a report carries, once: setup and teardown of an item repeat or lack it."""
    if report.when != "call":
        return None
    return next((unpack(str(text)) for key, text in report.user_properties if key == PROPERTY), None)


def _status(node: Any) -> int | None:
    """The exit status of a local worker; the end of its pipe may be seen a moment before the end of its process."""
    try:
        status: int = node.gateway._io.popen.wait(timeout=10)
    except (AttributeError, subprocess.TimeoutExpired):
        return None
    return status
