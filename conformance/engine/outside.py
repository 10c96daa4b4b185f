"""This module watches what dispatch does not see: Python's own state while a recording is made.

A recording proves nothing if a generator moved, a module's plain attribute changed, a thread was started or raw
memory was touched while it was taken.
"""

from __future__ import annotations

import operator
import random
import threading
import types
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from conformance.engine.ledger import Ledger
from conformance.engine.operands import PLAIN_TENSORS
from conformance.engine.trace import Recording, Tracer

FROM_PYTHON_DATA = frozenset({torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor})
RAW_MEMORY = frozenset(
    {
        torch.Tensor.data_ptr,
        torch.Tensor.untyped_storage,
        torch.Tensor.storage,
        torch.Tensor.__dlpack__,
        torch.Tensor.numpy,
        torch.Tensor.share_memory_,
        torch.Tensor.register_hook,
    }
)
INDEXING = frozenset({torch.Tensor.__getitem__, torch.Tensor.__setitem__})
WATCHED = FROM_PYTHON_DATA | RAW_MEMORY | INDEXING
DEPTH = 4
"""How deep containers among a module's attributes are compared."""


class PythonData(TorchFunctionMode):
    """The function mode of a recording: constants from Python data are made on the CPU, raw memory is noticed.

    `torch.tensor` and its like fill memory without dispatching: made on the meta device they would be unknown. On the
    CPU they have bytes, and the copy that follows is dispatched.
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self._recording = recording

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func not in WATCHED:
            return func(*args, **(kwargs or {}))
        kwargs = dict(kwargs or {})
        if func in RAW_MEMORY:
            self._recording.void(f"raw memory was touched by {func.__name__}")
        elif func in INDEXING:
            args = (args[0], _with_tensors(args[1]), *args[2:])
        elif func in FROM_PYTHON_DATA:
            return _on_cpu_first(func, args, kwargs)
        return func(*args, **kwargs)


def _on_cpu_first(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    source = args[0] if args else kwargs.get("data")
    device = kwargs.get("device")
    if func is torch.Tensor.new_tensor:
        assert source is not None
        device = source.device if device is None else device
        data = args[1] if len(args) > 1 else kwargs.pop("data")
        dtype = kwargs.get("dtype") or (data.dtype if isinstance(data, torch.Tensor) else None)
        if isinstance(data, torch.Tensor):
            return func(*args, **kwargs)
        made = torch.tensor(data, dtype=dtype)
        return made.to(device).requires_grad_(bool(kwargs.get("requires_grad", False)))
    if device is None or isinstance(source, torch.Tensor) or torch.device(device).type != "meta":
        return func(*args, **kwargs)
    return func(*args, **{**kwargs, "device": "cpu"}).to(device)


def _with_tensors(index: Any) -> Any:
    """The index with lists of numbers as CPU tensors: indexing makes them on the indexed tensor's device otherwise."""
    if isinstance(index, tuple):
        return tuple(_with_tensors(part) for part in index)
    if isinstance(index, list) and index and all(isinstance(part, int) for part in index):
        return torch.tensor(index)
    return index


CONTAINERS = frozenset({dict, Counter, OrderedDict, defaultdict, list, deque, tuple, set, frozenset})
PLAIN = frozenset({int, float, str, bool, type(None)})
STATELESS = PLAIN | {types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type, *PLAIN_TENSORS}
"""Classes whose own attributes are not looked at."""


def _flatten(found: list[Any], container: Any, depth: int, seen: set[tuple[int, int]]) -> None:
    """Append what a container contains, `depth` levels deep; holding it keeps its identity from being used again.

    `seen` are the containers that were looked into, by identity and depth: shared ones would multiply.
    """
    if (id(container), depth) in seen:
        return
    seen.add((id(container), depth))
    if isinstance(container, dict):
        found.extend(container)
        container = container.values()
    for item in container:
        found.append(item)
        if depth and type(item) not in PLAIN:
            _look_into(found, item, depth - 1, seen)
    found.append(END)


def _look_into(found: list[Any], value: Any, depth: int, seen: set[tuple[int, int]]) -> None:
    """Append what a container contains or an object has as attributes."""
    kind = type(value)
    if kind in CONTAINERS:
        if value:
            _flatten(found, value, depth, seen)
    elif kind not in STATELESS and not issubclass(kind, torch.nn.Module):
        try:
            state = value.__dict__
        except Exception:  # noqa: BLE001  # an object may raise whatever it likes: it is not looked into
            return
        if type(state) is dict and state:
            _flatten(found, state, depth, seen)


END = "end of a container"


def _are_same(left: list[Any], right: list[Any]) -> bool:
    if len(left) != len(right):
        return False
    return all(map(operator.is_, left, right)) or all(
        a is b or (type(a) is type(b) and type(a) in PLAIN and repr(a) == repr(b))
        for a, b in zip(left, right, strict=True)
    )


