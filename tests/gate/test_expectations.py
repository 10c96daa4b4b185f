"""Expectations: what the TOML file may say, and which of its entries speaks of a cell."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from conformance.gate import (
    BrokenExpectations,
    Expectations,
    OverlappingExpectations,
    UnknownClaim,
    load,
)
from conformance.record import Verdict

VERSIONS = {"timm": "1.0.31", "torch": "2.14.1+cpu", "python": "3.11.7"}

LEVIT = """
[[expect]]
models = ["levit_*", "tiny_vit_??m"]
claim = "scripts"
verdict = "violated"
reason = "Attention biases are cached."
issue = "https://github.com/huggingface/pytorch-image-models/issues/1"
"""


def written(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_loads():
    assert isinstance(load(), Expectations)


def test_an_entry_speaks_of_the_models_and_claims_that_it_names_and_of_no_others(tmp_path):
    expectations = load(written(tmp_path, LEVIT))
    entry = expectations.for_cell("levit_128", "scripts", **VERSIONS)
    assert entry is expectations.entries[0]
    assert entry.verdict is Verdict.VIOLATED
    assert entry.reason == "Attention biases are cached."
    assert entry.issue == "https://github.com/huggingface/pytorch-image-models/issues/1"
    assert expectations.for_cell("tiny_vit_21m", "scripts", **VERSIONS) is entry
    assert expectations.for_cell("tiny_vit_5m", "scripts", **VERSIONS) is None
    assert expectations.for_cell("xlevit_128", "scripts", **VERSIONS) is None
    assert expectations.for_cell("LEVIT_128", "scripts", **VERSIONS) is None
    assert expectations.for_cell("levit_128", "builds", **VERSIONS) is None


def test_an_entry_may_name_several_claims(tmp_path):
    text = LEVIT.replace('claim = "scripts"', 'claims = ["scripts", "script_matches"]')
    expectations = load(written(tmp_path, text))
    assert expectations.for_cell("levit_128", "script_matches", **VERSIONS) is expectations.entries[0]
    assert expectations.for_cell("levit_128", "scripts", **VERSIONS) is expectations.entries[0]


@pytest.mark.parametrize(
    ("bound", "awake"),
    [
        ('timm = ">=1.0.20,<1.1"', True),
        ('timm = "<1.0.31"', False),
        ('torch = "==2.14.*"', True),
        ('torch = "<2.14"', False),
        ('python = ">=3.12"', False),
        ('timm = ">=1.0"\npython = ">=3.12"', False),
    ],
)
def test_an_entry_sleeps_outside_its_versions(tmp_path, bound, awake):
    expectations = load(written(tmp_path, LEVIT + bound))
    assert (expectations.for_cell("levit_128", "scripts", **VERSIONS) is not None) is awake
    assert len(expectations.awake(**VERSIONS)) == awake


def test_a_prerelease_is_a_version_like_others(tmp_path):
    expectations = load(written(tmp_path, LEVIT + 'timm = ">=1.0.31"'))
    assert expectations.for_cell("levit_128", "scripts", **VERSIONS | {"timm": "1.0.32.dev0"})


def test_asking_for_one_version_does_not_answer_for_another(tmp_path):
    expectations = load(written(tmp_path, LEVIT + 'timm = "<1.0.31"'))
    assert expectations.for_cell("levit_128", "scripts", **VERSIONS) is None
    assert expectations.for_cell("levit_128", "scripts", **VERSIONS | {"timm": "1.0.30"})


def test_one_file_extends_another_without_changing_it(tmp_path):
    first = load(written(tmp_path, LEVIT))
    second = load(written(tmp_path, LEVIT.replace("levit", "hgnet"), "more.toml"))
    both = first.extended_by(second)
    assert both.for_cell("levit_128", "scripts", **VERSIONS)
    assert both.for_cell("hgnet_a", "scripts", **VERSIONS)
    assert first.for_cell("hgnet_a", "scripts", **VERSIONS) is None


def test_entries_that_contradict_one_another_are_both_named(tmp_path):
    first = load(written(tmp_path, LEVIT))
    second = load(written(tmp_path, LEVIT.replace("violated", "undecided"), "more.toml"))
    both = first.extended_by(second)
    with pytest.raises(
        OverlappingExpectations, match=r"mine\.toml, entry 1 .*violated.* more\.toml, entry 1 .*undecided"
    ):
        both.for_cell("levit_128", "scripts", **VERSIONS)
    with pytest.raises(OverlappingExpectations):
        both.check_overlaps(["resnet18", "levit_128"], ["builds", "scripts"], **VERSIONS)
    both.check_overlaps(["resnet18"], ["builds", "scripts"], **VERSIONS)
    assert both.for_cell("resnet18", "scripts", **VERSIONS) is None


def test_a_sleeping_entry_contradicts_nothing(tmp_path):
    first = load(written(tmp_path, LEVIT))
    second = load(written(tmp_path, LEVIT.replace("violated", "undecided") + 'timm = "<1"', "more.toml"))
    assert first.extended_by(second).for_cell("levit_128", "scripts", **VERSIONS) is first.entries[0]


def test_entries_that_agree_may_overlap(tmp_path):
    expectations = load(written(tmp_path, LEVIT + LEVIT))
    assert expectations.for_cell("levit_128", "scripts", **VERSIONS) is expectations.entries[0]


def test_an_unknown_claim_is_told_with_the_nearest_one(tmp_path):
    path = written(tmp_path, LEVIT.replace('"scripts"', '"script"'))
    load(path)
    with pytest.raises(UnknownClaim, match=r"mine\.toml, entry 1 .*'script'; did you mean 'scripts'\?"):
        load(path, claim_ids=["builds", "scripts"])


BROKEN = {
    "no TOML": ("[[expect", "is not TOML"),
    "an unknown table": ("[[expects]]\n", "unknown key 'expects'"),
    "a table and no array": ("[expect]\n", r"\[\[expect\]\]"),
    "an array of words": ('expect = ["a"]', r"\[\[expect\]\]"),
    "an unknown key": (LEVIT + 'tim = "1"', "entry 1: has the unknown key 'tim'; did you mean 'timm'"),
    "holds": (LEVIT.replace('"violated"', '"holds"'), "`verdict` is 'holds' where one of violated, undecided"),
    "an unknown verdict": (LEVIT.replace('"violated"', '"broken"'), "`verdict` is 'broken'"),
    "a verdict that is a list": (LEVIT.replace('"violated"', '["violated"]'), "`verdict` is"),
    "no verdict": (LEVIT.replace('verdict = "violated"', ""), "`verdict` is None"),
    "no reason": (LEVIT.replace('reason = "Attention biases are cached."', ""), "`reason` is None"),
    "an empty reason": (LEVIT.replace("Attention biases are cached.", " "), "`reason` is ' '"),
    "no models": (LEVIT.replace('models = ["levit_*", "tiny_vit_??m"]', ""), "`models` is None"),
    "an empty list of models": (LEVIT.replace('["levit_*", "tiny_vit_??m"]', "[]"), r"`models` is \[\]"),
    "models that are numbers": (LEVIT.replace('"levit_*"', "3"), "`models` is"),
    "no claim": (LEVIT.replace('claim = "scripts"', ""), "`claim` is None"),
    "claim and claims": (LEVIT + 'claims = ["scripts"]', "both `claim` and `claims`"),
    "a bad specifier": (LEVIT + 'timm = "newer than 1"', "`timm` is 'newer than 1'"),
    "a specifier that is a number": (LEVIT + "timm = 1.0", "`timm` is 1.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_sentence_that_names_it(tmp_path, name):
    text, words = BROKEN[name]
    with pytest.raises(BrokenExpectations, match=words) as caught:
        load(written(tmp_path, text))
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_place_of_a_broken_entry_is_told(tmp_path):
    with pytest.raises(BrokenExpectations, match=r"mine\.toml, entry 2: has the unknown key"):
        load(written(tmp_path, LEVIT + LEVIT + 'x = "1"'))


def test_a_missing_file_and_bytes_that_are_no_text_are_refused(tmp_path):
    with pytest.raises(BrokenExpectations, match=r"nowhere\.toml: cannot be read"):
        load(tmp_path / "nowhere.toml")
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BrokenExpectations, match="is not TOML"):
        load(path)


def test_asking_for_every_cell_of_a_run_takes_no_time_worth_naming(tmp_path):
    expectations = load(written(tmp_path, LEVIT * 100))
    begun = time.perf_counter()
    for number in range(1371):
        for _ in range(25):
            expectations.for_cell(f"levit_{number}", "builds", **VERSIONS)
        expectations.for_cell(f"levit_{number}", "scripts", **VERSIONS)
    assert time.perf_counter() - begun < 5  # 0.15 s when nothing else runs


def test_the_gate_needs_neither_torch_nor_timm():
    code = (
        "import sys, conformance.gate as gate; gate.load(); sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
