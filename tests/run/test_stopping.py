"""The command that is stopped, killed, or left by whoever reads it, at moments that nobody chose."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from conformance.record_file import read_run
from conformance.run.controller import BEGINNING
from tests.report.synthetic import run_of, write
from tests.run.conftest import environment, without_what_varies
from tests.run.faults import CHOICE, all_have_ended, left_in, processes_of

SEED = int(os.environ.get("STOPPING_SEED", "") or time.time_ns() % 10_000)
STUCK = {"DYING_SECONDS": "600"}
WORDS = [
    *("audit", *CHOICE["models"], "--import", "dying", "--expectations", "none", "-n", "1", "--resume"),
    *(word for claim in CHOICE["claims"] for word in ("--claim", claim)),
]


class Command:
    """`timm-conformance audit` with a directory for scratch that is its own."""

    def __init__(self, directory, **environ):
        self.partial = directory / "run.jsonl.partial"
        self.scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=directory))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conformance", *WORDS, "--output", str(directory / "run.jsonl")],
            env=environment(TMPDIR=str(self.scratch), **environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def records(self):
        return self.partial.read_bytes().count(b'"kind":"record"') if self.partial.exists() else 0

    def wait_for(self, records):
        while self.records() < records:
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.02)

    def controller(self):
        """The child that is pytest, once it is there; libraries start others for a moment."""
        while True:
            assert self.process.poll() is None, self.process.communicate()[0]
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if "pytest" in child.cmdline():
                        return child
            time.sleep(0.02)

    def worker(self):
        """The controller's child that decides."""
        controller = self.controller()
        while not (children := controller.children()):
            time.sleep(0.02)
        return children[0]

    def end(self):
        self.said = self.process.communicate(timeout=240)[0]
        return self.process.returncode


@pytest.fixture
def audit(tmp_path):
    """Starts one; ends, with the test, what a failure has left."""
    started = []

    def start(**environ):
        started.append(Command(tmp_path, **environ))
        return started[-1]

    yield start
    for one in started:
        for process in processes_of(one.scratch):
            process.kill()
        if not one.process.stdout.closed:
            one.process.communicate()


def moments(chance):
    """Seconds after the start, or (as negative numbers) after two models are decided."""
    for low, high in ((0.05, 0.5), (0.05, 0.5), (0.5, 2.5), (0.5, 2.5), (0.5, 2.5), (2.5, 5), (2.5, 5), (5, 8), (5, 8)):
        yield chance.uniform(low, high)
    for _ in range(3):
        yield -chance.uniform(0.01, 1.5)


def test_a_closed_terminal_stops_it_as_ctrl_c_does(audit):
    stopped = audit(**STUCK)
    stopped.wait_for(1)
    stopped.process.send_signal(signal.SIGHUP)
    assert stopped.end() == 130, stopped.said
    assert "Traceback" not in stopped.said
    assert all_have_ended(stopped.scratch)
    assert left_in(stopped.scratch) == []


def test_ctrl_c_and_sigterm_at_any_moment_leave_nothing_but_what_was_decided(tmp_path, audit, undisturbed):
    chance = random.Random(SEED)
    decided = 0
    for moment in moments(chance):
        number = chance.choice((signal.SIGINT, signal.SIGTERM))
        again = chance.choice((None, None, 0.0, 0.2))
        told = f"STOPPING_SEED={SEED}: {number.name} at {moment:.3f} s, again after {again} s"
        stopped = audit(**STUCK)
        if moment < 0:
            stopped.wait_for(2)
        time.sleep(abs(moment))
        stopped.process.send_signal(number)
        if again is not None:
            time.sleep(again)
            stopped.process.send_signal(number)
        status = stopped.end()
        # Before a line of ours runs, Python ends as any process does.
        is_too_early = status in (-signal.SIGINT, -signal.SIGTERM) and "timm-conformance: " not in stopped.said
        assert status == 130 or is_too_early, f"{told}: {status}\n{stopped.said}"
        assert is_too_early or "Traceback" not in stopped.said, f"{told}\n{stopped.said}"
        assert all_have_ended(stopped.scratch), told
        assert left_in(stopped.scratch) == [], told
        assert stopped.records() >= decided, told
        decided = stopped.records()
        assert not (tmp_path / "run.jsonl").exists(), told
        assert not (tmp_path / "run.jsonl.new").exists(), told
    assert decided == 2

    last = audit()
    assert last.end() == 0, last.said
    assert "2 models decided before" in last.said
    assert without_what_varies(tmp_path / "run.jsonl") == without_what_varies(undisturbed)
    assert not last.partial.exists()


