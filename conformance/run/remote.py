"""This module is a chunk on a machine of a cluster: an audit of it in a child, whose lines are handed on as they come.

It is the audit that `local` runs, with one worker: deaths, hangs and memory are met there as they are everywhere.
"""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO

import msgspec

from conformance.record import Tier, printable
from conformance.run.kept import suite_files
from conformance.run.local import Selection, command, environment
from conformance.run.wheels import Release, unpacked

_BETWEEN_LOOKS = 0.25
"""Seconds."""
_USAGE = 4
"""How pytest ends where something that it was told cannot be done."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a chunk is to decide. `version` is that of a timm of its own, or of the environment's."""

    models: tuple[str, ...]
    claims: tuple[str, ...]
    tier: Tier
    imports: tuple[str, ...]
    timeout: float
    memory: float | None
    version: str


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What two machines must have in common to decide alike."""

    suite: str
    code: str
    """Digest of the suite's own files."""
    torch: str
    timm: str
    python: str
    machine: str


class Refused(Exception):
    """The chunk cannot be decided here, nor anywhere like here. Its text is one sentence."""


class Stopped(Exception):
    """The child ended before it had decided everything. Its text says how."""


def facts() -> Facts:
    """Those of this machine."""
    from conformance import __version__

    return Facts(
        suite=__version__,
        code=hashlib.sha256("\0".join(suite_files()).encode()).hexdigest()[:12],
        torch=_version("torch"),
        timm=_version("timm"),
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
    )


def decided(order: Order, archive: bytes | None) -> Iterator[Facts | bytes]:
    """The facts of this machine, then lines of the record file as they come: the header first, then models.

    `archive` has the files of the order's timm; None means that of the environment.

    Raises:
        Refused: An option of the order cannot be followed.
        Stopped: The child was ended by something that is not a model's doing.
    """
    yield facts()
    release = Release(order.version, None) if archive is None else unpacked(order.version, archive)
    with tempfile.TemporaryDirectory(prefix="timm-conformance-") as directory:
        selection = Selection(
            output=Path(directory, "run.jsonl"),
            models=tuple(map(glob.escape, order.models)),
            claims=order.claims,
            tier=order.tier,
            imports=order.imports,
            workers=1,
            expectations="none",
            timeout=order.timeout,
            memory=order.memory,
            release=release,
        )
        with Path(directory, "said").open("w+b") as said:
            child = subprocess.Popen(  # noqa: S603  # our own command
                command(selection),
                env=environment(release) | {"TMPDIR": directory},
                start_new_session=True,
                stdout=said,
                stderr=said,
            )
            try:
                yield from _lines(child, selection.output)
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            said.seek(0)
            _check(child.returncode, said)


def _lines(child: subprocess.Popen[bytes], output: Path) -> Iterator[bytes]:
    """What the child has written so far, and on until it ends: whole lines, several at once."""
    partial = output.with_name(f"{output.name}.partial")
    file: BinaryIO | None = None
    torn = b""
    try:
        while True:
            has_ended = child.poll() is not None
            if file is None:
                with suppress(FileNotFoundError):
                    file = partial.open("rb")
            if file is None and has_ended:
                with suppress(FileNotFoundError):  # it was faster than we looked
                    file = output.open("rb")
            if file is not None:  # also after its name is gone
                whole, feed, torn = (torn + file.read()).rpartition(b"\n")
                if feed:
                    yield whole + feed
            if has_ended:
                return
            time.sleep(_BETWEEN_LOOKS)
    finally:
        if file is not None:
            file.close()


def _check(status: int, said: BinaryIO) -> None:
    """Raise unless the child decided everything."""
    if status == 0:
        return
    lines = [line for line in said.read().decode("utf-8", "replace").splitlines() if line.strip()]
    last = printable(lines[-1].removeprefix("ERROR: "))[:500] if lines else "it said nothing"
    if status == _USAGE:
        raise Refused(last.replace("--timm-", "--"))
    if status < 0:
        raise Stopped(f"its audit was ended by {signal.Signals(-status).name}")
    raise Refused(f"the audit of a chunk ended with exit status {status}: {last}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
