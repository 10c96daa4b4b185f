"""`report` and `merge` as a user types them: files in, files out, or one sentence and nothing written."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import msgspec
import pytest

from conformance.gate.compare import compare
from conformance.gate.expectations import Expectations
from conformance.record import encode
from conformance.record_file import read_run
from conformance.report.changes_machine import changes_json
from tests.commands import command, complaint
from tests.report.synthetic import before, run_of, write
from tests.test_merging import WHOLE, shards


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"not json\n", "line 1 is not JSON"),
        (b'{"kind":"header","schema":99}\n', "has schema 99 and this version reads schema 1"),
        (b"".join(map(encode, (run_of(2).header, *run_of(2).records))), "2 of 2 subjects and no footer"),
    ],
)
@pytest.mark.parametrize("words", [["report"], ["report", "--format", "json"], ["show", "m", "--from"]])
def test_a_broken_record_file_is_refused_and_nothing_is_written(tmp_path, content, sentence, words):
    (tmp_path / "run.jsonl").write_bytes(content)
    said = complaint(command(*words, "run.jsonl", cwd=tmp_path))
    assert said.startswith(f"timm-conformance: run.jsonl: {sentence}"[: len("timm-conformance: run.jsonl: ")])
    assert sentence in said
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


def test_the_page_goes_beside_the_file_and_replaces_an_old_one(recorded):
    (recorded / "run.html").write_text("old")
    ended = command("report", "run.jsonl", cwd=recorded)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "run.html\n", "")
    assert "which models keep the contract" in (recorded / "run.html").read_text()
    (recorded / "other.jsonl.gz").write_bytes(gzip.compress((recorded / "run.jsonl").read_bytes()))
    assert command("report", "other.jsonl.gz", cwd=recorded).stdout == "other.html\n"
    assert (recorded / "other.html").read_text() == (recorded / "run.html").read_text()
    assert sorted(path.name for path in recorded.iterdir()) == ["other.html", "other.jsonl.gz", "run.html", "run.jsonl"]


def test_markdown_and_json_go_to_standard_output_unless_a_file_is_named(recorded):
    ended = command("report", "run.jsonl", "--format", "markdown", cwd=recorded)
    assert ended.stdout.startswith("# ")
    ended = command("report", "run.jsonl", "--format", "json", cwd=recorded)
    assert len(json.loads(ended.stdout)["models"]) == 20
    assert command("report", "run.jsonl", "--output", "-", cwd=recorded).stdout.startswith("<!doctype html>")
    assert command("report", "run.jsonl", "--output", "it.json", cwd=recorded).stdout == "it.json\n"
    assert json.loads((recorded / "it.json").read_bytes()) == json.loads(ended.stdout)


def test_several_files_need_a_directory_and_all_or_none_are_rendered(recorded):
    write(run_of(3), recorded / "second.jsonl")
    (recorded / "out").mkdir()
    assert "no directory, and 2 files need one" in complaint(
        command("report", "run.jsonl", "second.jsonl", "--output", "x.html", cwd=recorded)
    )
    (recorded / "bad.jsonl").write_text("")
    complaint(command("report", "run.jsonl", "bad.jsonl", "--output", "out", cwd=recorded))
    assert list((recorded / "out").iterdir()) == []
    ended = command("report", "run.jsonl", "second.jsonl", "--output", "out", "--format", "markdown", cwd=recorded)
    assert ended.stdout == "out/run.md\nout/second.md\n"


def test_an_index_leads_to_the_pages_of_a_directory(recorded):
    older = run_of(3)
    older = msgspec.structs.replace(older, header=msgspec.structs.replace(older.header, timm="1.0.9"))
    write(older, recorded / "older.jsonl")
    (recorded / "out").mkdir(exist_ok=True)
    ended = command("report", "older.jsonl", "run.jsonl", "--output", "out", "--index", cwd=recorded)
    assert ended.stdout.splitlines()[-1] == str(Path("out", "index.html"))
    text = (recorded / "out" / "index.html").read_text()
    assert text.index('href="run.html"') < text.index('href="older.html"')
    assert "Content-Security-Policy" in text
    for words in (["--output", "x.html"], ["--output", "out", "--format", "json"], []):
        assert "--index leads to pages" in complaint(command("report", "run.jsonl", *words, "--index", cwd=recorded))
    write(older, recorded / "index.jsonl")
    (recorded / "fresh").mkdir()
    said = complaint(command("report", "index.jsonl", "run.jsonl", "--output", "fresh", "--index", cwd=recorded))
    assert "would be index.html itself" in said
    (recorded / "fresh" / "index.html").mkdir()
    assert "is a directory" in complaint(command("report", "run.jsonl", "--output", "fresh", "--index", cwd=recorded))
    assert [path.name for path in (recorded / "fresh").iterdir()] == ["index.html"]


def test_a_page_tells_what_changed_since_earlier_runs(recorded):
    write(before(run_of(6), "1.0.9"), recorded / "older.jsonl")
    write(run_of(6), recorded / "newer.jsonl")
    ended = command("report", "newer.jsonl", "--since", "older.jsonl", "--output", "since.html", cwd=recorded)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Since timm 1.0.9:" in (recorded / "since.html").read_text()
    (recorded / "out").mkdir(exist_ok=True)
    both = ["older.jsonl", "newer.jsonl"]
    command("report", *both, "--output", "out", "--since", both[0], "--since", both[1], cwd=recorded)
    assert "Since timm 1.0.9:" in (recorded / "out" / "newer.html").read_text()
    assert "Since timm" not in (recorded / "out" / "older.html").read_text()


def test_a_page_never_replaces_an_earlier_run_and_is_not_compared_with_itself(recorded):
    write(before(run_of(6), "1.0.9"), recorded / "older.jsonl")
    was = (recorded / "older.jsonl").read_bytes()
    said = complaint(command("report", "run.jsonl", "--since", "older.jsonl", "--output", "older.jsonl", cwd=recorded))
    assert "would be written over" in said
    assert (recorded / "older.jsonl").read_bytes() == was
    command("report", "run.jsonl", "--since", "run.jsonl", "--output", "alone.html", cwd=recorded)
    assert 'id="changes"' not in (recorded / "alone.html").read_text()


def test_what_an_upgrade_found_stands_in_for_an_earlier_run(recorded):
    run = run_of(6)
    write(run, recorded / "newer.jsonl")
    comparison = compare(before(run, "1.0.9"), run, Expectations())
    (recorded / "changes.json").write_bytes(changes_json(comparison))
    command("report", "newer.jsonl", "--since", "changes.json", "--output", "changes.html", cwd=recorded)
    assert "Since timm 1.0.9:" in (recorded / "changes.html").read_text()
    elsewhere = msgspec.structs.replace(comparison, after=comparison.before)
    (recorded / "elsewhere.json").write_bytes(changes_json(elsewhere))
    said = complaint(command("report", "newer.jsonl", "--since", "elsewhere.json", "--output", "no.html", cwd=recorded))
    assert "lead to timm 1.0.9" in said
    assert not (recorded / "no.html").exists()
    said = complaint(command("report", "newer.jsonl", "run.jsonl", "--since", "changes.json", cwd=recorded))
    assert "belongs to one page" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run.jsonl", "--since", "missing.jsonl"], "missing.jsonl"),
        (["run.jsonl", "--since", "run.jsonl", "--format", "json"], "--since is for pages, and json was asked for"),
        (["changes.json", "--since", "run.jsonl"], "--since is for pages of runs"),
        (["run.jsonl", "--since", "run.json"], "cannot be read"),
    ],
)
def test_earlier_runs_that_cannot_be_used_are_refused(recorded, words, said):
    assert said in complaint(command("report", *words, "--output", "no.html", cwd=recorded))
    assert not (recorded / "no.html").exists()


def test_shards_are_merged_and_a_hole_is_told(recorded):
    runs = shards(3)
    for name, run in runs.items():
        write(run, recorded / name)
    ended = command("merge", *runs, "--output", "merged.jsonl.gz", cwd=recorded)
    assert (ended.returncode, ended.stdout.strip()) == (0, "merged.jsonl.gz")
    assert read_run(recorded / "merged.jsonl.gz") == WHOLE
    names = list(runs)
    for words, said in (
        (names[:2], "shard 3/3 is missing"),
        ([*names, names[0]], "named twice"),
        (["run.jsonl", *names], "run.jsonl is no shard"),
        ([*names[:2], "missing.jsonl"], "missing.jsonl"),
    ):
        assert said in complaint(command("merge", *words, "--output", "no.jsonl", cwd=recorded))
    assert "would be written over" in complaint(command("merge", *names, "--output", names[0], cwd=recorded))
    assert read_run(recorded / names[0]) == runs[names[0]]
    assert not (recorded / "no.jsonl").exists()


def test_a_report_never_replaces_the_records_it_was_made_from(recorded):
    before = (recorded / "run.jsonl").read_bytes()
    assert "written over" in complaint(command("report", "run.jsonl", "--output", "run.jsonl", cwd=recorded))
    assert (recorded / "run.jsonl").read_bytes() == before


def test_an_unknown_format_is_refused_with_the_nearest_one(recorded):
    said = complaint(command("report", "run.jsonl", "--format", "htm", cwd=recorded))
    assert "'htm' is no format; did you mean 'html'?" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_refused(recorded):
    (recorded / "closed").mkdir(mode=0o500)
    assert "cannot be written" in complaint(command("report", "run.jsonl", "--output", "closed", cwd=recorded))
