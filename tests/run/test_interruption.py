"""Audits that are stopped, killed, resumed, or started twice."""

import signal
import time

import psutil

from tests.run.conftest import lines, without_what_varies

CHOICE = {"models": ("lawful_tiny_*",), "claims": ("builds", "forward_features_runs")}
STUCK = {"DYING_SECONDS": "600"}


def all_end(processes, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
            return True
        time.sleep(0.1)
    return False


def test_what_was_decided_survives_ctrl_c_and_two_killings_and_resuming_gives_the_same_run(audit, tmp_path):
    first = audit(**CHOICE, environ=STUCK)
    first.wait_for_records(2)
    family = first.family()
    assert len(family) >= 3

    second = audit(**CHOICE)
    assert second.wait() == 2
    assert "another audit is writing" in second.said

    first.process.send_signal(signal.SIGINT)
    assert first.wait(timeout=25) == 130
    assert all_end(family)
    assert [line["kind"] for line in lines(first.partial)] == ["header", "record", "record"]
    assert not first.output.exists()

    again = audit(**CHOICE)
    assert again.wait() == 2
    assert "go on with it by --resume, or delete it" in again.said
    assert "Traceback" not in again.said
    assert len(lines(first.partial)) == 3

    killed = audit(**CHOICE, environ=STUCK, resume=True)
    killed.wait_for_records(2)
    while len(killed.family()) < 3:
        time.sleep(0.1)
    family = killed.family()
    killed.process.kill()
    killed.wait()
    assert all_end(family), "killing the parent leaves nobody behind"

    with first.partial.open("ab") as partial:
        partial.write(b'{"kind":"record","model":"lawful_ti')  # as a full disk or a power cut leaves it
    resumed = audit(**CHOICE, resume=True)
    assert resumed.wait() == 0, resumed.said
    assert "2 models decided before" in resumed.said
    assert not resumed.partial.exists()

    fresh = audit(**CHOICE, output=tmp_path / "fresh.jsonl")
    assert fresh.wait() == 0, fresh.said
    assert without_what_varies(resumed.output) == without_what_varies(fresh.output)
    assert [line["model"] for line in lines(fresh.output)[1:-1]] == [
        "lawful_tiny_a",
        "lawful_tiny_b",
        "lawful_tiny_z_slow",
    ]


def test_killing_the_child_alone_is_told_and_leaves_what_was_decided(audit):
    run = audit(**CHOICE, environ=STUCK)
    run.wait_for_records(2)
    family = run.family()
    child = psutil.Process(run.process.pid).children()[0]
    child.kill()
    assert run.wait(timeout=25) == 2
    assert "SIGKILL" in run.said
    assert all_end(family)
    assert len(lines(run.partial)) == 3


def test_sigterm_stops_like_ctrl_c(audit):
    run = audit(**CHOICE, environ=STUCK, workers=0)
    run.wait_for_records(2)
    family = run.family()
    run.process.terminate()
    assert run.wait(timeout=25) == 130
    assert all_end(family)
