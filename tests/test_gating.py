"""`gate`, `expectations` and the project's own table, as a user types them. None of it needs torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import msgspec
import pytest

from conformance.configuration import BrokenConfiguration, configuration
from conformance.record import Cell, Evidence, Record, Verdict, encode
from tests.report.synthetic import entries, finished, write

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "CI"}
HOLDS = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
VIOLATED = Cell(verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason="it raises", cause="c1")
CLAIMS = entries(["forward_features_runs", "pre_logits_supported", "scripts"])


def record(model, *, digest="a", **cells):
    given = dict.fromkeys((entry.id for entry in CLAIMS), HOLDS) | cells
    fingerprints = {name: f"{digest} {name}" for name in ("features", "pre_logits", "logits")}
    return Record(model=model, fingerprints=fingerprints, cells=given)


@pytest.fixture
def project(tmp_path):
    """Two runs: of one model a claim broke, another computes otherwise."""
    write(finished([record("net_a"), record("net_b"), record("net_c")], CLAIMS), tmp_path / "before.jsonl")
    after = [record("net_a"), record("net_b", scripts=VIOLATED), record("net_c", digest="x")]
    write(finished(after, CLAIMS), tmp_path / "after.jsonl")
    return tmp_path


def command(*words, cwd, **variables):
    return subprocess.run(
        [sys.executable, "-m", "conformance", *map(str, words)],
        cwd=cwd, env=ENVIRONMENT | variables, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def gate(project, *words, **variables):
    return command("gate", "--baseline", "before.jsonl", "--candidate", "after.jsonl", *words, cwd=project, **variables)


def complaint(ended):
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_gate_opens_for_what_did_not_change_and_closes_for_what_did(project):
    assert gate(project, "net_a").returncode == 0
    closed = gate(project)
    assert closed.returncode == 1
    assert "✗ broken  net_b" in closed.stdout
    assert "? undecided  net_c" in closed.stdout
    assert gate(project, "net_c", "--fail-on", "broken,drifted").returncode == 0


def test_a_run_compared_with_itself_is_clean(project):
    ended = command("gate", "--baseline", "after.jsonl", "--candidate", "after.jsonl", cwd=project)
    assert ended.returncode == 0, ended.stdout


def test_what_is_expected_opens_the_gate(project):
    words = ("net_b", "--claim", "scripts", "--verdict", "violated", "--timm", "1.0.31", "--reason", "Known.")
    assert command("expectations", "update", "mine.toml", *words, cwd=project).returncode == 0
    words = ("net_c", "--change", "undecided", "--timm", "1.0.31", "--reason", "Done anew.")
    assert command("expectations", "update", "mine.toml", *words, cwd=project).returncode == 0
    assert gate(project, "--expectations", "mine.toml").returncode == 0
    assert gate(project, "--expectations", "none").returncode == 1


@pytest.mark.parametrize("form", ["markdown", "json", "github", "junit"])
def test_every_format_can_be_written_to_a_file(project, form):
    assert gate(project, "--format", form, "--output", "out").returncode == 1
    written = (project / "out").read_text()
    assert "net_b" in written
    if form == "json":
        assert json.loads(written)["fails"] is True


def test_changes_that_were_written_as_json_are_told_again_in_another_format(project):
    gate(project, "--format", "json", "--output", "changes.json")
    told = command("report", "changes.json", "--format", "markdown", "--output", "-", cwd=project)
    assert told.returncode == 0
    assert "**✗ broken** net_b" in told.stdout
    assert "is not what `upgrade --format json` writes" in complaint(
        command("report", "pyproject.json", cwd=_with(project, "pyproject.json", "{}"))
    )


def test_a_baseline_of_another_schema_is_compared_by_claims(project):
    made = finished([record("net_b")], CLAIMS)
    header = json.loads(encode(made.header)) | {"schema": 2, "colour": "blue"}
    lines = [json.dumps(header).encode() + b"\n", *map(encode, (*made.records, made.footer))]
    (project / "before.jsonl").write_bytes(b"".join(lines))
    closed = gate(project, "net_b")
    assert closed.returncode == 1
    assert "the runs are of schema 2 and 1, so fingerprints are not compared" in closed.stdout
    assert "✗ broken  net_b" in closed.stdout


def _with(project, name, text):
    (project / name).write_text(text)
    return project


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-on", "brokken"], "'brokken' is no kind of finding; did you mean 'broken'?"),
        (["--fail-on", ","], "--fail-on names nothing"),
        (["--format", "pdf"], "'pdf' is no format"),
        (["net_z"], "'net_z' is no model of this timm; did you mean"),
        (["--models-from", "absent"], "'absent' is neither a file nor a directory"),
        (["--output", "absent/out"], "the directory 'absent' of 'out' does not exist"),
        (["--expectations", "absent.toml"], "absent.toml: cannot be read"),
    ],
)
def test_what_cannot_be_gated_is_refused_in_one_sentence(project, words, said):
    assert said in complaint(gate(project, *words))


def test_a_cut_baseline_is_refused_by_name(project):
    content = (project / "before.jsonl").read_bytes()
    (project / "before.jsonl").write_bytes(content[: len(content) // 2])
    assert "before.jsonl: " in complaint(gate(project))


def test_models_are_found_in_code_and_what_is_not_understood_is_listed(project):
    source = _with(project, "train.py", "import timm\ntimm.create_model('net_b')\ntimm.create_model(name)\n")
    closed = gate(source, "--models-from", "train.py")
    assert closed.returncode == 1
    assert "1 model" in closed.stdout.splitlines()[0]
    assert "not understood: train.py:3: the model's name is `name`" in closed.stderr
    assert "1 place was not understood" in closed.stdout


def test_code_that_names_no_model_is_refused(project):
    assert "no model is named in empty.py" in complaint_last(
        gate(_with(project, "empty.py", "x = 1\n"), "--models-from", "empty.py")
    )


def complaint_last(ended):
    assert ended.returncode == 2
    assert ended.stdout == ""
    return ended.stderr.splitlines()[-1]


# The project's table


def test_a_project_says_once_what_it_uses(project):
    (project / "src").mkdir()
    (project / "src" / "train.py").write_text("import timm\ntimm.create_model('net_b')\n")
    (project / "pyproject.toml").write_text(
        '[tool.timm-conformance]\nmodels-from = ["src"]\nfail-on = ["drifted", "state-dict"]\n'
    )
    assert gate(project).returncode == 0
    assert gate(project, "--fail-on", "broken").returncode == 1
    assert gate(project, "net_c", "--fail-on", "broken").returncode == 0  # what is typed takes its place


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("modells = ['a']", "has the unknown key 'modells'; did you mean 'models'?"),
        ("models = 3", "`models` of"),
        ("models = [", "cannot be read"),
        ("expectations = ['a', 'b']", "names several files"),
        ("models = " + "[" * 3000 + "]" * 3000, "cannot be read"),
    ],
)
def test_a_table_with_a_fault_is_refused_in_one_sentence(project, table, said):
    assert said in complaint(gate(_with(project, "pyproject.toml", f"[tool.timm-conformance]\n{table}\n")))


@pytest.mark.parametrize(
    "text", ["tool = 3\n", "[tool]\ntimm-conformance = 5\n", "[tool]\ntimm-conformance = ['models']\n"]
)
def test_a_table_that_is_none_is_refused_or_not_there(project, text):
    ended = gate(_with(project, "pyproject.toml", text), "net_a")
    if text.startswith("tool"):
        assert ended.returncode == 0
    else:
        assert "where a table was expected" in complaint(ended)


def test_what_ships_with_the_suite_is_not_what_a_user_accepts(tmp_path):
    model = "hrnet_w18_small"  # whose scripts is known to be violated in 1.0.31
    write(finished([record(model)], CLAIMS), tmp_path / "before.jsonl")
    write(finished([record(model, scripts=VIOLATED)], CLAIMS), tmp_path / "after.jsonl")
    assert gate(tmp_path).returncode == 1


def test_expectations_that_contradict_one_another_are_refused_in_one_sentence(project):
    entry = '[[expect]]\nmodels = "net_b"\nclaim = "scripts"\nverdict = "{}"\nreason = "r"\n'
    (project / "mine.toml").write_text(entry.format("violated") + entry.format("undecided"))
    said = complaint(gate(project, "--expectations", "mine.toml"))
    assert "narrow the models" in said


def test_the_commands_that_are_printed_name_the_files_and_modules_in_use(project):
    words = ["--change", "undecided", "--timm", "1.0.31", "--reason", "known"]
    assert command("expectations", "update", "own.toml", "net_z", *words, cwd=project).returncode == 0
    printed = gate(_with(project, "pyproject.toml", '[tool.timm-conformance]\nexpectations = "own.toml"\n')).stdout
    assert "timm-conformance expectations update own.toml net_c" in printed
    assert "counts with --expectations" not in printed
    printed = gate(_with(project, "pyproject.toml", '[tool.timm-conformance]\nimport = "my_nets"\n')).stdout
    assert "timm-conformance expectations update expectations.toml net_c" in printed
    assert "net_c --import my_nets" in printed
    assert "What is declared in expectations.toml counts with" in printed


def test_the_nearest_table_counts_and_paths_are_as_seen_from_it(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.timm-conformance]\nmodels-from = "src"\nexpectations = "mine.toml"\nimport = "mine"\n'
    )
    (tmp_path / "inner").mkdir()
    found = configuration(tmp_path / "inner")
    assert found.models_from == (tmp_path / "src",)
    assert found.expectations == str(tmp_path / "mine.toml")
    assert found.imports == ("mine",)
    (tmp_path / "inner" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert configuration(tmp_path / "inner").models_from == ()
    (tmp_path / "inner" / "pyproject.toml").write_text('[tool.timm-conformance]\nexpectations = "none"\n')
    assert configuration(tmp_path / "inner").expectations == "none"
    with pytest.raises(BrokenConfiguration):
        configuration(_with(tmp_path, "pyproject.toml", "[tool.timm-conformance]\nx = 1\n"))


# Expectations by command


def test_a_file_is_checked_against_a_run(project):
    _with(
        project, "mine.toml", '[[expect]]\nmodels = ["net_*"]\nclaim = "scripts"\nverdict = "violated"\nreason = "x"\n'
    )
    ended = command("expectations", "check", "mine.toml", "--from", "after.jsonl", cwd=project)
    assert ended.returncode == 1
    assert "1 cells as declared, 0 not expected, 2 entries stale" in ended.stdout
    assert command("expectations", "prune", "mine.toml", "--from", "after.jsonl", cwd=project).returncode == 0
    ended = command("expectations", "check", "mine.toml", "--from", "after.jsonl", cwd=project)
    assert (ended.returncode, "1 cells as declared, 0 not expected, 0" in ended.stdout) == (0, True)


def test_what_a_run_violates_is_accepted_by_command(project):
    words = ("expectations", "update", "mine.toml", "--from", "after.jsonl")
    assert command(*words, cwd=project).returncode == 0
    assert command("expectations", "check", "mine.toml", "--from", "after.jsonl", cwd=project).returncode == 0
    assert "nothing to add" in command(*words, cwd=project).stdout


def test_a_claim_that_does_not_exist_is_refused(project):
    (project / "mine.toml").write_text(
        '[[expect]]\nmodels = "net_b"\nclaim = "head_compose"\nverdict = "violated"\nreason = "r"\n'
    )
    assert "did you mean 'head_composes'?" in complaint(command("expectations", "check", "mine.toml", cwd=project))
    words = ["net_b", "--claim", "head_compose", "--verdict", "violated", "--timm", "1.0.31", "--reason", "r"]
    assert "'head_compose' is no claim" in complaint(command("expectations", "update", "a.toml", *words, cwd=project))
    assert not (project / "a.toml").exists()


@pytest.mark.parametrize("verb", ["update", "prune"])
def test_a_job_accepts_nothing(project, verb):
    (project / "mine.toml").write_text("")
    said = complaint(command("expectations", verb, "mine.toml", "--from", "after.jsonl", cwd=project, CI="true"))
    assert "CI is set" in said
    assert (project / "mine.toml").read_text() == ""


@pytest.mark.parametrize(
    "words",
    [
        ["update", "mine.toml"],
        ["update", "mine.toml", "net_a", "--change", "drifted", "--reason", "x"],
        ["update", "mine.toml", "net_a", "--change", "sunk", "--reason", "x", "--timm", "1"],
        ["update", "mine.toml", "net_a", "--claim", "scripts", "--reason", "x", "--timm", "1"],
        ["update", "mine.toml", "--from", "after.jsonl", "--change", "drifted"],
        ["check", "absent.toml"],
        ["prune", "absent.toml", "--from", "after.jsonl"],
    ],
)
def test_an_incomplete_command_about_expectations_is_refused_and_writes_nothing(project, words):
    complaint(command("expectations", *words, cwd=project))
    assert not (project / "mine.toml").exists()


def test_gating_records_imports_neither_torch_nor_timm(project):
    code = (
        "import sys\nfrom conformance.cli import main\ntry: main()\nexcept SystemExit as end: assert end.code == 1\n"
        "print([name for name in ('torch', 'timm', 'pytest') if name in sys.modules])"
    )
    words = ["gate", "--baseline", "before.jsonl", "--candidate", "after.jsonl", "--format", "github"]
    ended = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=project, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_other_versions_of_torch_are_told(project):
    made = finished([record("net_a")], CLAIMS)
    made = msgspec.structs.replace(made, header=msgspec.structs.replace(made.header, torch="2.13.0"))
    write(made, project / "before.jsonl")
    told = gate(project, "net_a")
    assert told.returncode == 1
    assert "torch 2.13.0 and 2.14.1" in told.stdout
