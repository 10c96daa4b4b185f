"""This module turns what a model raises into a cell: one sentence, its cause, and whether it is to be believed."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import PurePath

from conformance.claims.claim import ON_META, Claim, undecided, violated
from conformance.record import Cell
from conformance.subject import NoImages, NotRepeated, Strayed, Unmodelled
from conformance.subject.refusals import (
    SOURCE_PLACE,
    is_of_meta,
    is_raised_by_a_statement,
    is_raised_by_what_asks_for_a_device,
)

LONGEST_REASON = 400
"""Characters of a reason; compilers write pages."""

MACHINE_PATH = re.compile(
    r"(?<![\w.…/])/(?:[^\s/'\",:;()]{1,255}/){1,50}(?=[^\s/])|\b[A-Za-z]:\\(?:[^\s\\]{1,255}\\){1,50}"
)
"""The directories of an absolute path: another machine has others."""

ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
"""Where something lies in memory, as Python shows objects: another process has it elsewhere."""

OF_REAL_TENSORS = re.compile(
    r"device|view size is not compatible|\bstrides?\b|contiguous|TorchScript|Cast error details", re.IGNORECASE
)
"""In the message of what real tensors may allow: meta kernels lay some results out in memory in another way, and
compiled code is optimised in another way under modes."""

LONGEST_READ = 20_000
"""Characters of a message that are looked at."""

OUT_OF_MEMORY = re.compile(r"can't allocate memory|\bout of memory|DefaultCPUAllocator|std::bad_alloc", re.IGNORECASE)
"""torch raises a plain RuntimeError from its allocator: that is the machine's memory, not a violation."""

EXHAUSTED = frozenset({errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOSPC})
"""What the system says where it has no more room or files, or where a disk fails: no model's doing."""

SAYS_EXHAUSTED = re.compile("|".join(sorted(os.strerror(number) for number in EXHAUSTED)), re.IGNORECASE)
"""The same in the words of whoever passed it on (torch.save, compilers)."""


def cell_of(error: BaseException) -> Cell:
    """The cell of an exception where the contract says that the call works. The exception may be hostile."""
    try:
        return _cell_of(error)
    except Exception as failure:  # noqa: BLE001  # attributes of an exception may raise, or have no end
        return violated(
            f"an exception that cannot be read: what reads it raises {type(failure).__name__}", cause=UNREADABLE
        )


def _cell_of(error: BaseException) -> Cell:
    reason = _reason(error)
    if any(isinstance(one, MemoryError) or OUT_OF_MEMORY.search(_text(one)) for one in _chain(error)):
        return undecided(f"memory ran out: {reason}", cause=MEMORY)
    if any(getattr(one, "errno", None) in EXHAUSTED or SAYS_EXHAUSTED.search(_text(one)) for one in _chain(error)):
        return undecided(f"the system refused what was asked of it: {reason}", cause=digest("the system"))
    frame = _timm_frame(error)
    where = f" (timm/{frame})" if frame and "timm/" not in reason else ""
    cause = digest(type(error).__name__, normalised(_text(error)), frame.rpartition(":")[0] if frame else "")
    if isinstance(error, NotRepeated):
        return undecided(f"with other rounding errors it raises {reason}", cause=cause)
    if isinstance(error, NoImages):
        return undecided(reason, cause=cause)
    if isinstance(error, Strayed):
        return undecided(f"{ON_META}: {reason}", cause=cause)
    if isinstance(error, Unmodelled):
        return undecided(f"no number stands for {reason}", cause=cause)
    if is_of_meta(_text(error)):
        return undecided(f"{ON_META}: {type(error).__name__}: {reason}{where}", cause=cause)
    witness = getattr(error, "witness", None)
    shown = witness if isinstance(witness, dict) else {}
    return violated(f"{type(error).__name__}: {reason}{where}", cause=cause, **shown)


def must_be_seen_on_real_tensors(claim: Claim, error: BaseException) -> bool:
    """Whether the meta device may have a part in what was raised.

    TorchScript's compiler looks at source and at no device; those that run the model with tensors of the device meet
    what its source asks of it. Elsewhere a statement of Python may have asked, or the message speaks of it; a kernel
    that is given wrong shapes does neither, also where it is written in Python, as many meta kernels are.
    """
    if claim.group in ("torchscript", "capture"):
        return claim.group == "capture"
    if OF_REAL_TENSORS.search(_text(error)):
        return True
    return is_raised_by_a_statement(error) or is_raised_by_what_asks_for_a_device(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _text(error: BaseException) -> str:
    """The beginning of the message, of an exception that may be hostile; without this machine's directories."""
    try:
        text = "".join([str(error)])  # no kind of str that the model made
    except Exception as failure:  # noqa: BLE001  # a message that cannot be had is no reason to give up
        text = f"a message that raises {type(failure).__name__}"
    text = ADDRESS.sub("0x…", text[:LONGEST_READ].encode("utf-8", "replace").decode())
    return MACHINE_PATH.sub("…/", SOURCE_PLACE.sub(_own_path, text))


def _own_path(place: re.Match[str]) -> str:
    """The same place with the path cut down to the package's own."""
    parts = place["path"].split("/")
    for package in ("timm", "torch"):
        if package in parts:
            start = len(parts) - 1 - parts[::-1].index(package)
            return f'File "{"/".join(parts[start:])}", line {place["line"]}'
    return f'File "…/{parts[-1]}", line {place["line"]}'


def normalised(message: str) -> str:
    """The message without what differs between models that fail alike: numbers, addresses, quoted names."""
    message = re.sub(r"0x[0-9a-f]+", "0x…", message[:LONGEST_READ])
    message = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", message)
    return re.sub(r"\d+", "#", " ".join(message.split()))[:LONGEST_REASON]


def _reason(error: BaseException) -> str:
    """The message on one line, shortened, the place in the source and the notes after it."""
    text, _, source = _text(error).partition('File "')
    place = SOURCE_PLACE.search(f'File "{source}')
    text = " ".join(text.split()).rstrip(": ")
    if len(text) > LONGEST_REASON:
        text = f"{text[: LONGEST_REASON - 1]}…"
    if place is not None:
        text = f"{text} ({place['path']}:{place['line']})"
    notes = getattr(error, "__notes__", None)
    notes = [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
    said = "; ".join(notes)[:LONGEST_REASON].encode("utf-8", "replace").decode()
    return "; ".join(part for part in (text, said) if part)


def _timm_frame(error: BaseException) -> str | None:
    """`models/levit.py:617` of the innermost frame in timm."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = PurePath(frame.filename).parts
        if "timm" in parts:
            return f"{'/'.join(parts[len(parts) - parts[::-1].index('timm') :])}:{frame.lineno}"
    return None


def digest(*parts: str) -> str:
    """A short digest, equal for equal parts."""
    return hashlib.sha256("\x00".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:10]


UNREADABLE = digest("unreadable")
"""The cause of cells whose exception cannot be read."""

MEMORY = digest("memory")
"""The cause of every cell that memory was too small for."""