@pytest.mark.parametrize("heard", [b"", b"\"print('never')"], ids=["nothing", "half a line"])
def test_a_worker_whose_controller_is_stopped_while_it_starts_ends_without_a_word(heard):
    ran = subprocess.run([sys.executable, "-c", BEGINNING], input=heard, capture_output=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_sigkill_of_any_of_its_processes_loses_nothing_that_was_decided(tmp_path, audit, undisturbed):
    chance = random.Random(SEED)
    for which, status in (("controller", 2), ("command", -signal.SIGKILL), ("controller", 2)):
        told = f"STOPPING_SEED={SEED}: {which}"
        killed = audit(**STUCK)
        controller = killed.controller()
        time.sleep(chance.uniform(0, 6))
        (killed.process if which == "command" else controller).send_signal(signal.SIGKILL)
        assert killed.end() == status, f"{told}\n{killed.said}"
        assert "Traceback" not in killed.said, told
        assert all_have_ended(killed.scratch), told
        if which == "controller":
            assert left_in(killed.scratch) == [], told
            assert "SIGKILL" in killed.said, told

    resumed = audit(DYING_SECONDS="3")
    resumed.wait_for(2)
    resumed.worker().send_signal(signal.SIGKILL)
    assert resumed.end() == 0, resumed.said
    assert without_what_varies(tmp_path / "run.jsonl") == without_what_varies(undisturbed)
    assert left_in(resumed.scratch) == []


def close_all_streams():
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def test_an_audit_without_standard_streams_puts_nothing_in_their_place(tmp_path, undisturbed):
    output = tmp_path / "run.jsonl"
    ended = subprocess.run(
        [sys.executable, "-m", "conformance", *WORDS, "--output", str(output)],
        env=environment(), preexec_fn=close_all_streams, check=False, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0
    assert read_run(output)
    assert without_what_varies(output) == without_what_varies(undisturbed)


def test_an_audit_goes_on_when_nobody_reads_how_it_goes(tmp_path, audit, undisturbed):
    unread = audit()
    unread.process.stdout.close()
    assert unread.process.wait(timeout=240) == 2, "its last words are read by nobody"
    assert without_what_varies(tmp_path / "run.jsonl") == without_what_varies(undisturbed)


READERS = {
    "show": ("show", "{model}", "--from", "run.jsonl"),
    "report": ("report", "run.jsonl", "--format", "json"),
    "gate": ("gate", "--baseline", "run.jsonl", "--candidate", "run.jsonl"),
    "claims": ("claims",),
    "help": ("--help",),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("reader", ["gone", "full"])
def test_what_nobody_can_read_is_no_success_and_no_finding(tmp_path, name, reader):
    run = run_of(20)
    write(run, tmp_path / "run.jsonl")
    words = [word.format(model=run.records[0].model) for word in READERS[name]]
    if reader == "gone":
        ours, theirs = os.pipe()
        os.close(ours)
    else:
        theirs = os.open("/dev/full", os.O_WRONLY)
    ended = subprocess.run(
        [sys.executable, "-m", "conformance", *words],
        cwd=tmp_path, env=environment(), stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, timeout=240,
    )  # fmt: skip
    os.close(theirs)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("timm-conformance: ")
    assert ended.stderr.count("\n") == 1
