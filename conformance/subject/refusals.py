"""This module reads what exceptions say: whether only the meta device refused, which is no fault of a model's."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator
from pathlib import PurePath
from types import TracebackType

import torch

from conformance.record import printable

SOURCE_PLACE = re.compile(r'File "(?P<path>[^"\n]{1,1000})", line (?P<line>\d{1,9})')
"""Where compilers point to."""

META_ONLY = re.compile(r"\bmeta\b|register_meta|Cannot access storage|^unsupported scalarType$", re.IGNORECASE)
"""In the message where an operation refuses the meta device: a branch on a value, a kernel that is not there.
The last is all that `torch.autocast` says of a device that it does not know."""

RAISING = ("RAISE_VARARGS", "RERAISE")
"""What statements that raise are compiled to."""

TORCH_CHECK = torch.__file__
"""Where `torch._check` raises what its caller asked for."""

OF_ONE_DEVICE = tuple(
    str(PurePath(torch.__file__).parent / name) for name in ("_tensor.py", "multiprocessing", "storage.py")
)
"""Files and folders of torch's that ask what device a tensor is on and go another way on meta (formatting, sharing)."""

PYTHON_KERNELS = tuple(
    str(PurePath(torch.__file__).parent / name) for name in ("_meta_registrations.py", "_prims", "_refs", "_decomp")
)
"""Files and folders of torch's kernels that are written in Python."""


def is_raised_by_a_statement(error: BaseException) -> bool:
    """Whether a statement of Python raised it, and not a kernel, be that one written in Python too."""
    places = list(_places(error.__traceback__))
    if not places or dis.opname[places[-1].tb_frame.f_code.co_code[places[-1].tb_lasti]] not in RAISING:
        return False
    files = [place.tb_frame.f_code.co_filename for place in places]
    asked_by = next((file for file in reversed(files) if file != TORCH_CHECK), TORCH_CHECK)
    return not asked_by.startswith(PYTHON_KERNELS)


def is_raised_by_what_asks_for_a_device(error: BaseException) -> bool:
    """Whether Python code of torch's raised it that does otherwise on another device."""
    innermost = [place.tb_frame.f_code.co_filename for place in _places(error.__traceback__)][-1:]
    return any(file.startswith(OF_ONE_DEVICE) for file in innermost)


def _places(place: TracebackType | None) -> Iterator[TracebackType]:
    """The places of a traceback, the outermost first."""
    while place is not None:
        yield place
        place = place.tb_next


def is_of_meta(message: str) -> bool:
    """Whether the message of an exception blames the meta device.

    The TorchScript interpreter drops the message of a Python kernel: then the end of its own is all that there is.
    """
    is_wordless = "TorchScript interpreter" in message and message.rstrip().endswith("RuntimeError:")
    return is_wordless or META_ONLY.search(message) is not None


LONGEST_SAID = 300


def said(error: BaseException) -> str:
    """Class and message of an exception, on one line that can be printed; it may be hostile."""
    try:
        text = "".join([str(error)])[: 10 * LONGEST_SAID]  # no kind of str that the model made
    except Exception as failure:  # noqa: BLE001  # a message that cannot be had is no reason to give up
        text = f"a message that raises {type(failure).__name__}"
    return printable(f"{type(error).__name__}: {text}")[:LONGEST_SAID]
