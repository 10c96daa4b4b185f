"""The process that has another timm: it outlives the thread that started it, not its parent, and models may end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from conformance.run.elsewhere import Elsewhere, NotAnswered
from conformance.run.wheels import INSTALLED, NoSuchRelease, Release, release
from tests.run.conftest import MINIATURES, environment


@pytest.fixture
def there(monkeypatch):
    """A process with the environment's timm and models that end it."""
    monkeypatch.syspath_prepend(str(MINIATURES))
    with Elsewhere(release(INSTALLED), imports=("dying",), patience=60) as process:
        yield process


def test_a_process_outlives_the_thread_that_started_it(there):
    starting = threading.Thread(target=there.registry)
    starting.start()
    starting.join()
    assert "lawful_tiny_a" in there.registry().models
    assert there.surface("lawful_tiny_a").problem is None


def test_a_model_that_ends_the_process_is_told_and_the_next_is_asked_of_another(there):
    with pytest.raises(NotAnswered, match="its process ended"):
        there.surface("dying_segfault_in_build")
    assert there.surface("lawful_tiny_a").problem is None


def test_what_a_model_raises_is_an_answer(there):
    assert "RuntimeError" in there.surface("dying_hostile_text_in_build").problem
    with pytest.raises(NotAnswered, match="RuntimeError"):
        there.steps("dying_hostile_text_in_build", "features", None)


def test_a_model_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.syspath_prepend(str(MINIATURES))
    with Elsewhere(release(INSTALLED), imports=("dying",), patience=5) as there:
        with pytest.raises(NotAnswered, match="no answer within 5 seconds"):
            there.surface("dying_gil_hang_in_build")
        assert there.surface("lawful_tiny_a").problem is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "raise ValueError('mutable default')",
            r"cannot be imported .*\(ValueError: mutable default\); name",
        ),
        ("import os; os._exit(3)", "timm 9.9.1 cannot be imported: its process ended"),
        ("__version__ = '9.9.2'", "timm 9.9.1 was asked for and 9.9.2 was imported|has no attribute|cannot import"),
    ],
)
def test_a_release_that_cannot_be_imported_is_refused_in_a_sentence(tmp_path, text, said):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text(text)
    with Elsewhere(Release("9.9.1", tmp_path)) as there, pytest.raises(NoSuchRelease, match=said) as refused:
        there.registry()
    assert "\n" not in str(refused.value)


def test_a_module_that_cannot_be_imported_is_told():
    with Elsewhere(release(INSTALLED), imports=("absent",)) as there, pytest.raises(NoSuchRelease, match="'absent'"):
        there.registry()


CODE = """
import time
from conformance.run.elsewhere import Elsewhere
from conformance.run.wheels import release
there = Elsewhere(release("installed"), imports=("dying",), patience=600)
there.registry()
print("ready", flush=True)
there.depart("dying_python_hang_in_forward", "nowhere")
"""


def test_a_process_ends_with_its_parent_however_busy_it_is():
    parent = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, env=environment())
    assert parent.stdout.readline() == b"ready\n"
    (child,) = psutil.Process(parent.pid).children()
    time.sleep(2)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    child.wait(timeout=20)


def test_the_working_directory_is_no_library(tmp_path):
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "__init__.py").write_text("raise RuntimeError('not this one')")
    program = (
        "from conformance.run.elsewhere import Elsewhere\n"
        "from conformance.run.wheels import release\n"
        "with Elsewhere(release('installed')) as there: print(len(there.registry().models))\n"
    )
    (tmp_path / "ask.py").write_text(program)
    ended = subprocess.run(
        [sys.executable, "-m", "ask"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert int(ended.stdout) > 1000, ended.stderr
