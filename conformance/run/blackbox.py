"""This module is what a worker leaves behind when it dies: what it was doing, and where Python stood."""

from __future__ import annotations

import os
import re
import sysconfig
from pathlib import Path

import msgspec

STARTING = "starting"
IDLE = "idle"
DESCRIBING = "describing"
CLOSING = "closing"


class Entry(msgspec.Struct, frozen=True):
    """The last thing that a worker said it was doing. `step` is a claim id or one of this module's words."""

    step: str = STARTING
    model: str = ""
    note: str = ""
    """Why the worker ends its process itself, where it does."""


class BlackBox:
    """The worker's side: two files in a directory that the controller reads after a death."""

    def __init__(self, directory: Path, worker: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self._now = os.open(directory / f"{worker}.now", flags)
        self.trace = os.open(directory / f"{worker}.trace", flags)
        """Descriptor for faulthandler."""
        self.note(Entry())

    def note(self, entry: Entry) -> None:
        """Say what is begun. One write at offset 0: what a longer entry left behind its line feed is never read."""
        os.pwrite(self._now, msgspec.json.encode(entry) + b"\n", 0)


def last_entry(directory: Path, worker: str) -> Entry:
    """What the worker was doing; `STARTING` if it did not get as far as to say so."""
    try:
        line, _, _ = (directory / f"{worker}.now").read_bytes().partition(b"\n")
        return msgspec.json.decode(line, type=Entry)
    except (OSError, msgspec.DecodeError):
        return Entry()


def last_trace(directory: Path, worker: str) -> str:
    """What faulthandler wrote for the worker, or nothing."""
    try:
        return (directory / f"{worker}.trace").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


_FRAME = re.compile(r'^  File "(?P<file>.*)", line \d+ in (?P<function>.*)$', re.MULTILINE)
_THREAD = re.compile(r"^(?:Current thread|Thread) .*$", re.MULTILINE)
_HARNESS = str(Path(__file__).with_name("examiner.py"))
_SUITE = str(Path(__file__).parent.parent) + os.sep
_LIBRARY = (sysconfig.get_path("stdlib") + os.sep, "<frozen ")


def where(trace: str) -> str | None:
    """`function of file` for the innermost frame that is neither Python's, torch's nor ours, if there is one.

    Without line numbers: a loop is caught at another line each time, and equal runs give equal records.
    """
    threads = _THREAD.split(trace)[1:]
    deciding = [thread for thread in threads if _HARNESS in thread] or threads[-1:]
    for frame in (match for thread in deciding for match in _FRAME.finditer(thread)):
        file = frame["file"]
        _, installed, short = file.rpartition("site-packages" + os.sep)
        if not installed and file.startswith((*_LIBRARY, _SUITE)):
            continue
        if not short.startswith(("torch" + os.sep, "_pytest" + os.sep, "pluggy" + os.sep)):
            return f"{frame['function']} of {short if installed else Path(file).name}"
    return None
