"""Every audit carries models whose verdicts are known, and says of itself that it is broken if one comes out wrong."""

import functools
import json
import signal
import subprocess
import sys

import pytest

from conformance.claims import CLAIMS
from conformance.decide import Examination
from conformance.record import Cell, Evidence, Verdict
from conformance.record_file import SentinelWrong, read_run
from conformance.run.sentinels import BETWEEN, Sentinels, fault
from conformance.subject.names import NoName, names
from conformance.subject.sentinels import SENTINELS, entries, is_sentinel, registered, sentinel_of
from tests.run.conftest import environment, lines, run_pytest

HOLDS = {"verdict": Verdict.HOLDS, "evidence": Evidence.OBSERVED}
UNBROKEN = {
    "builds": "a model that does not build has no other cell",
    "forward_features_runs": "a model that does not run has none either",
    "features_only_matches_info": "its argument is made for timm's own models",
    "accepts_sizes": "what refuses a size does so on any engine",
}
"""Claims that no sentinel violates, with the reason."""
CHOICE = {"models": ("lawful_tiny_a", "lawful_tiny_b"), "imports": ("dying", "betraying")}


def command(*arguments, cwd, **environ):
    return subprocess.run(
        [sys.executable, "-m", "conformance", *map(str, arguments)],
        cwd=cwd,
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=300,
    )


LAWFUL = [name for name in entries(3) if not sentinel_of(name).violates]


@functools.cache
def cells_of(name):
    with registered(name):
        examination = Examination(name)
        cells = {claim: examination.cell(claim) for claim in CLAIMS}
        examination.close()
    return cells


@pytest.mark.parametrize("name", entries(3))
def test_what_is_known_of_a_sentinel_is_true(name):
    cells = cells_of(name)
    wrong = [fault(name, claim, cell) for claim, cell in cells.items()]
    assert [said for said in wrong if said] == []


@pytest.mark.parametrize("name", LAWFUL)
def test_a_lawful_sentinel_leaves_nothing_open_and_what_is_equal_is_proved(name):
    cells = cells_of(name)
    assert {cell.verdict for cell in cells.values()} <= {Verdict.HOLDS, Verdict.NOT_APPLICABLE}
    assert cells["head_composes"].evidence is Evidence.PROVED
    assert cells["script_matches"].evidence is Evidence.PROVED


def test_every_claim_is_violated_by_a_sentinel_or_it_is_said_why_not():
    violated = set().union(*(sentinel.violates for sentinel in SENTINELS.values()))
    assert violated | UNBROKEN.keys() == set(CLAIMS)
    assert not violated & UNBROKEN.keys()


@pytest.mark.parametrize(
    ("kind", "claim", "verdict"),
    [
        ("convolutions", "head_composes", "violated"),
        ("tokens", "script_matches", "violated"),
        ("tokens", "features_only_matches_info", "holds"),
        ("convolutions", "head_composes", "not_applicable"),
        ("deceiving", "head_composes", "holds"),
        ("deceiving", "head_composes", "not_applicable"),
        ("misstating", "head_composes", "violated"),
    ],
)
def test_a_false_verdict_is_noticed(kind, claim, verdict):
    cell = Cell(verdict=Verdict(verdict), evidence=Evidence.PROVED, reason="it was said so")
    said = fault(f"timm_conformance_sentinel_{kind}_1", claim, cell)
    assert said
    assert verdict in said
    assert kind in said


def test_what_needs_something_undecided_is_not_false():
    cell = Cell(verdict=Verdict.NOT_APPLICABLE, reason="needs forward_features_runs, which is undecided")
    assert fault(entries(1)[0], "head_composes", cell) is None


def test_what_time_or_memory_left_undecided_is_not_false():
    cell = Cell(verdict=Verdict.UNDECIDED, reason="time ran out")
    for name in entries(1):
        assert all(fault(name, claim, cell) is None for claim in CLAIMS)


def test_a_process_decides_sentinels_before_its_first_model_now_and_then_and_at_its_end():
    decided = []
    sentinels = Sentinels(("builds",), lambda name, claim: decided.append(name) or Cell(**HOLDS))
    seen = []
    for number in range(2 * BETWEEN + 1):
        for _ in range(2):  # two cells of each model
            assert sentinels.before(f"model_{number}") == ()
            seen.append(len(decided))
    kinds = len(SENTINELS)
    assert seen == [kinds] * 2 * BETWEEN + [2 * kinds] * 2 * BETWEEN + [3 * kinds] * 2
    assert sentinels.are_due
    assert sentinels.heard() == ()
    assert not sentinels.are_due
    assert decided == [name for number in range(1, 5) for name in entries(number)]


def test_what_comes_out_wrong_is_said_once():
    violated = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="it was said so")
    sentinels = Sentinels(("builds",), lambda name, claim: violated)
    assert len(sentinels.before("model")) == len(SENTINELS)
    assert sentinels.before("model") == ()


