"""This module runs an audit on this machine: pytest and xdist in a child that no configuration around it can reach."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import psutil

from conformance.record import Tier, printable
from conformance.run.chosen import arithmetic
from conformance.run.wheels import Release
from conformance.stopping import STOPPING, asking

WRITTEN, FAILED, INTERRUPTED = 0, 2, 130
"""Exit statuses: the record file is whole, could not run, interrupted."""

_CONTRACT = Path(__file__).parent.parent / "test_contract.py"
_UNWANTED_PLUGINS = (
    # Replaced by ours.
    "terminal", "faulthandler", "warnings",
    # They cost something for every item, or write where we were not asked to.
    "cacheprovider", "logging", "unraisableexception", "threadexception", "doctest", "unittest", "junitxml", "pastebin",
)  # fmt: skip
_FOREIGN_VARIABLES = (
    "PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID",
    "PYTEST_CURRENT_TEST", "PYTEST_DEBUG", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONINSPECT",
    "PYTORCH_JIT", "TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE",
)  # fmt: skip
_SECONDS_TO_STOP = 30.0
_TOLD = 4
"""Exit status of a child that has said itself why it could not run: pytest's usage error."""


@dataclass(frozen=True)
class Selection:
    """What is audited and where its record goes."""

    output: Path
    models: tuple[str, ...] = ()
    """Globs; none chooses every model."""
    claims: tuple[str, ...] = ()
    """Ids; none chooses the tier's."""
    tier: Tier = Tier.CORE
    imports: tuple[str, ...] = ()
    """Modules that register models."""
    workers: int | Literal["auto"] = "auto"
    """Processes; 0 is one, since a process that decides alone would die with the first model that does."""
    shard: tuple[int, int] | None = None
    """Number and how many: only that part of the models."""
    resume: bool = False
    expectations: Path | Literal["none"] | None = None
    """A file beside the shipped one, none at all, or (None) the shipped one."""
    timeout: float = 300.0
    """Seconds for one claim of one model."""
    memory: float | None = None
    """GB of address space for a worker on top of what imports map."""
    release: Release | None = None
    """The timm to audit; None is the environment's own, as is a release without a path."""


def audit(selection: Selection) -> int:
    """Decide what is selected and write the record file, whatever the verdicts: judging it is the caller's.

    Returns:
        WRITTEN, FAILED with a sentence on standard error if the file could not be written, or INTERRUPTED after
        Ctrl-C or SIGTERM: then what was decided is in `PATH.partial`.
    """
    with (
        _scratch() as scratch,
        _none_left(),
        _child(command(selection), environment(selection.release) | {"TMPDIR": scratch}) as (child, asked),
    ):
        status = child.wait()
    if asked:
        return INTERRUPTED
    if status == _TOLD:
        return FAILED
    if status != 0:
        _say(
            f"the audit could not run to its end ({_in_words(status)}); "
            f"what was decided is in {selection.output}.partial"
        )
        return FAILED
    return WRITTEN


def command(selection: Selection) -> list[str]:
    """The child's command line."""
    unwanted = [argument for name in _UNWANTED_PLUGINS for argument in ("-p", f"no:{name}")]
    ours = [argument for name in ("pytest_plugin", "progress") for argument in ("-p", f"conformance.run.{name}")]
    arguments = [
        *(f"--timm-model={glob}" for glob in selection.models),
        *(f"--timm-claim={claim_id}" for claim_id in selection.claims),
        *(f"--timm-import={module}" for module in selection.imports),
        f"--timm-tier={selection.tier}",
        f"--timm-output={selection.output.absolute()}",
        f"--timm-timeout={selection.timeout}",
    ]
    if selection.shard is not None:
        arguments.append(f"--timm-shard={'/'.join(map(str, selection.shard))}")
    if selection.resume:
        arguments.append("--timm-resume")
    if selection.memory is not None:
        arguments.append(f"--timm-memory={selection.memory}")
    if selection.expectations is not None:
        arguments.append(f"--timm-expectations={selection.expectations}")
    return [
        *(sys.executable, "-m", "pytest", str(_CONTRACT)),
        *("-c", str(Path(__file__).with_name("audit.ini")), "--rootdir", str(_CONTRACT.parent.parent), "--noconftest"),
        *("-p", "xdist", *unwanted, *ours),
        *("-n", str(_workers(selection.workers)), "--dist", "worksteal"),
        *arguments,
    ]


def environment(release: Release | None = None) -> dict[str, str]:
    """The child's environment: the user's, less what would change verdicts, with that timm ahead of the path."""
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
    return kept | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # The order of a set is in what some models say of themselves.
        "PYTHONHASHSEED": "0",
        # The working directory does not come before the libraries; `--import` looks there last.
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        **arithmetic(),
        # Old releases script some functions while they are imported, which warns in every worker.
        **(release.environment() | {"PYTHONWARNINGS": "ignore::FutureWarning"} if release is not None else {}),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TIMM_CONFORMANCE_PARENT": str(os.getpid()),
    }


@contextmanager
def _scratch() -> Iterator[str]:
    """A directory that takes along what processes leave there that die, or are killed, whoever asks to stop then."""
    directory = tempfile.mkdtemp(prefix="timm-conformance-")
    try:
        yield directory
    finally:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        shutil.rmtree(directory, ignore_errors=True)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _none_left() -> Iterator[None]:
    """End whatever models start and leave behind, of their own session too: it would keep standard error open."""
    ours = psutil.Process()
    before = ours.children()
    _adopt_orphans(True)
    try:
        yield
    finally:
        while left := [process for process in ours.children(recursive=True) if process not in before]:
            for process in left:
                with suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=1.0)
        _adopt_orphans(False)


def _adopt_orphans(wanted: bool) -> None:
    """Have Linux make orphans among our descendants our own children; elsewhere nothing can be asked."""
    if sys.platform.startswith("linux"):
        set_child_subreaper = 36  # PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_child_subreaper, int(wanted), 0, 0, 0)


@contextmanager
def _child(words: list[str], environ: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Start the child, and hand it Ctrl-C and SIGTERM as one request to stop; kill it if asked again, or if it takes
    too long. The list has an entry as soon as somebody asked."""
    asked: list[int] = []
    listening = threading.current_thread() is threading.main_thread()  # no other thread may
    # Both wait: here until they can be handed on, in the child, which inherits it, until it can stop in good order.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING if listening else ())
    try:
        # A session of its own keeps Ctrl-C from the child: it is told to stop in one way only.
        child = subprocess.Popen(words, env=environ, start_new_session=True)  # noqa: S603  # our own command
    except BaseException:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise

    def request(number: int, _frame: FrameType | None) -> None:
        # It may be called within itself: nothing that locks stands here.
        asked.append(number)
        if len(asked) > 1:
            child.kill()
            return
        child.send_signal(signal.SIGINT)
        signal.setitimer(signal.ITIMER_REAL, _SECONDS_TO_STOP)  # then it is asked again

    previous = {number: signal.signal(number, request) for number in asking() if listening}
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield child, asked
    finally:
        if listening:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _workers(wanted: int | Literal["auto"]) -> int:
    return processors() if wanted == "auto" else max(wanted, 1)


def processors() -> int:
    """Those that this process may use: a container often has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _in_words(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return signal.Signals(-status).name
    return f"signal {-status}"


def _say(sentence: str) -> None:
    sys.stderr.write(f"timm-conformance: {printable(sentence)}\n")


__all__: Sequence[str] = [
    "FAILED",
    "INTERRUPTED",
    "WRITTEN",
    "Selection",
    "audit",
    "command",
    "environment",
    "processors",
]
