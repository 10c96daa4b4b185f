"""The command line, as its users meet it: real processes, exit codes, one sentence for what could not be done."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from conformance import arguments
from conformance.arguments import CouldNotRun
from conformance.gate.compare import compare
from conformance.gate.expectations import Expectations
from conformance.record import Cell, Verdict, encode
from conformance.record_file import read_run
from conformance.report.changes_machine import changes_json
from tests.report.synthetic import before, one_cell, run_of, write
from tests.test_merging import WHOLE, shards

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}

BROKEN_MODEL = """
import timm.models, torch

class Proud(torch.nn.Module):
    def __init__(self):
        raise RuntimeError("too proud to be built")

def proud_net(pretrained=False, **kwargs):
    return Proud()

proud_net.__module__ = __name__
timm.models.register_model(proud_net)
"""

EXPECTED = """
[[expect]]
models = ["proud_net"]
claim = "builds"
verdict = "violated"
reason = "It is too proud."
"""


def command(*words, cwd, **options):
    return subprocess.run(
        [sys.executable, "-m", "conformance", *map(str, words)],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300, **options,
    )  # fmt: skip


def complaint(ended):
    """What a refused command said: one sentence on standard error and nothing else anywhere."""
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith("timm-conformance: ")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.fixture
def recorded(tmp_path):
    write(run_of(20), tmp_path / "run.jsonl")
    return tmp_path


@pytest.mark.parametrize("words", [["--help"], ["report", "--help"], ["audit", "--help"], ["--version"]])
def test_help_answers_without_importing_anything_heavy(tmp_path, words):
    code = (
        "import sys\nfrom conformance.cli import main\ntry: main()\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'timm', 'rich', 'jinja2', 'msgspec', 'pytest', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


@pytest.mark.parametrize("words", [["show", "resnet18"], ["audit", "resnet18"]])
def test_a_claim_whose_extra_is_not_installed_is_refused_and_the_extra_named(tmp_path, words):
    code = "import sys; sys.modules['onnxruntime'] = None; from conformance.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words, "--claim", "onnx_exports"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "onnx_exports needs onnxruntime; pip install 'timm-conformance[onnx]'" in complaint(ended)
    assert list(tmp_path.iterdir()) == []


def test_no_command_prints_help_and_is_an_error(tmp_path):
    ended = command(cwd=tmp_path)
    assert ended.returncode == 2
    assert "audit" in ended.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reprot"], "No such command 'reprot'"),
        (["report"], "Missing argument 'FILE'; see `timm-conformance report --help`"),
        (["audit", "--tires", "core"], "No such option: --tires"),
        (["audit", "--timeout", "soon"], "'--timeout'"),
        (["audit", "--tier", "cor"], "'cor' is no tier; did you mean 'core'?"),
        (["audit", "-n", "0"], "-n '0' is no number of workers"),
        (["audit", "--output", "nowhere/run.jsonl"], "the directory 'nowhere' of 'run.jsonl' does not exist"),
        (["audit", "--output", "."], "'.' is a directory"),
        (["audit", "--expectations", "mine.toml"], "mine.toml: cannot be read"),
        (
            ["audit", "--import", "jsson"],
            "cannot import 'jsson' (ModuleNotFoundError: No module named 'jsson'); did you",
        ),
        (["show", "shvit_s1", "--from", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(tmp_path, words, sentence):
    assert sentence in complaint(command(*words, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["audit", "--claim", "buids"], "'buids' is no claim; did you mean 'builds'?"),
        (["audit", "shvit_s1", "xyz_s11*"], "'xyz_s11*' matches no model of this timm"),
        (["audit", "resnet18.a1_in1k"], "'resnet18.a1_in1k' is no model of this timm; did you mean 'resnet18'?"),
        (["show", "shvit_s11"], "'shvit_s11' is no model of this timm; did you mean 'shvit_s1'?"),
        (["show", "shvit_s1", "--claim", "buids"], "did you mean 'builds'?"),
    ],
)
def test_names_that_do_not_exist_are_refused_with_the_nearest_one(tmp_path, words, sentence):
    assert sentence in complaint(command(*words, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_fails_while_it_is_imported_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "mine.py").write_text("raise ZeroDivisionError('one\\ntwo')")
    assert "cannot import 'mine' (ZeroDivisionError: one two)" in complaint(
        command("audit", "--import", "mine", cwd=tmp_path)
    )
    (tmp_path / "mine.py").write_text("raise SystemExit(0)")
    assert "cannot import 'mine' (SystemExit: 0)" in complaint(command("audit", "--import", "mine", cwd=tmp_path))


def test_expectations_of_claims_that_do_not_exist_are_refused_before_the_work(tmp_path):
    (tmp_path / "mine.toml").write_text(EXPECTED.replace('"builds"', '"buids"'))
    ended = command("audit", "shvit_s1", "--expectations", "mine.toml", cwd=tmp_path)
    assert "mine.toml, entry 1 (proud_net) speaks of the unknown claim 'buids'; did you mean 'builds'?" in complaint(
        ended
    )
    (tmp_path / "mine.toml").write_text(EXPECTED.replace("proud_net", "*") + EXPECTED.replace("violated", "undecided")
                                        .replace("proud_net", "shvit_*"))  # fmt: skip
    ended = command("audit", "shvit_s1", "--expectations", "mine.toml", cwd=tmp_path)
    assert "expects builds of shvit_s1 to be violated" in complaint(ended)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


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


@pytest.mark.parametrize("word", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/2/3", "1.0/3"])
def test_a_shard_that_there_cannot_be_is_refused(recorded, word):
    assert "is no part of a whole" in complaint(command("audit", "--shard", word, cwd=recorded))


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


def test_show_reads_one_model_from_a_file(recorded):
    record = run_of(20).records[3]
    ended = command("show", record.model, "--from", "run.jsonl", cwd=recorded)
    assert ended.returncode == 0
    assert all(claim in ended.stdout for claim in record.cells)
    ended = command("show", record.model, "--claim", "scripts", "--from", "run.jsonl", cwd=recorded)
    assert "scripts" in ended.stdout
    assert "builds (must)" not in ended.stdout
    said = complaint(command("show", record.model[:-1], "--from", "run.jsonl", cwd=recorded))
    assert f"did you mean {record.model!r}?" in said
    said = complaint(command("show", record.model, "--claim", "script", "--from", "run.jsonl", cwd=recorded))
    assert "did you mean 'scripts'?" in said


def test_show_exits_0_whatever_the_verdict(tmp_path):
    write(one_cell(Cell(verdict=Verdict.UNDECIDED, reason="who knows")), tmp_path / "run.jsonl")
    ended = command("show", "shvit_s1", "--from", "run.jsonl", cwd=tmp_path)
    assert ended.returncode == 0
    assert "? undecided" in ended.stdout


@pytest.mark.parametrize(
    "words", [["report", "run.jsonl", "--output", "x.html"], ["show", "MODEL", "--from", "run.jsonl"]]
)
def test_reading_records_imports_neither_torch_nor_timm(recorded, words):
    words = [run_of(20).records[0].model if word == "MODEL" else word for word in words]
    code = (
        "import sys\nfrom conformance.cli import main\ntry: main()\nexcept SystemExit as end: assert not end.code\n"
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *words], cwd=recorded, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_terminal_without_the_signs_gets_their_names(recorded):
    options = {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}
    model = run_of(20).records[0].model
    ended = subprocess.run(
        [sys.executable, "-m", "conformance", "show", model, "--from", "run.jsonl"],
        cwd=recorded, env=options, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "holds (proved)" in ended.stdout


def test_the_contract_is_listed(tmp_path):
    ended = command("claims", cwd=tmp_path)
    assert ended.returncode == 0
    assert "classifier_consistent" in ended.stdout
    assert "Source: " in ended.stdout


def test_an_audit_that_finds_nothing_writes_records_says_so_and_exits_0(tmp_path):
    ended = command("audit", "shvit_s1", "--claim", "builds", "-n", "1", "--output", "run.jsonl", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Nothing unexpected" in ended.stdout
    assert "timm-conformance report run.jsonl" in ended.stdout
    assert [record.model for record in read_run(tmp_path / "run.jsonl").records] == ["shvit_s1"]


def test_an_audit_of_a_private_model_exits_1_for_what_is_found_and_0_if_it_was_expected(tmp_path):
    (tmp_path / "mine.py").write_text(BROKEN_MODEL)
    (tmp_path / "mine.toml").write_text(EXPECTED)
    words = ["audit", "proud_net", "--import", "mine", "--claim", "builds", "-n", "1", "--output", "run.jsonl"]
    ended = command(*words, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "Not expected: 1" in ended.stdout
    assert "too proud to be built" in ended.stdout
    ended = command(*words, "--expectations", "mine.toml", cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "1 cell as declared" in ended.stdout


def test_an_interrupted_audit_exits_130_and_keeps_what_was_decided(tmp_path):
    words = [
        sys.executable,
        "-m",
        "conformance",
        "audit",
        "vit_*",
        "--claim",
        "builds",
        "-n",
        "1",
        "--output",
        "run.jsonl",
    ]
    audit = subprocess.Popen(words, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    partial = tmp_path / "run.jsonl.partial"
    give_up = time.monotonic() + 120
    while not (partial.exists() and partial.read_bytes().count(b"\n") > 2) and time.monotonic() < give_up:
        assert audit.poll() is None, audit.communicate()
        time.sleep(0.1)
    audit.send_signal(signal.SIGINT)
    _, said = audit.communicate(timeout=120)
    assert audit.returncode == 130, said
    assert b"Traceback" not in said
    assert partial.read_bytes().count(b'"kind":"record"') >= 1
    assert not (tmp_path / "run.jsonl").exists()


def test_globs_choose_names_once_and_in_the_order_of_the_list():
    names = ["a_1", "a_2", "b_1"]
    assert arguments.matching(["b*", "*_1", "a_1"], names) == ["a_1", "b_1"]
    with pytest.raises(CouldNotRun, match=r"'A_1' is no model of this timm; did you mean 'a_1'\?"):
        arguments.matching(["A_1"], names)


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "many", "", "٣"])
def test_only_whole_numbers_and_auto_count_workers(word):
    assert arguments.workers_called("auto") == "auto"
    assert arguments.workers_called("12") == 12
    with pytest.raises(CouldNotRun, match="give 1 or more, or auto"):
        arguments.workers_called(word)


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CouldNotRun, match="No space left on device"):
        arguments.write_whole(target, b"new content")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
