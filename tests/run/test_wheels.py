"""Releases of timm beside the environment's: fetched once, checked at every use, and nothing half-written is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import pytest

from conformance.run import wheels
from conformance.run.wheels import INSTALLED, NoSuchRelease, release
from tests.run.releases import write_wheel


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A directory of wheels in place of an index, and a cache of our own."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv(wheels.CACHE, str(tmp_path / "cache"))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def left_in(cache):
    return sorted(path.name for path in cache.iterdir()) if cache.exists() else []


def test_a_release_is_fetched_once_and_stands_ahead_of_the_path(index, tmp_path, monkeypatch):
    wheel = write_wheel(index, "9.9.1")
    found = release("v9.9.1")
    assert found.version == "9.9.1"
    wheel.unlink()
    assert release("9.9.1") == found
    assert left_in(tmp_path / "cache") == ["timm-9.9.1"]
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    variables = found.environment()
    assert variables["PYTHONPATH"] == f"{found.path}{os.pathsep}/elsewhere"
    code = "import timm, importlib.metadata as m; print(timm.__version__, m.version('timm'))"
    ran = subprocess.run([sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True)
    assert ran.stdout.split() == ["9.9.1", "9.9.1"]


def test_setuptools_in_the_same_process_does_not_matter(index):
    """Inductor imports it, and its finder warns whoever asks for pip then."""
    import setuptools  # noqa: F401  # imported for what it does

    write_wheel(index, "9.9.1")
    assert release("9.9.1").version == "9.9.1"


def test_a_release_travels_to_another_machine(index, tmp_path, monkeypatch):
    write_wheel(index, "9.9.1")
    content = wheels.packed(release("9.9.1"))
    monkeypatch.setenv(wheels.CACHE, str(tmp_path / "another"))
    arrived = wheels.unpacked("9.9.1", content)
    assert arrived == release("9.9.1")
    assert arrived.path == tmp_path / "another" / "timm-9.9.1"
    assert left_in(tmp_path / "another") == ["timm-9.9.1"]
    (arrived.path / "timm" / "__init__.py").write_text("__version__ = 'mine'")
    assert "mine" not in (wheels.unpacked("9.9.1", content).path / "timm" / "__init__.py").read_text()


def test_what_does_not_arrive_whole_is_no_release(index, tmp_path, monkeypatch):
    write_wheel(index, "9.9.1")
    content = wheels.packed(release("9.9.1"))
    monkeypatch.setenv(wheels.CACHE, str(tmp_path / "another"))
    with pytest.raises(NoSuchRelease, match="does not match its own list of files"):
        wheels.unpacked("9.9.2", content)
    assert left_in(tmp_path / "another") == []
    assert wheels.packed(wheels.Release("9.9.1", None)) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "timm" / "__init__.py").write_text("__version__ = 'mine'"),
        lambda path: (path / "timm" / "__init__.py").unlink(),
        lambda path: (path / "timm" / "extra.py").write_text(""),
        lambda path: (path / "timm-9.9.1.dist-info" / "RECORD").write_text(""),
        lambda path: (path / "timm-9.9.1.dist-info" / "METADATA").unlink(),
    ],
    ids=["edited", "removed", "added", "record emptied", "metadata removed"],
)
def test_a_release_that_was_damaged_in_the_cache_is_fetched_again(index, tmp_path, damage):
    write_wheel(index, "9.9.1")
    path = release("9.9.1").path
    damage(path)
    assert release("9.9.1").path == path
    assert "9.9.1" in (path / "timm" / "__init__.py").read_text()
    assert not (path / "timm" / "extra.py").exists()
    assert left_in(tmp_path / "cache") == ["timm-9.9.1"]


def test_a_release_that_does_not_exist_is_refused_and_its_neighbours_named(index, tmp_path):
    for one in ("9.1.0", "9.2.0", "9.3.0", "9.5.0", "9.10.0", "9.11.0"):
        write_wheel(index, one)
    with pytest.raises(NoSuchRelease, match=r"no release 9\.4\.0 .* near are 9\.2\.0, 9\.3\.0, 9\.5\.0, 9\.10\.0$"):
        release("9.4.0")
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("word", ["abc", "", "1.0.x", "../../etc", "1.0.3; rm -rf /"])
def test_what_is_no_version_is_refused_before_anything_is_fetched(index, word):
    with pytest.raises(NoSuchRelease, match="is no version of timm; give one like"):
        release(word)


def test_a_wheel_whose_list_of_files_lies_is_refused_and_nothing_is_kept(index, tmp_path):
    write_wheel(index, "9.9.1", lies=True)
    with pytest.raises(NoSuchRelease, match="does not match its own list of files"):
        release("9.9.1")
    assert left_in(tmp_path / "cache") == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more"])
def test_a_wheel_that_cannot_be_read_is_refused_in_a_sentence(index, tmp_path, content):
    (index / "timm-9.9.1-py3-none-any.whl").write_bytes(content)
    with pytest.raises(NoSuchRelease, match=r"^timm 9\.9\.1 could not be fetched: ") as refused:
        release("9.9.1")
    assert "\n" not in str(refused.value)
    assert left_in(tmp_path / "cache") == []


def test_without_a_network_the_cache_is_enough_and_what_it_lacks_is_told(index, tmp_path, monkeypatch):
    write_wheel(index, "9.9.1")
    release("9.9.1")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert release("9.9.1").path is not None
    with pytest.raises(NoSuchRelease, match="no package index answered; try again with a network"):
        release("9.9.2")


def test_a_cache_that_cannot_be_written_is_told(index, tmp_path, monkeypatch):
    write_wheel(index, "9.9.1")
    (tmp_path / "file").touch()
    monkeypatch.setenv(wheels.CACHE, str(tmp_path / "file"))
    with pytest.raises(NoSuchRelease, match="name another directory in TIMM_CONFORMANCE_CACHE"):
        release("9.9.1")


def test_the_environments_own_release_is_not_fetched(index):
    assert release(INSTALLED) == release(version("timm"))
    assert release(INSTALLED).path is None
    assert release(INSTALLED).environment() == {}


def test_a_fetch_that_is_killed_leaves_nothing_to_be_found_and_the_next_one_sweeps(index, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        variables = dict(os.environ, PIP_INDEX_URL=f"http://127.0.0.1:{port}/simple")
        variables.pop("PIP_NO_INDEX")
        code = "from conformance.run.wheels import release; release('9.9.1')"
        fetching = subprocess.Popen([sys.executable, "-c", code], env=variables, start_new_session=True)
        deadline = time.monotonic() + 60
        while not left_in(tmp_path / "cache") and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(fetching.pid, signal.SIGKILL)
        fetching.wait()
    (half,) = left_in(tmp_path / "cache")
    assert half.startswith(".timm-9.9.1-")
    write_wheel(index, "9.9.1")
    release("9.9.1")
    assert left_in(tmp_path / "cache") == ["timm-9.9.1"]


def test_two_fetches_at_once_agree(index, tmp_path):
    write_wheel(index, "9.9.1")
    code = "from conformance.run.wheels import release; print(release('9.9.1').path)"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {one.communicate(timeout=120)[0].strip() for one in both}
    assert said == {str(tmp_path / "cache" / "timm-9.9.1")}
    assert left_in(tmp_path / "cache") == ["timm-9.9.1"]