def parts_of(*modules: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules and all below them, each once: what `Module.modules` gives, which is slow in deep models."""
    found: dict[int, torch.nn.Module] = {}
    pending = list(reversed(modules))
    while pending:
        part = pending.pop()
        if id(part) not in found:
            found[id(part)] = part
            pending.extend([child for child in reversed(part._modules.values()) if child is not None])
    return list(found.values())


class Attributes:
    """The attributes of modules at one moment, buffers and submodules included, to be compared with a later one.

    Containers among them are looked into, and objects are for their own attributes.
    """

    def __init__(self, modules: Iterable[torch.nn.Module]) -> None:
        self._parts = parts_of(*modules)
        self._before = [self._of(part) for part in self._parts]

    @staticmethod
    def _of(module: torch.nn.Module) -> tuple[list[str], list[Any], list[Any]]:
        attributes = module.__dict__
        inside: list[Any] = []
        seen: set[tuple[int, int]] = set()
        for value in attributes.values():
            if type(value) not in PLAIN:
                _look_into(inside, value, DEPTH, seen)
        # `parameter.data = …` leaves the tensor what it was and gives it other memory.
        addresses = [part.untyped_storage()._cdata for part in inside if type(part) in PLAIN_TENSORS]
        return list(attributes), list(attributes.values()), [*inside, *addresses]

    def changes(self) -> list[str]:
        """`Class.attribute` of everything that is not what it was."""
        found: dict[str, None] = {}
        for part, before in zip(self._parts, self._before, strict=True):
            now = self._of(part)
            if now[0] == before[0] and _are_same(before[1], now[1]) and _are_same(before[2], now[2]):
                continue
            old, new = dict(zip(before[0], before[1], strict=True)), dict(zip(now[0], now[1], strict=True))
            names = [name for name in (*old, *new) if not _are_same([old.get(name, END)], [new.get(name, END)])]
            found[f"{type(part).__name__}.{names[0] if names else 'of a container'}"] = None
        return list(found)


STARTED: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
"""Threads that were started while something was recorded. Like the threads themselves it belongs to the process: a
pool outlives the model that filled it, and may serve the next one."""


def _activity() -> dict[threading.Thread, object]:
    """How often each of these threads was given the processor so far, as Linux counts it.

    A dispatch mode sees its own thread only: what an idle thread of a pool is handed goes unseen. What cannot be
    counted, or runs now, is given something that equals nothing.
    """
    return {thread: _turns(thread) for thread in list(STARTED) if thread.is_alive()}


def _turns(thread: threading.Thread) -> object:
    try:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    except OSError:
        return object()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    turns = tuple(facts.get(f"{kind}_ctxt_switches") for kind in ("voluntary", "nonvoluntary"))
    return object() if None in turns or facts.get("State", "R").startswith("R") else turns


@contextmanager
def looking(ledger: Ledger) -> Iterator[None]:
    """Run the body as `recording` does and number nothing: for what is asked of shapes alone, it takes half the time.

    What is written meanwhile holds something unknown afterwards.
    """
    with torch.no_grad(), PythonData(taken := Recording(is_numbered=False)), Tracer(ledger, taken):
        yield


@contextmanager
def recording(ledger: Ledger, *modules: torch.nn.Module, writable: Iterable[torch.Tensor] = ()) -> Iterator[Recording]:
    """Record into `ledger` what the body computes, without gradients.

    The attributes of `modules` are watched, and so is all memory from before but that of the tensors in `writable`.
    """
    taken = Recording(
        known_before=len(ledger), writable=frozenset(tensor.untyped_storage()._cdata for tensor in writable)
    )
    attributes = Attributes(modules)
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads = _activity()
    start = threading.Thread.start

    def noticed(thread: threading.Thread) -> None:
        taken.void("a thread was started")
        STARTED.add(thread)
        start(thread)

    threading.Thread.start = noticed  # type: ignore[method-assign,assignment]  # restored below
    try:
        with torch.no_grad(), PythonData(taken), Tracer(ledger, taken):
            yield taken
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]  # what it was
        if _activity() != threads:
            taken.void("a thread that was started earlier ran")
        for change in attributes.changes():
            taken.void(f"the attribute {change} changed")
        if random.getstate() != python:
            taken.void("Python's random generator moved")
        if not _same_numpy_state(numpy, np.random.get_state()):
            taken.void("NumPy's random generator moved")
        if not torch.equal(torch.get_rng_state(), torch_state):
            taken.void("torch's random generator moved")


def _same_numpy_state(left: Any, right: Any) -> bool:
    return bool(left[0] == right[0] and np.array_equal(left[1], right[1]) and left[2:] == right[2:])
