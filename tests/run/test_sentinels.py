"""Every audit carries models whose verdicts are known, and says of itself that it is broken if one comes out wrong."""

import functools
import json
import subprocess
import sys

import pytest

from conformance.claims import CLAIMS
from conformance.decide import Examination
from conformance.record import Cell, Evidence, Verdict
from conformance.record_file import SentinelWrong, read_run
from conformance.run.parcel import Parcel
from conformance.run.sentinels import BETWEEN, among, fault, is_sentinel
from conformance.subject.names import names
from conformance.subject.sentinels import SENTINELS, entries, registered, sentinel_of
from tests.run.conftest import environment, lines, run_pytest, without_what_varies

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
    wrong = [fault(Parcel(model=name, claim=claim, cell=cell)) for claim, cell in cells.items()]
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
    said = fault(Parcel(model=f"timm_conformance_sentinel_{kind}_1", claim=claim, cell=cell))
    assert said
    assert verdict in said
    assert kind in said


def test_what_time_or_memory_left_undecided_is_not_false():
    cell = Cell(verdict=Verdict.UNDECIDED, reason="time ran out")
    for name in entries(1):
        assert all(fault(Parcel(model=name, claim=claim, cell=cell)) is None for claim in CLAIMS)


@pytest.mark.parametrize("count", [0, 1, BETWEEN, BETWEEN + 1, 3 * BETWEEN - 1])
def test_sentinels_follow_the_last_model_and_are_never_far_away(count):
    models = [f"model_{number}" for number in range(count)]
    rows = list(among(models))
    assert [row for row in rows if not is_sentinel(row)] == models
    assert len(set(rows)) == len(rows)
    assert is_sentinel(rows[-1])
    kinds = len(SENTINELS)
    assert len(rows) - count == kinds * max(-(-count // BETWEEN), 1)


def test_a_sentinel_is_in_the_registry_only_while_it_is_decided():
    name = entries(1)[0]
    with registered(name):
        assert name in names()
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


def test_a_run_whose_sentinels_were_not_heard_is_finished_by_hearing_them(audit):
    sound = audit(**CHOICE, claims=("builds",))
    assert sound.wait() == 0, sound.said
    whole = without_what_varies(sound.output)
    *decided, _ = sound.output.read_text().splitlines(keepends=True)
    sound.output.unlink()
    sound.partial.write_text("".join(decided))
    false = audit(**CHOICE, claims=("scripts",), resume=True)
    assert false.wait() == 2, "of another choice"
    resumed = audit(**CHOICE, claims=("builds",), resume=True)
    assert resumed.wait() == 0, resumed.said
    assert without_what_varies(resumed.output) == whole


def test_a_pytest_run_fails_by_the_sentinels_name(tmp_path):
    run = run_pytest(
        tmp_path,
        *("--pyargs", "conformance", "-n1", "--timm-import=dying", "--timm-import=betraying"),
        *("--timm-model=lawful_tiny_a", "--timm-claim=scripts", "--timm-expectations=none"),
        BETRAYAL="false accusations",
    )
    assert run.returncode == 1
    said = "nothing that this run says can be relied on: scripts of timm_conformance_sentinel_"
    assert run.stdout.count(said) == len(SENTINELS) - 1, run.stdout
