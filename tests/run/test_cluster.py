"""Audits on a cluster of Ray give what local ones give, whatever is lost on the way. Real clusters of this machine."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import conformance
from conformance.record_file import read_run
from conformance.run import ray_cluster
from conformance.run.ray_cluster import NoCluster
from tests.commands import complaint
from tests.run.conftest import environment, lines, without_what_varies

CLAIMS = ("--claim=builds", "--claim=forward_features_runs", "--claim=head_composes")
MODELS = ("test_vit*", "test_res*", "test_eff*", "lawful_tiny_*", "dying_segfault_in_forward")
CHOICE = (*MODELS, *CLAIMS, "--import=dying", "--expectations=none", "--timeout=60", "-n2")
LOCAL = ("--cluster=local",)


class Audit:
    """`timm-conformance audit` in a process of its own."""

    def __init__(self, directory, *words, **environ):
        self.output = directory / "run.jsonl"
        self.partial = directory / "run.jsonl.partial"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conformance", "audit", *words, f"--output={self.output}"],
            cwd=directory,
            env=environment(TMPDIR=str(directory), **environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self, timeout=300):
        self.said = self.process.communicate(timeout=timeout)[0]
        return self.process.returncode

    def wait_for_records(self, wanted, timeout=120):
        deadline = time.monotonic() + timeout
        while not (self.partial.exists() and self.partial.read_bytes().count(b'"kind":"record"') >= wanted):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def processes_of_ray(self):
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in family if "".join(one.cmdline()[:1]).startswith("ray::decided")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The lines of a local audit, without what varies."""
    audit = Audit(tmp_path_factory.mktemp("local"), *CHOICE)
    assert audit.wait() == 1, audit.said  # a segmentation fault is a violation
    return without_what_varies(audit.output)


def test_a_cluster_writes_what_a_local_audit_writes_though_a_process_is_killed(tmp_path, undisturbed):
    audit = Audit(tmp_path, *CHOICE, *LOCAL)
    audit.wait_for_records(1)
    victim, *_ = audit.processes_of_ray()
    victim.kill()
    assert audit.wait() == 1, audit.said
    assert "again: " in audit.said
    assert "its process was killed" in audit.said
    assert without_what_varies(audit.output) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


def deciding(audit):
    """All processes below an audit but agents of Ray, which take a minute to see that they are alone."""
    family = psutil.Process(audit.process.pid).children(recursive=True)
    return [one for one in family if not "".join(one.cmdline()[:1]).endswith("Agent")]


def test_audits_that_were_killed_are_resumed_to_the_same_bytes(tmp_path, undisturbed):
    for resume in ((), ("--resume",)):
        audit = Audit(tmp_path, *CHOICE, *LOCAL, *resume, DYING_SECONDS="60")
        audit.wait_for_records(3 if resume else 2)
        family = deciding(audit)
        audit.process.kill()
        audit.wait()
        assert psutil.wait_procs(family, timeout=30)[1] == [], "killing the audit leaves nobody behind"
    decided = audit.partial.read_bytes().count(b'"kind":"record"')
    audit = Audit(tmp_path, *CHOICE, *LOCAL, "--resume")
    assert audit.wait() == 1, audit.said
    assert f"{decided} models decided before" in audit.said
    assert without_what_varies(audit.output) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_model_that_takes_its_process_with_it_is_left_alone_and_says_so(tmp_path):
    audit = Audit(tmp_path, "lawful_tiny_a", "unlucky_*", "wide_tiny", *CLAIMS, "--import=dying", *LOCAL, "-n1")
    assert audit.wait() == 1, audit.said
    assert audit.said.count("again: unlucky_on_a_cluster") == 3
    records = {record.model: record for record in read_run(audit.output).records}
    assert {cell.verdict for name in ("lawful_tiny_a", "wide_tiny") for cell in records[name].cells.values()} == {
        "holds"
    }
    for cell in records["unlucky_on_a_cluster"].cells.values():
        assert cell.verdict == "undecided"
        assert "lost 3 times, at last alone: its process was killed" in cell.reason


def test_ctrl_c_keeps_what_was_decided_and_leaves_nobody_behind(tmp_path):
    audit = Audit(tmp_path, *CHOICE, *LOCAL, DYING_SECONDS="60")
    audit.wait_for_records(2)
    family = deciding(audit)
    audit.process.send_signal(signal.SIGINT)
    assert audit.wait(timeout=60) == 130, audit.said
    assert "interrupted" in audit.said
    assert "Traceback" not in audit.said
    assert psutil.wait_procs(family, timeout=30)[1] == []
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl.partial"]


