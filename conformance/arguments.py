"""This module takes what a user typed for what is meant, or says in one sentence why that cannot be."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from conformance.record import Tier


_LONGEST_NAME = 255 - len(".") - len(".4194304.part")
"""Bytes of the name of a file that is written: beside it stands what becomes it."""


class CouldNotRun(Exception):
    """What was asked cannot be done. Its text is one sentence for the user."""


def known(word: str, words: Collection[str], noun: str, where: str) -> str:
    """`word`, if it is one of `words`.

    Raises:
        CouldNotRun: It is not; names the nearest one, or else the command `where` they are listed.
    """
    if word in words:
        return word
    raise CouldNotRun(f"{word!r} is no {noun}; {_nearest(word, words) or f'see `{where}`'}")


def matching(globs: Iterable[str], names: Collection[str]) -> list[str]:
    """The names that one of the globs matches, each once, in their order.

    Raises:
        CouldNotRun: A glob matches none; names the nearest one.
    """
    wanted: set[str] = set()
    for glob in globs:
        matched = [name for name in names if fnmatch.fnmatchcase(name, glob)]
        if not matched:
            hint = _nearest(re.sub(r"[*?\[\]]", "", glob), names) or "see `timm.list_models()`"
            noun = "matches no model" if re.search(r"[*?\[]", glob) else "is no model"
            raise CouldNotRun(f"{glob!r} {noun} of this timm; {hint}")
        wanted.update(matched)
    return [name for name in names if name in wanted]


def tier_called(word: str) -> Tier:
    """The tier of that name; extra claims run only when they are named."""
    from conformance.record import Tier

    return Tier(known(word, (Tier.CORE.value, Tier.FULL.value), "tier", "timm-conformance audit --help"))


def workers_called(word: str) -> int | Literal["auto"]:
    """How many workers: a number, or `auto`."""
    if word == "auto":
        return "auto"
    if word.isascii() and word.isdigit() and 1 <= int(word) <= 4096:
        return int(word)
    raise CouldNotRun(f"-n {word!r} is no number of workers; give 1 or more, or auto")


def shard_called(word: str) -> tuple[int, int]:
    """Which shard, from 1, of how many: `2/3`."""
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", word)
    number, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= of:
        raise CouldNotRun(f"--shard {word!r} is no part of a whole; give K/N with K from 1 to N, as in 2/3")
    return number, of


def import_all(modules: Iterable[str]) -> None:
    """Import the modules that register a user's own models; those of the working directory are found too.

    Raises:
        CouldNotRun: One cannot be imported, for whatever reason.
    """
    here = str(Path.cwd())
    for module in modules:
        if here not in sys.path:
            # Last: what lies in the user's directory must not stand in for a library.
            sys.path.append(here)
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:  # somebody else's module may raise anything
            absent = isinstance(error, ModuleNotFoundError) and error.name == module
            top_level = [found.name for found in pkgutil.iter_modules()] if absent else []
            hint = (
                _nearest(module, top_level, cutoff=0.75)
                or "it must be found from this directory, PYTHONPATH or the environment"
            )
            raise CouldNotRun(f"cannot import {module!r} ({_said(error)}); {hint}") from error


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # its message may raise as well
        return type(error).__name__


def writable(path: Path) -> Path:
    """`path`, if a file can be written there: told before the work, not after it.

    Raises:
        CouldNotRun: Its directory is missing or closed, or it is a directory itself.
    """
    directory = path.parent
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        raise CouldNotRun(f"{path.name[:40]!r}… is longer than a file's name can be; choose another")
    if path.is_dir():
        raise CouldNotRun(f"{str(path)!r} is a directory; name a file to write")
    if not directory.is_dir():
        raise CouldNotRun(f"the directory {str(directory)!r} of {path.name!r} does not exist; make it first")
    if not os.access(directory, os.W_OK | os.X_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise CouldNotRun(f"{str(path)!r} cannot be written; choose another place with --output")
    return path


def folder(path: Path) -> Path:
    """`path` as a directory, made if it is not there.

    Raises:
        CouldNotRun: It is a file, or cannot be made.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise CouldNotRun(
            f"{str(path)!r} is needed as a folder and cannot be one ({error.strerror or error}); name another"
        ) from error
    return path


def targets(files: list[Path], output: Path | None, suffix: str) -> list[Path | None]:
    """Where the report of each file goes; None is standard output.

    Raises:
        CouldNotRun: It cannot be written there, or would be written over another file of this call.
    """
    if output == Path("-") or (output is None and suffix != ".html"):
        return [None] * len(files)
    if output is not None and not os.path.isdir(output):  # noqa: PTH112  # which never raises
        if len(files) > 1:
            raise CouldNotRun(f"--output {str(output)!r} is no directory, and {len(files)} files need one")
        found = [output]
    else:
        stems = [file.name.removesuffix(".gz").removesuffix(".jsonl") for file in files]
        found = [(output or file.parent) / f"{stem}{suffix}" for file, stem in zip(files, stems, strict=True)]
    taken = {place(file) for file in files}
    for target in found:
        if place(target) in taken:
            raise CouldNotRun(f"{str(target)!r} would be written over a file that was read or written; choose --output")
        taken.add(place(target))
        writable(target)
    return list(found)


def not_over(target: Path, read: Iterable[Path]) -> None:
    """See to it that a file which is read is not what is written.

    Raises:
        CouldNotRun: It is.
    """
    if place(target) in [place(file) for file in read]:
        raise CouldNotRun(f"{str(target)!r} is read here and would be written over; choose another --output")


def place(path: Path) -> str:
    """Where the path leads, also if its links lead in a circle."""
    return os.path.realpath(path)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that whoever reads it finds the old file or the whole new one.

    Raises:
        CouldNotRun: It cannot be written; nothing is left behind.
    """
    writable(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a pipe or a device cannot be replaced
            return
        try:
            beside.unlink(missing_ok=True)
            beside.touch(exist_ok=False)  # a file of our own: a link of that name may have been put there
            beside.write_bytes(content)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise CouldNotRun(f"{str(path)!r} cannot be written ({error.strerror or error})") from error


def _nearest(word: str, words: Collection[str], cutoff: float = 0.5) -> str:
    folded = {known.casefold(): known for known in words}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=cutoff)
    return f"did you mean {str(folded[near[0]])!r}?" if near else ""
