"""This module starts real audits and pytest runs in processes of their own, with models that may end them."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.run.faults import CHOICE

MINIATURES = Path(__file__).parent.parent / "miniatures"
AUDIT = """
import sys
from pathlib import Path
from conformance.run.local import Selection, audit
sys.exit(audit(Selection(**eval(sys.argv[1]))))
"""


def environment(**more):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return clean | {"PYTHONPATH": str(MINIATURES), "HF_HUB_OFFLINE": "1"} | more


@dataclass
class Audit:
    """An audit in a child of ours, which is the parent of pytest, which is the parent of workers."""

    output: Path
    process: subprocess.Popen = field(repr=False)

    @property
    def partial(self):
        return self.output.with_name(self.output.name + ".partial")

    def family(self):
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait(self, timeout=300):
        self.said = self.process.communicate(timeout=timeout)[0]
        return self.process.returncode

    def wait_for_records(self, wanted, timeout=90):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.partial.exists() and self.partial.read_bytes().count(b'"kind":"record"') >= wanted:
                return
            assert self.process.poll() is None, self.process.communicate()[0]
            time.sleep(0.1)
        pytest.fail(f"fewer than {wanted} records after {timeout} s")


def start_audit(output, *, environ=None, cwd=None, limits=None, **selection):
    selection = {"imports": ("dying",), "expectations": "none", "workers": 2, "timeout": 60.0} | selection
    values = ", ".join(f"{key!r}: {value!r}" for key, value in selection.items())
    arguments = f"{{'output': Path({str(output)!r}), {values}}}"
    process = subprocess.Popen(
        [sys.executable, "-c", AUDIT, arguments],
        env=environment(**(environ or {})),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        **(limits or {}),
    )
    return Audit(output, process)


@pytest.fixture
def audit(tmp_path):
    started = []

    def start(**selection):
        output = selection.pop("output", tmp_path / "run.jsonl")
        started.append(start_audit(output, **selection))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            for process in one.family():
                process.send_signal(signal.SIGKILL)
            one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """The file of a run of `faults.CHOICE` that nothing happened to, made once for all processes that test."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "run.jsonl").exists():
            run = start_audit(place / "run.jsonl", **CHOICE)
            assert run.wait() == 0, run.said
    return place / "run.jsonl"


def run_pytest(directory, *arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env=environment(**environ),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def without_what_varies(path):
    kept = []
    for line in lines(path):
        line.pop("started", None)
        line.pop("cost", None)
        kept.append(json.dumps(line, sort_keys=True))
    return kept