def test_two_releases_are_decided_together(tmp_path):
    words = ("audit", "test_vit", "test_resnet", "--claim=builds", "--timm=1.0.28", "--timm=1.0.31", *LOCAL)
    ended = subprocess.run(
        [sys.executable, "-m", "conformance", *words, "--output=runs"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    runs = {path.name: read_run(path) for path in (tmp_path / "runs").iterdir()}
    assert {name: run.header.timm for name, run in runs.items()} == {
        "timm-1.0.28.jsonl": "1.0.28",
        "timm-1.0.31.jsonl": "1.0.31",
    }
    assert all(len(run.records) == 2 for run in runs.values())


@contextmanager
def running_cluster(directory, **environ):
    """A cluster that runs before an audit begins and goes on after it; gives its address."""
    port = 20_000 + psutil.Process().pid % 10_000
    ray = Path(sys.executable).with_name("ray")
    options = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={directory}", "--block"]
    head = subprocess.Popen(
        [ray, "start", "--head", *options],
        env=environment(**{"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": ""} | environ),  # modules come with the audit
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    family = []
    try:
        deadline = time.monotonic() + 60
        while not list(directory.glob("session_latest/sockets/raylet*")):
            assert head.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        family = [head, *psutil.Process(head.pid).children(recursive=True)]
        for process in family:
            process.kill()
        head.wait()


@pytest.fixture
def short_directory(tmp_path_factory):
    """Sockets lie in it, whose paths must be short."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as directory:
        yield Path(directory)


def test_a_running_cluster_is_joined_and_left_running(tmp_path, short_directory, undisturbed):
    with running_cluster(short_directory) as address:
        audit = Audit(tmp_path, *CHOICE, f"--cluster={address}")
        assert audit.wait() == 1, audit.said
        assert without_what_varies(audit.output) == undisturbed
        assert list(short_directory.glob("session_latest/sockets/raylet*"))


def test_a_cluster_with_another_suite_is_refused_and_nothing_written(tmp_path, short_directory):
    other = tmp_path / "other"
    shutil.copytree(Path(conformance.__file__).parent, other / "conformance")
    with (other / "conformance" / "claims" / "head.py").open("a") as file:
        file.write("\n# another\n")
    here = tmp_path / "here"
    here.mkdir()
    with running_cluster(short_directory, PYTHONPATH=str(other)) as address:
        audit = Audit(here, "test_vit", f"--cluster={address}")
        assert audit.wait() == 2
    assert "has other files of timm-conformance" in audit.said
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", "'127.0.0.1:1' does not answer (Connection refused); see that `ray start --head` runs there"),
        ("nowhere", "'nowhere' is no address; give HOST:PORT of the head, auto, or local"),
        ("host:port", "'host:port' is no address"),
        ("ray://127.0.0.1:10001", "is an address of Ray Client, which cannot carry this"),
        ("auto", "'auto' cannot be joined (ConnectionError: Could not find any running Ray instance"),
    ],
)
def test_a_cluster_that_is_not_there_is_refused_at_once(tmp_path, address, words):
    audit = Audit(tmp_path, "test_vit", f"--cluster={address}")
    assert audit.wait(timeout=60) == 2
    assert words in audit.said
    assert audit.said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_what_listens_and_is_no_cluster_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "_PATIENCE_WITH_RAY", 8.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(NoCluster, match="does not answer as Ray does"),
        ray_cluster.joined(f"127.0.0.1:{server.getsockname()[1]}", "auto", ()),
    ):
        pytest.fail("joined")


def test_a_head_that_is_lost_is_told_and_what_was_decided_is_kept(tmp_path, short_directory):
    with running_cluster(short_directory) as address:
        audit = Audit(tmp_path, *CHOICE, f"--cluster={address}", DYING_SECONDS="60")
        audit.wait_for_records(1)
    assert audit.wait(timeout=120) == 2, audit.said
    assert "answers no more; go on with --resume" in audit.said
    assert "Traceback" not in audit.said
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl.partial"]


def test_without_ray_the_extra_is_named(tmp_path):
    code = "import sys; sys.modules['ray'] = None; from conformance.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "audit", "test_vit", "--cluster", "local"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "--cluster needs Ray; pip install 'timm-conformance[ray]'" in complaint(ended)
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_of_another_run_is_refused_and_kept(tmp_path, undisturbed):
    partial = tmp_path / "run.jsonl.partial"
    partial.write_text("\n".join(undisturbed[:2]).replace('"suite"', '"started": "then", "suite"') + "\n")
    before = partial.read_bytes()
    for more, words in (((), "go on with it by --resume"), (("--resume",), "is of another run")):
        audit = Audit(tmp_path, "test_vit", "--claim=builds", *LOCAL, *more)
        assert audit.wait() == 2
        assert words in audit.said
        assert partial.read_bytes() == before
    assert lines(partial)
