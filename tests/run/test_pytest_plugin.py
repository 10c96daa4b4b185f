"""The contract in somebody's pytest run: outcomes, order, options, and what it costs those who do not use it."""

import json
import re

import pytest

from conformance.record import Cell, Evidence, Level, Verdict
from conformance.run.chosen import choose
from conformance.run.items import Outcome, outcome
from tests.run.conftest import run_pytest

EXPECTATIONS = """
[[expect]]
models = ["dying_segfault_in_build"]
claim = "builds"
verdict = "violated"
reason = "It reads address zero."

[[expect]]
models = ["lawful_tiny_b"]
claim = "builds"
verdict = "violated"
reason = "This was true once."
"""
SHUFFLING = """
import random
import pytest

@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    random.Random(0).shuffle(items)
"""


def test_a_foreign_run_imports_nothing_of_ours(tmp_path):
    (tmp_path / "test_foreign.py").write_text(
        "import sys\n"
        "def test_nothing_is_imported():\n"
        "    assert not [name for name in ('torch', 'timm', 'msgspec', 'rich') if name in sys.modules]\n"
        "    assert 'conformance.run.pytest_plugin' in sys.modules\n"
        "    assert 'conformance.run.bench' not in sys.modules\n"
    )
    ran = run_pytest(tmp_path, "-q", "-p", "conformance.run.pytest_plugin", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert ran.returncode == 0, ran.stdout


def test_a_claim_whose_extra_is_not_installed_is_refused_and_the_extra_named(tmp_path):
    (tmp_path / "lacking.py").write_text("import sys; sys.modules['onnxruntime'] = None")
    ran = run_pytest(
        tmp_path, "-p", "lacking", "--pyargs", "conformance.test_contract", "--timm-claim=onnx_exports", PYTHONPATH="."
    )
    assert ran.returncode == 4, ran.stdout
    assert "pip install 'timm-conformance[onnx]'" in ran.stdout + ran.stderr


def test_every_outcome_is_told_as_pytest_tells_it(tmp_path):
    (tmp_path / "expected.toml").write_text(EXPECTATIONS)
    ran = run_pytest(
        tmp_path,
        *("--pyargs", "conformance.test_contract", "-n", "2", "-rA", "-v", "-W", "error", "--timm-import=dying"),
        *("--timm-expectations=expected.toml", "--timm-output=run.jsonl", "--timm-claim=builds"),
        *("--timm-claim=forward_features_runs", "--timm-claim=pooled_width_is_num_features"),
        *(
            "--timm-model=dying_segfault_in_build",
            "--timm-model=dying_hostile*",
            "--timm-model=lawful_tiny_[ab]",
            "--timm-model=wide_tiny",
        ),
    )
    told = {
        cell: word
        for word, cell in re.findall(r"^(PASSED|FAILED|XFAIL|ERROR|XPASS) .*\[(\S+)\]", ran.stdout, re.MULTILINE)
    }
    assert ran.returncode == 1, ran.stdout
    assert "scheduling tests via WorkStealingScheduling" in ran.stdout
    assert told["lawful_tiny_a-builds"] == "PASSED"
    assert told["dying_segfault_in_build-builds"] == "XFAIL"
    assert told["lawful_tiny_b-builds"] == "FAILED"
    assert told["dying_hostile_text_in_build-builds"] == "FAILED"
    assert told["wide_tiny-pooled_width_is_num_features"] == "PASSED"
    assert "needs builds, which is violated" in ran.stdout  # skipped, with its reason
    assert "builds of lawful_tiny_b is holds, expected violated" in ran.stdout
    assert "This was true once." in ran.stdout
    assert "RuntimeError: lone " in ran.stdout
    assert "\x1b[31m, huge" not in ran.stdout
    assert re.search(r"ContractSignal: wide_tiny: ", ran.stdout)
    assert "reproduce  timm-conformance show lawful_tiny_b --claim builds" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert "INTERNALERROR" not in ran.stdout
    assert (tmp_path / "run.jsonl").exists()
    assert json.loads((tmp_path / "run.jsonl").read_text().splitlines()[-1])["subjects"] == 5
    # Twice settles a death; the other worker, having stolen a cell of that model, may be dying of it meanwhile.
    assert re.search(r" [23] rerun\b", ran.stdout), ran.stdout


def test_cells_are_in_order_whatever_other_plugins_do_to_them(tmp_path):
    (tmp_path / "shuffling.py").write_text(SHUFFLING)
    (tmp_path / "test_foreign.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    ran = run_pytest(
        tmp_path,
        *("--pyargs", "conformance.test_contract", "test_foreign.py", "--collect-only", "-q", "-p", "shuffling"),
        *("--timm-import=dying", "--timm-model=lawful_tiny_*", "--timm-claim=builds", "--timm-claim=features_width"),
        PYTHONPATH=f"{tmp_path}:{run_pytest.__globals__['MINIATURES']}",
    )
    cells = re.findall(r"^conformance/test_contract\.py::test_contract\[(\S+)\]", ran.stdout, re.MULTILINE)
    models = ("lawful_tiny_a", "lawful_tiny_b", "lawful_tiny_z_slow")
    assert cells == [f"{model}-{claim}" for model in models for claim in ("builds", "features_width")], ran.stdout
    assert ran.stdout.count("test_foreign.py::") == 2


class Options:
    """As much of pytest's configuration as choosing needs."""

    def __init__(self, directory, **given):
        self.invocation_params = type("Invocation", (), {"dir": directory})
        self.given = {
            "timm_model": [],
            "timm_claim": [],
            "timm_tier": "core",
            "timm_import": [],
            "timm_shard": None,
        } | given

    def getoption(self, name):
        return self.given[name]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"timm_model": ["resnet19"]}, ("'resnet19' matches none of", "did you mean 'resnet18'?")),
        ({"timm_claim": ["head_compose"]}, ("'head_compose' is no claim", "did you mean 'head_composes'?")),
        ({"timm_import": ["no_such_module_anywhere"]}, ("'no_such_module_anywhere' cannot be imported",)),
    ],
)
def test_a_name_that_does_not_exist_is_refused_with_the_nearest_that_does(tmp_path, given, words):
    with pytest.raises(pytest.UsageError) as refused:
        choose(Options(tmp_path, **given))
    assert all(word in str(refused.value) for word in words)


