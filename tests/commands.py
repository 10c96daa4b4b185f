"""Commands as a user types them, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys

# Not `CI`: a job accepts nothing, and the tests say the same wherever they run.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "CI"}
ENVIRONMENT |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def command(*words, cwd, preexec_fn=None, **environ):
    return subprocess.run(
        [sys.executable, "-m", "conformance", *map(str, words)],
        cwd=cwd, env=ENVIRONMENT | environ, capture_output=True, text=True, check=False, timeout=300,
        preexec_fn=preexec_fn,
    )  # fmt: skip


def complaint(ended):
    """What a refused command said: one sentence on standard error and nothing else anywhere."""
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith("timm-conformance: ")
    assert ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr
