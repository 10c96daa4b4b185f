"""What holds for every test."""

from __future__ import annotations

import os
import shutil

import pytest
from playwright.sync_api import Error, sync_playwright

from conformance.run.chosen import arithmetic

os.environ.update(arithmetic())  # before a test runs the first kernel

import torch

from conformance.engine.threads import leave_out_threads
from conformance.run.examiner import receivers
from tests.mutation.examined import table
from tests.report.synthetic import run_of, write


@pytest.fixture(autouse=True, scope="session")
def torch_works_alone():
    """Threads that spin after they helped with a sum, or that bring the tests, would look like a model's."""
    torch.set_num_threads(1)
    leave_out_threads(receivers())


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium():
    """One for all: Playwright can be started once in a process."""
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            )
        except Error as error:
            pytest.skip(f"needs Chromium ({error.message.splitlines()[0]})")
        yield browser
        browser.close()


@pytest.fixture
def recorded(tmp_path):
    """A directory with a run's records, `run.jsonl`."""
    write(run_of(20), tmp_path / "run.jsonl")
    return tmp_path


def pytest_terminal_summary(terminalreporter):
    """Print what tests measured and do not judge, and the score of mutants: also of a worker of xdist."""
    mutants = []
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in report.user_properties:
                if name == "measured" and outcome == "passed":
                    terminalreporter.write_line(f"measured: {value}")
                elif name == "mutant":
                    mutants.append(tuple(value))
    if mutants:
        for line in table(mutants):
            terminalreporter.write_line(line)
