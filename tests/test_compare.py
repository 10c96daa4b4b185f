"""The comparison of a fresh run with the published one, as CI makes it."""

import importlib.util
from pathlib import Path

import msgspec
import pytest
import timm

from conformance.record import Cell, Evidence, Verdict
from tests.report.synthetic import finished, run_of, write

SCRIPT = Path(__file__).parent.parent / ".ci" / "compare.py"


@pytest.fixture(scope="module")
def compare():
    specification = importlib.util.spec_from_file_location("compare", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a fresh and a published run of a timm with the fresh one's models; gives what `main` is called with."""

    def write_both(fresh, old=None):
        monkeypatch.setattr(timm, "list_models", lambda: [record.model for record in fresh.records])
        (tmp_path / "reports").mkdir(exist_ok=True)
        if old is not None:
            write(old, tmp_path / "reports" / f"timm-{timm.__version__}.jsonl")
        return str(write(fresh, tmp_path / "fresh.jsonl")), str(tmp_path / "reports")

    return write_both


def changed(run, **facts):
    """The run with its first record changed."""
    first, *others = run.records
    return finished([msgspec.structs.replace(first, **facts), *others], run.header.claims)


def test_equal_runs_compare_equal_whatever_they_cost_and_whenever_they_ran(compare, written, capsys):
    run = run_of(5)
    header = msgspec.structs.replace(run.header, started="later", python="3.11.9", suite="0.2.0")
    later = msgspec.structs.replace(changed(run, cost={"builds": 9.0}), header=header)
    assert compare.main(*written(later, run)) == 0
    said = capsys.readouterr().out
    assert "5 subjects, 25 claims; every cell and fingerprint is as" in said
    assert "python: 3.11.7 published, 3.11.9 here" in said


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"fingerprints": {"logits": "other"}}, ("fingerprints", "other")),
        ({"params": 7}, ("params", "7")),
        ({"class_name": None}, ("class", "None")),
    ],
)
def test_a_fact_that_differs_is_told_with_both_sides(compare, written, capsys, facts, words):
    run = run_of(5)
    assert compare.main(*written(changed(run, **facts), run)) == 1
    said = capsys.readouterr().out
    assert all(word in said for word in (run.records[0].model, "published", "differences from", "jsonl: 1;", *words))


@pytest.mark.parametrize(
    "cell",
    [
        Cell(verdict=Verdict.UNDECIDED, reason="who knows"),
        Cell(verdict=Verdict.HOLDS, evidence=Evidence.MEASURED),
        Cell(verdict=Verdict.VIOLATED, evidence=Evidence.PROVED, reason="for another reason"),
    ],
)
def test_a_cell_that_differs_is_told(compare, written, capsys, cell):
    run = run_of(5)
    fresh = changed(run, cells=run.records[0].cells | {"scripts": cell})
    assert compare.main(*written(fresh, run)) == 1
    assert f"{run.records[0].model}: scripts\n" in capsys.readouterr().out


def test_only_the_first_ten_differences_are_shown_and_all_are_counted(compare, written, capsys):
    run = run_of(30)
    fresh = finished([msgspec.structs.replace(record, params=1) for record in run.records], run.header.claims)
    assert compare.main(*written(fresh, run)) == 1
    said = capsys.readouterr().out
    assert said.count("params") == 10
    assert "jsonl: 30;" in said


def test_a_model_that_only_one_run_has_is_a_difference(compare, written, capsys):
    run = run_of(5)
    assert compare.main(*written(run, finished(run.records[1:], run.header.claims))) == 1
    assert f"{run.records[0].model}: only in the fresh run" in capsys.readouterr().out


def test_a_model_that_only_the_published_run_has_is_a_difference(compare, written, capsys):
    run = run_of(5)
    assert compare.main(*written(finished(run.records[1:], run.header.claims), run)) == 1
    assert f"{run.records[0].model}: only in the published run" in capsys.readouterr().out


def fewer_claims(run, count):
    """The run as one of its first claims alone."""
    kept = {claim.id for claim in run.header.claims[:count]}
    records = [
        msgspec.structs.replace(record, cells={name: cell for name, cell in record.cells.items() if name in kept})
        for record in run.records
    ]
    return finished(records, run.header.claims[:count])


def test_a_run_of_fewer_claims_is_compared_in_these(compare, written, capsys):
    run = run_of(5)
    core = sum(claim.tier == "core" for claim in run.header.claims)
    assert [claim.tier == "core" for claim in run.header.claims] == [place < core for place in range(25)]
    assert compare.main(*written(fewer_claims(run, core), run)) == 0
    assert compare.main(*written(run, fewer_claims(run, 3))) == 1
    assert "fresh      {" in capsys.readouterr().out


def test_a_run_that_lost_claims_of_the_core_tier_or_all_subjects_is_refused(compare, written, capsys):
    run = run_of(5)
    core = [claim for claim in run.header.claims if claim.tier == "core"]
    assert core
    assert compare.main(*written(fewer_claims(run, 0), run)) == 1
    assert f"{core[0].id}: a claim of the core tier that only the published run has" in capsys.readouterr().out
    assert compare.main(*written(finished([], run.header.claims), run), "--part") == 1
    assert "speaks of no subject" in capsys.readouterr().out


def test_a_part_is_compared_with_its_models_if_it_is_called_one(compare, written, capsys, monkeypatch):
    run = run_of(5)
    words = written(finished(run.records[1:3], run.header.claims), run)
    monkeypatch.setattr(timm, "list_models", lambda: [record.model for record in run.records])
    assert compare.main(*words) == 1
    assert compare.main(*words, "--part") == 0
    words = written(finished(run.records[1:3], run.header.claims), fewer_claims(run, 3))
    capsys.readouterr()
    assert compare.main(*words, "--part") == 0
    assert f"not published, and so not compared with --part: {run.header.claims[3].id}" in capsys.readouterr().out
    words = written(finished([msgspec.structs.replace(run.records[1], params=1)], run.header.claims), run)
    assert compare.main(*words, "--part") == 1


def test_a_run_that_lacks_models_of_timm_is_refused(compare, written, capsys, monkeypatch):
    words = written(run_of(5), run_of(5))
    monkeypatch.setattr(timm, "list_models", lambda: ["one"] * 6)
    assert compare.main(*words) == 1
    assert "5 subjects; timm.list_models() has 6" in capsys.readouterr().out


def test_without_a_published_run_nothing_is_compared_and_that_is_said(compare, written, capsys):
    assert compare.main(*written(run_of(5))) == 0
    assert "holds no run of timm" in capsys.readouterr().out


def measured(error, verdict=Verdict.VIOLATED):
    reason = f"they differ by {error} times the output's size" if verdict is Verdict.VIOLATED else None
    return Cell(verdict=verdict, evidence=Evidence.MEASURED, reason=reason, witness={"max_relative_error": error})


@pytest.mark.parametrize(
    ("fresh", "status"),
    [
        (measured(0.94), 0),
        (measured(1e-7, Verdict.HOLDS), 1),
        (Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED), 1),
    ],
)
def test_the_size_of_a_measured_error_is_the_processors_and_its_verdict_is_not(compare, written, fresh, status):
    run = run_of(2)
    claim = run.header.claims[0].id
    old, new = (changed(run, cells={**run.records[0].cells, claim: cell}) for cell in (measured(1.0), fresh))
    assert compare.main(*written(new, old)) == status
