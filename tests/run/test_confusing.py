"""What some models leave behind in their process, or a clock that jumps, changes no verdict of the others."""

from __future__ import annotations

import json

import pytest

from conformance.record_file import read_run
from tests.run.conftest import MINIATURES, run_pytest, start_audit, without_what_varies
from tests.run.faults import CHOICE, all_have_ended, left_in

ENDED = {"a_fault_abort_in_build": "SIGABRT", "a_fault_bus_in_build": "SIGBUS"}


@pytest.fixture(scope="module")
def confused(tmp_path_factory):
    """An audit whose one worker meets all that confuses before it meets what is lawful."""
    directory = tmp_path_factory.mktemp("confused")
    scratch = directory / "scratch"
    scratch.mkdir()
    audit = start_audit(
        directory / "run.jsonl",
        environ={"TMPDIR": str(scratch)},
        **CHOICE | {"imports": ("confusing",), "models": ("a_fault_*", "b_alarm_*", "confusing_*", "lawful_tiny_*")},
    )
    assert audit.wait() == 0, audit.said
    audit.scratch = scratch
    return audit


def test_models_that_come_after_others_that_confuse_their_process_get_the_verdicts_that_they_get_alone(
    confused, undisturbed
):
    alone = without_what_varies(undisturbed)[1:-1]
    assert without_what_varies(confused.output)[-4:-1] == alone
    assert [json.loads(line)["model"] for line in alone] == ["lawful_tiny_a", "lawful_tiny_b", "lawful_tiny_z_slow"]


@pytest.mark.parametrize("model", ENDED)
def test_a_fault_of_the_system_is_laid_to_the_model_that_made_it(confused, model):
    (record,) = [record for record in read_run(confused.output).records if record.model == model]
    assert record.cells["builds"].verdict == "violated"
    assert f"{ENDED[model]} in " in record.cells["builds"].reason


def test_none_that_confuses_its_process_is_itself_the_worse_for_it(confused):
    cells = {record.model: record.cells["forward_features_runs"] for record in read_run(confused.output).records}
    worse = {
        model: f"{cell.verdict}: {cell.reason}"
        for model, cell in cells.items()
        if model.startswith("confusing_") and cell.verdict != "holds"
    }
    assert worse == {}


def test_processes_threads_and_files_that_models_leave_behind_end_with_the_audit(confused):
    assert left_in(confused.scratch) == []
    assert all_have_ended(confused.scratch)


def test_no_cell_is_counted_twice(confused):
    last = [line for line in confused.said.splitlines() if " cells" in line][-1]
    done, _, whole = last.split(" cells")[0].partition(" of ")
    assert done == whole, last


def test_alone_in_a_process_of_pytests_what_a_model_changed_is_put_back_for_the_next(tmp_path):
    ran = run_pytest(
        tmp_path,
        *("--pyargs", "conformance", "--timm-import=confusing", "--timm-claim=head_composes"),
        *("--timm-model=confusing_replace_linear", "--timm-model=lawful_tiny_a", "--timm-output=run.jsonl"),
    )
    cells = {record.model: record.cells["head_composes"].verdict for record in read_run(tmp_path / "run.jsonl").records}
    assert cells == {"confusing_replace_linear": "violated", "lawful_tiny_a": "holds"}, ran.stdout


CLOCK = """
import itertools
import random
import time

_real, _jumps = time.time, itertools.cycle((0.0, 86_400.0, -86_400.0, -3_600.0, 1e9))


def time_of_day():
    return _real() + next(_jumps)


time.time = time_of_day
time.time_ns = lambda: int(time_of_day() * 1e9)
"""


def test_a_clock_that_jumps_changes_no_verdict_and_no_time_that_is_told(tmp_path, undisturbed):
    (tmp_path / "sitecustomize.py").write_text(CLOCK)  # in the controller and in every worker
    path = f"{tmp_path}:{MINIATURES}"
    audit = start_audit(tmp_path / "run.jsonl", environ={"PYTHONPATH": path}, **CHOICE)
    assert audit.wait() == 0, audit.said
    assert without_what_varies(audit.output) == without_what_varies(undisturbed)
    for record in read_run(audit.output).records:
        assert all(0 <= seconds < 3600 for step, seconds in record.cost.items() if step != "peak_mb"), record.cost
    assert "-" not in audit.said.replace("timm-conformance", ""), audit.said
    assert "0.0/s" not in audit.said
