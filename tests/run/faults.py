"""This module injects real faults of the system, disks that are full or closed, and looks for what is left behind."""

import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager

import psutil

CHOICE = {
    "models": ("lawful_tiny_*",),
    "claims": ("builds", "forward_features_runs", "features_width", "pre_logits_supported", "head_composes"),
    "workers": 1,
}
_FILLER = ".filler"


class Disk:
    """A file system in memory; where none can be mounted, a directory and the kernel's limit on a file's size."""

    def __init__(self, place, is_mounted):
        self.place, self._is_mounted = place, is_mounted
        self._limit = None

    def fill(self, leaving=0):
        """Take what is left but for so many bytes, as somebody else would."""
        self.free()
        if not self._is_mounted:
            self._limit = leaving
            return
        with (self.place / _FILLER).open("wb") as file:
            file.write(b"\0" * (shutil.disk_usage(self.place).free - leaving))

    def free(self):
        self._limit = None
        (self.place / _FILLER).unlink(missing_ok=True)

    def close(self):
        """Let nothing be written any more."""
        if self._is_mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(self.place)], check=True)
        else:
            self.place.chmod(0o555)

    @property
    def limits(self):
        """For subprocess.Popen: what makes the disk full for a process."""
        limit = self._limit
        return {} if limit is None else {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit,) * 2)}

    def files(self):
        return sorted(path.name for path in self.place.iterdir() if path.name != _FILLER)


@contextmanager
def disk(place, kilobytes=64):
    place.mkdir()
    options = ("-t", "tmpfs", "-o", f"size={kilobytes}k,mode=777", "tmpfs", str(place))
    is_mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    assert is_mounted or os.geteuid() != 0, "root can mount, or else nothing would be tested: limits hold for others"
    try:
        yield Disk(place, is_mounted)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        else:
            place.chmod(0o755)


def left_in(scratch):
    """What a command left there, but for the cache that torch keeps for itself."""
    return [path.name for path in scratch.iterdir() if not path.name.startswith("torchinductor_")]


def processes_of(scratch):
    """Whoever has this as its TMPDIR, or a directory below."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR", "").startswith(str(scratch)):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def all_have_ended(scratch, seconds=30):
    deadline = time.monotonic() + seconds
    while processes_of(scratch):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
