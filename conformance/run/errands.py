"""This module answers questions about the timm of its own process, which another process asks over a channel.

It is what `conformance.run.elsewhere` has the other process run. Questions and answers are JSON: [what, arguments…]
and ["answer", …], ["refused", sentence] or ["failed", sentence].
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import resource
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from conformance.record import printable
from conformance.run.chosen import arithmetic

MEMORY = 8.0
"""GB of address space on top of what the imports map: a model in float64 and what is computed with it."""


def serve(channel: Any, parent: int, imports: Sequence[str]) -> None:
    """Import timm, say which, and answer until the channel is closed or the process `parent` is no more."""
    os.environ.update(arithmetic())
    warnings.simplefilter("ignore")
    faulthandler.enable()
    try:
        _import_all(imports)
    except BaseException as error:  # noqa: BLE001  # somebody else's module may raise anything
        channel.send(_encoded("refused", printable(f"{type(error).__name__}: {error}")[:300]))
        return
    channel.send(_encoded("answer", _settle_in(_end_with(parent))))
    for question in channel:
        what, *arguments = msgspec.json.decode(question)
        channel.send(_answer(what, arguments))


def _import_all(modules: Sequence[str]) -> None:
    if modules:
        sys.path.append(str(Path.cwd()))  # last: it must not stand in for a library
    for module in ("timm", *modules):
        importlib.import_module(module)
    if modules:
        from conformance.subject import names

        names()  # what cannot be written down is refused before anything is asked


def _end_with(parent: int) -> int:
    """End this process soon after its parent; the thread that sees to it.

    Linux can be asked to do so (PR_SET_PDEATHSIG), and does it when the *thread* that started the process ends.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    assert watching.ident is not None
    return watching.ident


def _settle_in(watching: int) -> Any:
    import psutil
    import torch

    from conformance.run.examiner import receivers
    from conformance.subject import leave_out_threads, surfaces

    leave_out_threads({*receivers(), watching})
    torch.set_num_threads(1)
    room = psutil.Process().memory_info().vms + int(MEMORY * 2**30)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (room if hard == resource.RLIM_INFINITY else min(room, hard), hard))
    return surfaces.registry()


def _answer(what: str, arguments: Sequence[Any]) -> str:
    from conformance.subject.carrying import NotCarried
    from conformance.subject.refusals import said

    try:
        return _encoded("answer", _ERRANDS[what](*arguments))
    except NotCarried as error:
        return _encoded("failed", str(error))
    except Exception as error:  # noqa: BLE001  # the boundary: what a model raises is an answer
        lines = traceback.extract_tb(error.__traceback__)
        place = f" ({Path(lines[-1].filename).name}:{lines[-1].lineno})" if lines else ""
        return _encoded("failed", f"{said(error)}{place}")


def _surface(name: str) -> Any:
    from conformance.subject.surfaces import surface_of

    return surface_of(name)


def _steps(name: str, output: str, input_size: Sequence[int] | None) -> Any:
    from conformance.subject.places import steps

    return steps(name, output, tuple(input_size) if input_size else None)


def _depart(name: str, file: str, in_double: bool) -> None:
    from conformance.subject.carrying import depart

    depart(name, Path(file), in_double=in_double)


def _arrive(name: str, file: str) -> Any:
    from conformance.subject.carrying import arrive

    return arrive(name, Path(file))


_ERRANDS: MappingProxyType[str, Callable[..., Any]] = MappingProxyType(
    {"surface": _surface, "steps": _steps, "depart": _depart, "arrive": _arrive}
)


def _encoded(kind: str, value: Any) -> str:
    return msgspec.json.encode([kind, value]).decode()
