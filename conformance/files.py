"""This module reads files that somebody else may have written: regular ones of bearable size, and TOML in them."""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from io import BufferedReader
from pathlib import Path
from typing import Any

LARGEST_TEXT = 5_000_000
"""Bytes of a file that people write; what is larger is data."""

_PARTS = 32
_LONG_KEY = re.compile(
    r"""(?<![\w."'-])(?:(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % _PARTS  # noqa: UP031  # braces
)
"""tomllib remembers every beginning of a dotted key: one of a few kilobytes takes gigabytes."""

_SHOWN = 200


def opened(path: Path) -> BufferedReader:
    """The file, open for reading.

    Raises:
        OSError: It cannot be read, or is a pipe or a device: those may never answer, or never end.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a null character
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
    kind = os.fstat(number).st_mode
    if stat.S_ISREG(kind):
        return open(number, "rb")  # noqa: PTH123  # a descriptor, which the caller closes
    os.close(number)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise OSError("it is a pipe or a device and no regular file; write what it gives into a file")


def content(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """All of the file.

    Raises:
        OSError: As `opened`; or it is larger than that.
    """
    with opened(path) as file:
        read = file.read(largest + 1)
    if len(read) > largest:
        raise OSError(f"it is larger than {largest / 1e6:.0f} MB")
    return read


def toml(text: str) -> dict[str, Any]:
    """What a text of TOML says.

    Raises:
        ValueError: It is none, or none that its parser could hold.
    """
    if _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def shown(value: object) -> str:
    """A value from a file for a sentence about it, whatever it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits; tables in tables
        return f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