def test_globs_choose_models_once_each_and_in_order(tmp_path):
    chosen = choose(Options(tmp_path, timm_model=["resnet50", "resnet[15]0*", "resnet18"]))
    assert list(chosen.models) == sorted(set(chosen.models))
    assert {"resnet18", "resnet50", "resnet10t"} <= set(chosen.models)


def test_shards_are_parts_of_what_is_chosen(tmp_path):
    whole = choose(Options(tmp_path, timm_model=["resnet*"]))
    parts = [choose(Options(tmp_path, timm_model=["resnet*"], timm_shard=(number, 3))) for number in (1, 2, 3)]
    assert sorted(name for one in parts for name in one.models) == list(whole.models)
    assert [one.shard.number for one in parts] == [1, 2, 3]
    assert {(one.shard.of, one.shard.subjects) for one in parts} == {(3, len(whole.models))}
    assert whole.shard is None


CELLS = {
    Verdict.HOLDS: Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED),
    Verdict.VIOLATED: Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="r"),
    Verdict.UNDECIDED: Cell(verdict=Verdict.UNDECIDED, reason="r"),
    Verdict.NOT_APPLICABLE: Cell(verdict=Verdict.NOT_APPLICABLE, reason="r"),
}


class Expected:
    """An expectation as far as outcomes look."""

    def __init__(self, verdict):
        self.verdict = verdict


@pytest.mark.parametrize(
    ("verdict", "level", "expected", "told"),
    [
        (Verdict.HOLDS, Level.MUST, None, Outcome.PASSED),
        (Verdict.VIOLATED, Level.MUST, None, Outcome.FAILED),
        (Verdict.VIOLATED, Level.SHOULD, None, Outcome.FAILED),
        (Verdict.VIOLATED, Level.SIGNAL, None, Outcome.SIGNAL),
        (Verdict.UNDECIDED, Level.SIGNAL, None, Outcome.FAILED),
        (Verdict.NOT_APPLICABLE, Level.MUST, None, Outcome.SKIPPED),
        (Verdict.VIOLATED, Level.MUST, Verdict.VIOLATED, Outcome.EXPECTED),
        (Verdict.UNDECIDED, Level.MUST, Verdict.VIOLATED, Outcome.STALE),
        (Verdict.HOLDS, Level.SIGNAL, Verdict.VIOLATED, Outcome.STALE),
        (Verdict.NOT_APPLICABLE, Level.MUST, Verdict.VIOLATED, Outcome.STALE),
    ],
)
def test_an_outcome_follows_from_verdict_level_and_expectation(verdict, level, expected, told):
    assert outcome(CELLS[verdict], level, Expected(expected) if expected else None) is told
