"""Models whose names, classes, attributes and exceptions are attacks, in a real audit: their verdicts are written,
shown and read like others, and those of a lawful model beside them do not change.
"""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import msgspec
import pytest

from conformance.claims.raised import UNREADABLE, cell_of
from conformance.gate import Expectations, judge
from conformance.record import Verdict
from conformance.record_file import read_run
from conformance.report.formats import SUFFIXES, render
from tests.commands import ENVIRONMENT, command, complaint
from tests.hostile import oracles
from tests.hostile.attacks import assert_a_terminal_is_safe, assert_one_sentence, tried

MINIATURES = Path(__file__).parent.parent / "miniatures"
CLAIMS = ("builds", "forward_features_runs", "features_width", "head_composes")
CHOSEN = [word for claim in CLAIMS for word in ("--claim", claim)]


def audited(folder, *globs):
    ended = command(
        "audit",
        *globs,
        "--import",
        "hostile",
        *CHOSEN,
        "-n",
        "1",
        "--expectations",
        "none",
        "--output",
        "run.jsonl",
        cwd=folder,
    )
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    assert_a_terminal_is_safe(ended.stdout)
    assert_a_terminal_is_safe(ended.stderr)
    return read_run(folder / "run.jsonl")


def test_an_audit_of_hostile_models_writes_a_run_and_nothing_else(tmp_path):
    folder = tmp_path / "a" / "b" / "here"
    folder.mkdir(parents=True)
    shutil.copy(MINIATURES / "hostile.py", folder)
    run = audited(folder, "zz_*", "[-]zz_*")
    tried["hostile models, audited"] += len(run.records)
    verdicts = {record.model: {claim: cell.verdict for claim, cell in record.cells.items()} for record in run.records}
    assert len(verdicts) == 17
    assert set(verdicts["zz_calm"].values()) == {Verdict.HOLDS}
    assert verdicts["zz_named"] == verdicts["zz_shown"] == verdicts["zz_calm"]
    for name in ("zz_endless", "zz_unsayable", "zz_odd", "zz_long", "zz_surrogates", "zz_keys"):
        assert verdicts[name]["builds"] is Verdict.HOLDS
        assert verdicts[name]["forward_features_runs"] is Verdict.VIOLATED
    assert verdicts["zz_wide"]["features_width"] is Verdict.VIOLATED
    (named,) = (record for record in run.records if record.model == "zz_named")
    assert named.class_name == "</script>\x1b[31m\u202e|`"
    for form in SUFFIXES:
        content = render(run, form)
        if form == "html":
            oracles.assert_a_page_is_safe(content.decode())
        elif form == "markdown":
            oracles.assert_markdown_is_safe(content.decode())
        elif form == "junit":
            oracles.assert_junit_is_safe(content, len(verdicts) * len(CLAIMS))
        else:
            oracles.strictly(content)
    assert not judge(run, Expectations()).is_clean
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}
    assert left == {"a", "a/b", "a/b/here", "a/b/here/hostile.py", "a/b/here/run.jsonl"}


class Nested(Exception):
    def __init__(self, witness):
        super().__init__("x")
        self.witness = witness


def test_an_exception_that_cannot_be_read_is_a_violation_all_the_same():
    endless = {}
    endless["itself"] = endless
    cell = cell_of(Nested(endless))
    assert (cell.verdict, cell.cause) == (Verdict.VIOLATED, UNREADABLE)
    assert cell_of(Nested({"a": 1})).witness == {"a": 1}


@pytest.mark.parametrize("words", [["audit", "zz_*"], ["show", "zz_x"]])
def test_a_name_that_no_file_can_hold_is_refused_in_one_sentence(tmp_path, words):
    shutil.copy(MINIATURES / "hostile.py", tmp_path / "hostile.py")
    (tmp_path / "mine.py").write_text('import hostile\nhostile.register("zz_\\ud800", hostile.Calm)\n')
    said = complaint(command(*words, "--import", "mine", cwd=tmp_path))
    assert "which no file can hold; give it another name" in said
    assert not list(tmp_path.glob("*.jsonl*"))


def test_a_module_that_raises_what_cannot_be_said_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            class Unsayable(Exception):
                def __str__(self):
                    raise ValueError("\\x1b[31m")
            raise Unsayable
            """
        )
    )
    said = complaint(command("show", "resnet18", "--import", "mine", cwd=tmp_path))
    assert "cannot import 'mine' (Unsayable)" in said
    assert_one_sentence(said.rstrip("\n"))


def test_what_a_job_prints_is_no_command_of_its_runners(recorded, monkeypatch):
    from tests.report.synthetic import entries, finished, run_of, write

    run = run_of(3, entries(["builds"]))
    (entry,) = run.header.claims
    hostile = msgspec.structs.replace(entry, id="::error::forged", text="::error::forged ##[error]forged " + "x " * 60)
    records = [
        msgspec.structs.replace(record, model=f"::error::{record.model}", cells={hostile.id: record.cells[entry.id]})
        for record in run.records
    ]
    write(finished(records, (hostile,)), recorded / "run.jsonl")
    monkeypatch.setitem(ENVIRONMENT, "GITHUB_ACTIONS", "true")
    for words in (
        ["show", f"::error::{run.records[0].model}", "--from", "run.jsonl"],
        ["show", f"::error::{run.records[0].model}", "--from", "run.jsonl", "--claim", hostile.id],
        ["gate", "--baseline", "run.jsonl", "--candidate", "run.jsonl"],
    ):
        ended = command(*words, cwd=recorded)
        assert ended.returncode == 0, ended
        for line in (ended.stdout + ended.stderr).splitlines():
            assert not line.lstrip().startswith("::"), line
            assert "##[" not in line
    assert "forged" in command("show", f"::error::{run.records[0].model}", "--from", "run.jsonl", cwd=recorded).stdout
