"""This module is the most memory that this process had resident, since it was last asked to forget."""

from __future__ import annotations

import re
import resource
from contextlib import suppress
from pathlib import Path

_FORGET = "5"
"""What resets the peak, written to /proc/self/clear_refs (Linux, proc(5))."""
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def forget() -> None:
    """Begin anew, where the system allows it; elsewhere the peak is that of the process's whole life."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_FORGET)


def megabytes() -> float:
    """The peak, in MiB."""
    with suppress(OSError):
        found = _PEAK.search(Path("/proc/self/status").read_text())
        if found:
            return round(int(found[1]) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
