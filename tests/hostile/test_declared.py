"""Expectations, configuration and projects as an attacker would write them: understood, or refused in a sentence."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import pytest
import tomlkit
from hypothesis import given

from conformance import files
from conformance.configuration import BrokenConfiguration, Configuration, configuration
from conformance.gate import BrokenExpectations, declaring, judge, load
from conformance.gate.your_models import uses
from conformance.record import Verdict
from tests.commands import command
from tests.hostile.attacks import (
    ALL,
    assert_a_terminal_is_safe,
    assert_one_sentence,
    fuzzed,
    integers,
    runs,
    texts,
    tried,
)

KEYS = (
    "models",
    "claim",
    "claims",
    "verdict",
    "change",
    "changes",
    "timm",
    "torch",
    "python",
    "reason",
    "issue",
    "mend",
)
values = st.recursive(
    texts | integers.filter(lambda number: abs(number) < 2**63) | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
SPECIFIERS = st.sampled_from([">=1", "==1.0.31", "===x", ">=" + "9" * 5000, "~=1", "<2,>1", "!=1.*", ""]) | texts
entries = st.fixed_dictionaries(
    {"models": texts | st.lists(texts, min_size=1, max_size=3), "reason": texts},
    optional={
        "claim": texts,
        "claims": values,
        "verdict": st.sampled_from(["violated", "undecided", "holds"]) | texts,
        "change": st.sampled_from(["drifted", "broken"]) | texts,
        "timm": SPECIFIERS,
        "torch": SPECIFIERS,
        "python": SPECIFIERS,
        "issue": texts,
        "mend": texts,
    },
)
lawful = st.fixed_dictionaries(
    {
        "models": st.lists(texts.filter(bool), min_size=1, max_size=3),
        "claim": texts.filter(bool),
        "verdict": st.sampled_from(["violated", "undecided", "not_applicable"]),
        "reason": texts.filter(str.strip),
    },
    optional={"timm": st.sampled_from(["", ">=1", "==1.0.31", "===x"])},
)
LINES = (
    "[[expect]]",
    "[expect]",
    "[[expect.expect]]",
    "models = ['a']",
    'models = "*"',
    "claim = 'scripts'",
    "verdict = 'violated'",
    "reason = 'x'",
    "[",
    "]",
    "a." * 5000 + "b = 1",
    "[" + "a." * 5000 + "b]",
    '"\\"".' * 40 + "b = 1",
    "models = " + "[" * 3000,
    "models = 0x" + "f" * 5000,
    "models = " + "9" * 5000,
    "models = nan",
    "models = -inf",
    "models = 1979-05-27T07:32:00Z",
    "models = 9999-99-99",
    "models = {a = {b = {}}}",
    "a." * 20 + "b = 1",
    "expect = 1",
    "expect = [1]",
    "expect = [[]]",
    "reason = '''",
    'reason = "\\ud800"',
    "reason = '\x00'",
    "\ufeff",
    "\r",
    "timm = '>=1'",
    "timm = 1",
    "[tool.timm-conformance]",
    "[tool]",
    "timm-conformance = 1",
    "tool.timm-conformance.models.a.b.c = 1",
    "models-from = ['../../..', '\\u0000']",
    "models-from = '" + "a" * 5000 + "'",
    "import = ['os']",
    "fail-on = ['broken']",
    'expectations = "a\\u0000b"',
    "expectations = ['a', 'b']",
    "fail-on = 0x" + "f" * 5000,
    "__proto__ = 1",
)
documents = st.one_of(
    st.lists(st.sampled_from(LINES) | texts, max_size=8).map("\n".join).map(str.encode),
    st.lists(entries | values, max_size=3).map(lambda tables: toml({"expect": tables})),
    values.map(lambda value: toml({"expect": [], "other": value})),
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("models", "models-from", "import", "expectations", "fail-on"), values)
    ).map(lambda table: toml({"tool": {"timm-conformance": table}})),
    st.binary(max_size=30),
)


def toml(value):
    return tomlkit.dumps(value).encode()


def loaded(path):
    """The expectations, or None for what was refused in a sentence."""
    try:
        return load(path)
    except BrokenExpectations as error:
        assert_one_sentence(str(error))
        return None


@fuzzed
@given(content=documents, run=runs(), version=texts)
def any_expectations(path, content, run, version):
    path.write_bytes(content)
    tried["files of expectations"] += 1
    expected = loaded(path)
    if expected is None:
        return
    tried["files of expectations that can be used"] += 1
    judged(expected, run)
    expected.awake(timm=version, torch="9" * 5000, python="")


def judged(expected, run):
    try:
        told = judge(run, expected, names=())
    except BrokenExpectations as error:
        assert_one_sentence(str(error))
        return None
    for finding in (*told.unexpected, *told.stale):
        assert str(finding)
    return told


@fuzzed
@given(tables=st.lists(lawful, max_size=2), run=runs(), timm=st.just("1.0.31") | texts)
def any_declaring(path, tables, run, timm):
    """What is accepted of a run comes true in it, is found again in the file, and nothing of the file is lost."""
    tried["runs whose violations are accepted"] += 1
    run = msgspec.structs.replace(run, header=msgspec.structs.replace(run.header, timm=timm))
    path.write_bytes(toml({"expect": tables}) if tables else b"")
    before = loaded(path)
    assert before is not None
    told = judged(before, run)
    if told is None:
        return
    fresh = [finding for finding in told.unexpected if finding.expectation is None]
    added = declaring.entries_of(fresh, timm=run.header.timm, reason=None)
    if not fresh:
        return
    was = path.read_bytes()
    try:
        text = declaring.added(path, added)
    except BrokenExpectations as error:
        assert_one_sentence(str(error))
        assert path.read_bytes() == was
        return
    path.write_text(text, encoding="utf-8", newline="")
    after = load(path)
    tried["files of expectations that grew"] += 1
    assert after.entries[: len(before.entries)] == before.entries
    assert len(after.entries) == len(before.entries) + len(added)
    for finding in fresh:
        entry = after.for_cell(finding.model, finding.claim_id, **versions(run))
        assert entry is not None
        assert entry.verdict is finding.cell.verdict
    # Nobody else's violations are accepted with them.
    for entry in after.entries[len(before.entries) :]:
        assert [record.model for record in run.records if entry.matches(record.model)] == sorted(
            {finding.model for finding in fresh if finding.claim_id in entry.claims and entry.matches(finding.model)}
        )
    pruned = declaring.pruned(path, run)
    path.write_text(pruned.text, encoding="utf-8", newline="")
    assert loaded(path) is not None


def versions(run):
    return {"timm": run.header.timm, "torch": run.header.torch, "python": run.header.python}


@fuzzed
@given(content=documents)
def any_configuration(folder, content):
    (folder / "pyproject.toml").write_bytes(content)
    tried["projects' tables"] += 1
    try:
        found = configuration(folder)
    except BrokenConfiguration as error:
        assert_one_sentence(str(error), longest=2000)
        return
    assert isinstance(found, Configuration)
    assert uses_or_none([*found.models_from][:1]) is not None


NAMES = frozenset({"resnet18", "vit_b_16", *ALL})
PROJECT = (
    'import timm\ntimm.create_model("resnet18")\n',
    "timm.create_model(",
    "timm." * 900 + "create_model(x)\n",
    "x = " + "(" * 150 + ")" * 150,
    "timm.create_model(" + "0x" + "f" * 5000 + ")",
    "'" * 3,
    "# -*- coding: hex -*-\n",
    "# -*- coding: punycode -*-\n",
    "# coding: idna\n",
    "# coding: undefined\n",
    "# coding: \x1b[31m\n",
    "# coding: utf-7\n+AGE-",
    "\x00",
    "from timm import *\n",
    "def f(:\n",
    "eval('1')\n",
    "f'{x!r:{y}}'",
    "timm.create_model(f'{a}\x1b[31m')\n",
    "model: resnet18\n",
    "a: &a [*a, resnet18]\n",
    "a: &a {<<: *a}\n",
    "!!python/object/apply:os.system ['touch owned']\n",
    "!!binary |\n x\n",
    "- " * 400,
    "? " * 400,
    "%TAG ! tag:evil\n---\n",
    "*nobody\n",
    "'\\ud800'",
    "\x1b[31m: x\n",
    "--- \n" * 50,
    "{" * 400,
    "[" * 3000,
    '{"a": "resnet18"}',
    '{"a": ' + "9" * 5000 + "}",
    "NaN",
    '{"cells": [{"cell_type": "code", "source": [1, {}]}]}',
    '{"cells": [{"cell_type": "code", "source": {}}]}',
    '{"cells": 1}',
    '{"cells": [{"cell_type": "code", "source": ["import timm\\n", "timm.create_model(\\"resnet18\\")"]}]}',
    "a = 0x" + "f" * 5000,
    "a." * 50 + "b = 1",
    "[tool]\nx = 'resnet18'\n",
)
SUFFIXES = (".py", ".ipynb", ".yaml", ".yml", ".toml", ".json", "", ".txt")


def uses_or_none(paths):
    """What a project uses, or an empty list for one that is not there."""
    try:
        found = uses(paths, NAMES)
    except FileNotFoundError:
        return []
    for place in (*found.found, *found.not_understood):
        assert len(str(place)) < 8000
    return found


@fuzzed
@given(
    parts=st.lists(st.sampled_from(PROJECT) | texts, max_size=5),
    ends=st.binary(max_size=4),
    suffix=st.sampled_from(SUFFIXES),
)
def any_project(folder, parts, ends, suffix):
    file = folder / f"a{suffix}"
    file.write_bytes("".join(parts).encode() + ends)
    tried["files of projects"] += 1
    found = uses_or_none([file])
    assert found.files == 1
    assert set(found.models()) <= NAMES
    tried["files of projects that name models"] += bool(found.found)
    file.unlink()


def test_files_of_expectations_are_used_or_refused(tmp_path):
    any_expectations(tmp_path / "expected.toml")
    assert tried["files of expectations that can be used"] > 0


def test_what_is_accepted_of_a_hostile_run_means_that_and_nothing_else(tmp_path):
    any_declaring(tmp_path / "expected.toml")
    assert tried["files of expectations that grew"] > 0


def test_a_projects_table_is_understood_or_refused(tmp_path):
    any_configuration(tmp_path)


def test_files_of_a_project_are_read_or_listed_and_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    any_project(tmp_path)
    assert tried["files of projects that name models"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_dotted_key_cannot_fill_the_memory(tmp_path):
    for key in ("a." * 50_000 + "b", '"\\"".' * 50_000 + "b", "'a' . " * 50_000 + "b"):
        for text in (f"{key} = 1\n", f"[{key}]\n", f"x = {{ {key} = 1 }}\n"):
            with pytest.raises(ValueError, match="more than 32 parts"):
                files.toml(text)
    assert files.toml("a." * 20 + "b = 1")


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "circle", "folder", "nothing", "large", "latin"])
@pytest.mark.parametrize("what", ["expectations", "project", "configuration", "changes"])
def test_what_is_no_file_of_bearable_size_is_refused(tmp_path, kind, what):
    name = {"expectations": "a.toml", "project": "a.yaml", "configuration": "pyproject.toml", "changes": "a.json"}[what]
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(300_000_000)  # of which the disk keeps nothing
    elif kind == "latin":
        path.write_bytes("reason = 'é'".encode("latin-1"))
    elif kind == "/dev/zero":
        path.symlink_to(kind)
    if what == "expectations":
        assert loaded(path) is None
    elif what == "configuration":
        if kind in ("large", "latin"):
            with pytest.raises(BrokenConfiguration):
                configuration(tmp_path)
        else:  # as if it were not there
            assert configuration(tmp_path) == configuration(tmp_path.parent)
    elif what == "changes":
        from conformance.report.changes_machine import NoChanges, read_changes

        with pytest.raises(NoChanges) as caught:
            read_changes(path)
        assert_one_sentence(str(caught.value))
    elif kind in ("circle", "nothing"):
        with pytest.raises(FileNotFoundError):
            uses([path], NAMES)
    else:
        found = uses([path], NAMES)
        assert found.found == []
        assert len(found.not_understood) == (kind != "folder")


def test_a_project_with_traps_is_walked_through_once(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "circle").symlink_to(tmp_path)
    (inner / "itself.py").symlink_to(inner / "itself.py")
    os.mkfifo(inner / "pipe.py")
    (inner / "endless.yaml").symlink_to("/dev/zero")
    (inner / "away.yaml").symlink_to("/etc/passwd")
    (inner / "\x1b[31m\n.py").write_text("import timm\ntimm.create_model(x)")
    (inner / "good.py").write_text("import timm\ntimm.create_model('resnet18')")
    found = uses([tmp_path], NAMES)
    assert found.models() == ["resnet18"]
    assert len([use for use in found.found if use.model == "resnet18"]) == 1


def test_aliases_of_yaml_are_looked_at_once_and_not_expanded(tmp_path):
    lines = ["a0: &a0 [resnet18]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    found = uses([tmp_path], NAMES)
    assert [use.model for use in found.found] == ["resnet18"]


def test_lines_are_found_in_one_pass_however_many_models_a_file_names(tmp_path, monkeypatch):
    words = [f"resnet18.tag{number}" for number in range(60_000)]
    random.Random(1).shuffle(words)
    (tmp_path / "a.json").write_text(json.dumps(words, indent=0))
    found = uses([tmp_path], NAMES)
    assert [(use.tag, use.line) for use in found.found[:2]] == [(words[0][9:], 2), (words[1][9:], 3)]
    assert len(found.found) == len(words)


def test_a_link_that_lies_where_a_file_is_to_be_written_leads_nowhere(tmp_path, monkeypatch):
    from conformance.arguments import write_whole

    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".out.{os.getpid()}.part").symlink_to(victim)
    write_whole(tmp_path / "out", b"report")
    assert victim.read_text() == "mine"
    assert (tmp_path / "out").read_bytes() == b"report"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "victim"]


# As they are typed


HOSTILE_NAME = "\x1b]0;owned\x07\x1b[31m\u202e::error::x"


def test_what_commands_say_of_hostile_files_steers_no_terminal(tmp_path):
    from conformance.record import Cell, Evidence, Record
    from tests.hostile.test_reports import write
    from tests.report.synthetic import entries as claims_of
    from tests.report.synthetic import finished

    cell = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=f"{HOSTILE_NAME}\n0 cells as declared")
    run = finished([Record(model=HOSTILE_NAME, cells={"scripts": cell})], claims_of(["scripts"]))
    write(run, tmp_path / "run.jsonl")
    write(run, tmp_path / f"{HOSTILE_NAME}.jsonl")
    (tmp_path / "mine.toml").write_text(
        '[[expect]]\nmodels = "*"\nclaim = "scripts"\nverdict = "undecided"\nreason = "x"\n'
    )
    (tmp_path / f"{HOSTILE_NAME}.py").write_text("import timm\ntimm.create_model(x)\ntimm.create_model('resnet18')")
    for words in (
        ["expectations", "check", "mine.toml", "--from", "run.jsonl"],
        ["expectations", "prune", "mine.toml", "--from", "run.jsonl"],
        ["expectations", "update", "fresh.toml", "--from", "run.jsonl"],
        ["show", HOSTILE_NAME, "--from", "run.jsonl"],
        ["show", HOSTILE_NAME, "--from", "run.jsonl", "--claim", "scripts"],
        ["report", f"{HOSTILE_NAME}.jsonl"],
        ["gate", "--baseline", "run.jsonl", "--candidate", "run.jsonl", "--models-from", f"{HOSTILE_NAME}.py"],
        ["gate", "--baseline", "run.jsonl", "--candidate", "run.jsonl", "--expectations", HOSTILE_NAME],
        ["merge", f"{HOSTILE_NAME}.jsonl", "--output", "whole.jsonl"],
    ):
        ended = command(*words, cwd=tmp_path)
        assert ended.returncode in (0, 1, 2), ended
        assert "Traceback" not in ended.stderr
        assert ended.stdout + ended.stderr
        assert_a_terminal_is_safe(ended.stdout)
        assert_a_terminal_is_safe(ended.stderr)
    assert load(tmp_path / "fresh.toml").entries[0].matches(HOSTILE_NAME)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report", "circle.jsonl"], "cannot be read"),
        (["merge", "circle.jsonl", "circle.jsonl", "--output", "x.jsonl"], "named twice"),
        (["report", "run.jsonl", "--output", "a" * 5000], "longer than a file's name can be"),
        (["report", "pipe.jsonl"], "it is a pipe or a device"),
        (["report", "pipe.json", "--output", "-"], "it is a pipe or a device"),
        (["gate", "--baseline", "/dev/zero", "--candidate", "run.jsonl"], "it is a pipe or a device"),
        (
            ["gate", "--baseline", "run.jsonl", "--candidate", "run.jsonl", "--models-from", "a" * 300],
            "neither a file nor",
        ),
        (
            ["gate", "--baseline", "run.jsonl", "--candidate", "run.jsonl", "--models-from", "pipe.jsonl"],
            "no model is named",
        ),
        (
            ["gate", "--baseline", "run.jsonl", "--candidate", "run.jsonl", "--expectations", "/dev/zero"],
            "cannot be read",
        ),
        (["expectations", "check", "pipe.json"], "it is a pipe or a device"),
        (["expectations", "check", "run.jsonl"], "is not TOML"),
    ],
)
def test_commands_refuse_what_is_no_file_in_one_sentence(recorded, words, said):
    (recorded / "circle.jsonl").symlink_to("circle.jsonl")
    os.mkfifo(recorded / "pipe.jsonl")
    os.mkfifo(recorded / "pipe.json")
    ended = command(*words, cwd=recorded)
    assert said in ended.stderr
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert_one_sentence(ended.stderr.splitlines()[-1])
    assert {path.name for path in Path(recorded).iterdir()} == {"run.jsonl", "circle.jsonl", "pipe.jsonl", "pipe.json"}
