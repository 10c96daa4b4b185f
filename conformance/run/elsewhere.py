"""This module is a process that has another timm, asked from this one. execnet starts it and carries the words."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import execnet
import msgspec
from packaging.version import Version

from conformance.record import printable
from conformance.release import Carried, Registry, Step, Surface
from conformance.run.wheels import NoSuchRelease, Release

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds for one question."""
PATIENCE_AT_START = 120.0
"""Seconds for importing torch, timm and modules of the user's."""


class NotAnswered(Exception):
    """A question to which there is no answer: the model raised something, or its process ended or hung."""


class Elsewhere:
    """A process with one release of timm. It is started when first asked, and again after a model ended it.

    Use it as a context manager: the process ends with it.
    """

    def __init__(self, release: Release, imports: Sequence[str] = (), patience: float = PATIENCE) -> None:
        self.release = release
        self._imports = tuple(imports)
        self._patience = patience
        self._group: execnet.Group | None = None
        self._channel: Any = None
        self._registry: Registry | None = None

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def registry(self) -> Registry:
        """The names of the release.

        Raises:
            NoSuchRelease: This Python and torch cannot import it, or it is not the one that was meant.
        """
        if self._registry is None:
            self._start()
        assert self._registry is not None
        return self._registry

    def surface(self, name: str) -> Surface:
        """What the release says of a model.

        Raises:
            NotAnswered: The process ended or hung.
        """
        return self._ask(Surface, "surface", name)

    def steps(self, name: str, output: str, input_size: Sequence[int] | None) -> list[Step]:
        """What an output is computed by, on images of (channels, height, width) pixels.

        Raises:
            NotAnswered: The model cannot be run so, or its process ended or hung.
        """
        return self._ask(list[Step], "steps", name, output, input_size)

    def depart(self, name: str, file: Path, *, in_double: bool = True) -> None:
        """Draw weights, run the model (in float64 where it is small enough, if wanted), and write both to the file.

        Raises:
            NotAnswered: As above.
        """
        self._ask(type(None), "depart", name, str(file), in_double)

    def arrive(self, name: str, file: Path) -> Carried:
        """Load the weights in the file, run the model, and compare.

        Raises:
            NotAnswered: As above, or the weights cannot be loaded.
        """
        return self._ask(Carried, "arrive", name, str(file))

    def _ask(self, kind: type[T], what: str, *arguments: object) -> T:
        self.registry()
        if self._channel is None:
            self._start()
        said, value = self._exchange(msgspec.json.encode([what, *arguments]).decode(), self._patience)
        if said == "failed":
            raise NotAnswered(str(value))
        return msgspec.convert(value, kind)

    def _exchange(self, question: str | None, patience: float) -> tuple[str, Any]:
        try:
            if question is not None:
                self._channel.send(question)
            answer = self._channel.receive(patience)
        except self._channel.TimeoutError:
            self._end()
            raise NotAnswered(f"its process gave no answer within {patience:.0f} seconds") from None
        except (EOFError, OSError) as error:
            self._end()
            raise NotAnswered("its process ended") from error
        except self._channel.RemoteError as error:
            self._end()
            raise NotAnswered(f"its process failed: {printable(str(error).strip().splitlines()[-1])[:300]}") from error
        said, value = msgspec.json.decode(answer)
        return said, value

    def _start(self) -> None:
        self._group = execnet.Group()
        gateway = self._group.makegateway(f"popen//python={sys.executable}")
        first = [] if self.release.path is None else [str(self.release.path)]
        path = [*first, *_libraries()]
        self._channel = gateway.remote_exec(_BEGIN.format(path=path, parent=os.getpid(), imports=self._imports))
        try:
            said, value = self._exchange(None, PATIENCE_AT_START)
        except NotAnswered as error:
            raise NoSuchRelease(f"timm {self.release.version} cannot be imported: {error}") from error
        if said == "refused":
            self._end()
            raise NoSuchRelease(
                f"timm {self.release.version} cannot be imported with this Python and torch ({printable(str(value))}); "
                "name a release that can"
            )
        self._registry = msgspec.convert(value, Registry)
        found = self._registry.version
        if self.release.path is not None and Version(found) != Version(self.release.version):
            self._end()
            raise NoSuchRelease(f"timm {self.release.version} was asked for and {found} was imported")

    def _end(self) -> None:
        group, self._group, self._channel = self._group, None, None
        if group is not None:
            with suppress(OSError):
                group.terminate(timeout=1.0)


def _libraries() -> list[str]:
    """Where modules are looked for, without the working directory, which `python -m` puts first: as in an audit."""
    first, *others = sys.path
    here = first in ("", str(Path.cwd())) and not sys.flags.safe_path
    return [place for place in (others if here else sys.path) if place]


_BEGIN = """
import os, sys
sys.path[:] = {path!r}
os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
from conformance.run.errands import serve
serve(channel, {parent!r}, {imports!r})
"""
"""What the process runs: it finds what this one finds, after its own timm."""