def test_a_sentinel_is_in_the_registry_only_while_it_is_decided():
    name = entries(1)[0]
    with registered(name), pytest.raises(NoName, match="as models of the suite's own are"):
        names()
    assert not any(map(is_sentinel, names()))


@pytest.mark.parametrize(
    ("betrayal", "words"),
    [
        ("false proofs", "head_composes of timm_conformance_sentinel_deceiving_1 came out holds, violated"),
        ("false accusations", "scripts of timm_conformance_sentinel_convolutions_1 came out violated, holds"),
    ],
)
def test_a_broken_engine_marks_the_run_and_nobody_takes_it(tmp_path, betrayal, words):
    run = tmp_path / "run.jsonl"
    audit = command(
        *("audit", *CHOICE["models"], "-n", 2, "--output", run, "--expectations", "none"),
        *(f"--import={module}" for module in CHOICE["imports"]),
        *("--claim", "head_composes", "--claim", "scripts"),
        cwd=tmp_path,
        BETRAYAL=betrayal,
    )
    assert audit.returncode == 2, audit.stdout + audit.stderr
    assert f"broken: {words}" in audit.stderr
    assert "the run is marked broken" in audit.stderr.splitlines()[-1]
    assert not run.with_name("run.jsonl.partial").exists()
    footer = lines(run)[-1]
    assert footer["subjects"] == 2
    assert any(words in said for said in footer["broken"]), footer
    with pytest.raises(SentinelWrong, match="marked broken"):
        read_run(run)

    for arguments in (
        ("report", run, "--output", "page.html"),
        ("gate", "--baseline", run, "--candidate", run),
        ("show", "lawful_tiny_a", "--from", run),
    ):
        refused = command(*arguments, cwd=tmp_path)
        assert refused.returncode == 2, arguments
        assert "is marked broken" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "page.html").exists()

    again = command(
        *("audit", *CHOICE["models"], "--output", run, "--expectations", "none", "--resume"),
        *(f"--import={module}" for module in CHOICE["imports"]),
        *("--claim", "head_composes", "--claim", "scripts"),
        cwd=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    assert "broken" not in lines(run)[-1]
    assert len(read_run(run).records) == 2


def test_an_unfinished_run_that_is_marked_is_not_resumed(audit, tmp_path):
    sound = audit(**CHOICE, claims=("builds",))
    assert sound.wait() == 0, sound.said
    header, record, _, _ = sound.output.read_text().splitlines(keepends=True)
    broken = json.dumps({"kind": "broken", "said": "a sentinel came out wrong"}) + "\n"
    sound.output.unlink()
    sound.partial.write_text(header + record + broken)
    resumed = audit(**CHOICE, claims=("builds",), resume=True)
    assert resumed.wait() == 2
    assert "is marked broken (a sentinel came out wrong); delete it" in resumed.said
    assert sound.partial.read_text() == header + record + broken


def test_a_broken_process_that_is_stopped_has_said_so_by_then(audit):
    choice = {
        "models": ("lawful_tiny_*",),
        "imports": ("dying", "betraying"),
        "claims": ("forward_features_runs", "head_composes"),
    }
    broken = audit(**choice, workers=1, environ={"DYING_SECONDS": "600", "BETRAYAL": "false proofs"})
    broken.wait_for_records(1)
    broken.process.send_signal(signal.SIGINT)
    assert broken.wait() == 130
    resumed = audit(**choice, resume=True)
    assert resumed.wait() == 2
    assert "is marked broken (head_composes of timm_conformance_sentinel_deceiving_1" in resumed.said


def test_one_broken_worker_of_two_is_found(tmp_path):
    run = tmp_path / "run.jsonl"
    audit = command(
        *("audit", "lawful_tiny_*", "-n", 2, "--output", run, "--expectations", "none"),
        *("--import", "dying", "--import", "betraying", "--claim", "builds", "--claim", "head_composes"),
        cwd=tmp_path,
        BETRAYAL="false proofs of gw1",
    )
    assert audit.returncode == 2, audit.stdout + audit.stderr
    assert "broken: head_composes of timm_conformance_sentinel_deceiving_1 came out holds" in audit.stderr


def test_a_pytest_run_fails_by_the_sentinels_name(tmp_path):
    run = run_pytest(
        tmp_path,
        *("--pyargs", "conformance", "-n1", "--timm-import=dying", "--timm-import=betraying"),
        *("--timm-model=lawful_tiny_a", "--timm-claim=scripts", "--timm-expectations=none", "-k", "lawful_tiny_a"),
        BETRAYAL="false accusations",
    )
    assert run.returncode == 1
    assert "nothing that this run says can be relied on: scripts of timm_conformance_sentinel_" in run.stdout
    assert "1 failed" in run.stdout
