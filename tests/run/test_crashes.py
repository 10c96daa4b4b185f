"""Models that kill, block or confuse their worker, more of them than xdist restarts workers by default."""

import pytest

from conformance.record_file import read_run
from tests.run.conftest import start_audit

NOTE = "and again in a fresh process"


@pytest.fixture(scope="module")
def dying(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dying")
    audit = start_audit(
        directory / "run.jsonl.gz",
        models=("dying_*_in_forward", "dying_[!s]*_in_build", "dying_sys_exit_in_build", "lawful_tiny_a"),
        claims=("builds", "forward_features_runs"),
        timeout=6.0,
        memory=8.0,
        environ={"DYING_MARK": str(directory / "mark")},
    )
    audit.status = audit.wait()
    return audit


@pytest.fixture(scope="module")
def cells(dying):
    return {record.model: record.cells for record in read_run(dying.output).records}


def test_the_run_ends_and_every_cell_has_a_verdict(dying, cells):
    assert dying.status == 0, dying.said
    assert len(cells) == 15
    assert all(set(record) == {"builds", "forward_features_runs"} for record in cells.values())
    assert not dying.partial.exists()


def test_workers_died_more_often_than_xdist_restarts_them_by_default(dying):
    assert dying.said.count("again: ") > 4 * 2


@pytest.mark.parametrize(
    ("model", "claim", "verdict", "words"),
    [
        ("dying_segfault_in_forward", "forward_features_runs", "violated", ("SIGSEGV", "segfault of dying.py", NOTE)),
        ("dying_kill_in_build", "builds", "undecided", ("SIGKILL", NOTE)),
        ("dying_os_exit_in_forward", "forward_features_runs", "undecided", ("exit status 3", NOTE)),
        ("dying_sys_exit_in_build", "builds", "undecided", ("SystemExit('enough')", NOTE)),
        (
            "dying_python_hang_in_forward",
            "forward_features_runs",
            "undecided",
            ("within 6 s in spin of dying.py", NOTE),
        ),
        ("dying_gil_hang_in_build", "builds", "undecided", ("within 6 s in block_holding_the_gil of dying.py", NOTE)),
        ("dying_regex_hang_in_build", "builds", "undecided", ("within 6 s in backtrack of dying.py", NOTE)),
        ("dying_unwatched_hang_in_forward", "forward_features_runs", "undecided", ("did not end within 6 s", NOTE)),
        ("dying_stopped_process_in_forward", "forward_features_runs", "undecided", ("did not end within 6 s", NOTE)),
        ("dying_hostile_text_in_build", "builds", "violated", ("RuntimeError",)),
        ("dying_interrupt_in_build", "builds", "undecided", ("KeyboardInterrupt", NOTE)),
        ("dying_interrupting_in_forward", "forward_features_runs", "undecided", ("KeyboardInterrupt", NOTE)),
        ("dying_memory_in_forward", "forward_features_runs", "undecided", ("memory ran out",)),
    ],
)
def test_a_death_becomes_the_verdict_of_the_claim_that_it_came_from(cells, model, claim, verdict, words):
    cell = cells[model][claim]
    assert cell.verdict == verdict, cell
    assert all(word in cell.reason for word in words), cell.reason
    assert len(cell.reason) < 2100
    other = cells[model]["forward_features_runs" if claim == "builds" else "builds"]
    if claim == "builds":
        assert other.verdict == "not_applicable"
        assert "builds" in other.reason
    else:
        assert other.verdict == "holds"


def test_running_out_of_memory_is_repeated_in_a_fresh_process(dying):
    assert dying.said.count("[dying_memory_in_forward-forward_features_runs] ran out of memory") == 1


def test_a_fault_that_does_not_repeat_is_no_verdict(cells):
    assert {cell.verdict for cell in cells["dying_only_once_in_build"].values()} == {"holds"}
    assert {cell.verdict for cell in cells["lawful_tiny_a"].values()} == {"holds"}


def test_a_worker_that_dies_before_its_first_item_ends_the_run(tmp_path, audit):
    (tmp_path / "unimportable.py").write_text(
        "import os\nif 'PYTEST_XDIST_WORKER' in os.environ:\n    os.kill(os.getpid(), 11)\n"
    )
    run = audit(imports=("unimportable",), models=("resnet18",), claims=("builds",), cwd=tmp_path)
    assert run.wait() == 2
    assert "before its first item" in run.said
    assert "SIGSEGV" in run.said
