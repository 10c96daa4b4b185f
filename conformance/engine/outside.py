"""This module watches what dispatch does not see: Python's own state while a recording is made.

A recording proves nothing if a generator moved, something that the modules keep changed, another thread worked or raw
memory was touched while it was taken.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    FunctionType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from torch._C import DisableTorchFunction
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode

from conformance.engine.ledger import Ledger
from conformance.engine.open_layouts import OpenLayouts, asked
from conformance.engine.operands import PLAIN_TENSORS, Strayed, Unmodelled
from conformance.engine.operations import PURE_NAMESPACES
from conformance.engine.recordings import WROTE_BEFORE, Recording
from conformance.engine.state import State
from conformance.engine.threads import OtherThreads
from conformance.engine.trace import Tracer
from conformance.engine.unseen import (
    AUTOCAST,
    autocast_is_noticed,
    compiled_code_is_noticed,
    compiling_is_noticed,
    padding_is_noticed,
    unseen_work_is_noticed,
)
from conformance.engine.values import Values

FROM_PYTHON_DATA = frozenset({torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor})
TEXT = frozenset({torch.Tensor.__format__, torch.Tensor.__repr__})
"""What reads numbers to put them into words, past modes (torch/_tensor_str.py)."""
RAW_MEMORY = frozenset(
    {
        torch.Tensor.data_ptr,
        torch.Tensor.untyped_storage,
        torch.Tensor.storage,
        torch.Tensor.__array__,
        torch.Tensor.__dlpack__,
        torch.Tensor.apply_,
        torch.Tensor.map_,
        torch.Tensor.map2_,
        torch.Tensor.numpy,
        torch.Tensor.share_memory_,
        torch.Tensor.register_hook,
    }
)
INDEXING = frozenset({torch.Tensor.__getitem__, torch.Tensor.__setitem__})
COPYING_AS_IT_LIES = frozenset(
    {
        torch.Tensor.contiguous, torch.Tensor.flatten, torch.Tensor.ravel, torch.Tensor.reshape,
        torch.Tensor.reshape_as, torch.Tensor.to, torch.flatten, torch.ravel, torch.reshape,
    }
)  # fmt: skip
"""What gives a copy or looks at the same memory, as its argument lies."""
LYING_AS_KERNELS_LIKE = frozenset({torch.nn.functional.one_hot, torch.nn.functional.scaled_dot_product_attention})
"""What is computed in another way on a real device, where its result lies otherwise."""
TELLING_HOW_IT_LIES = frozenset(
    {torch.Tensor.as_strided_, torch.Tensor.dim_order, torch.Tensor.is_contiguous, torch.Tensor.stride}
)
"""What depends on how its argument lies, beside the operations that do."""
TELLING_WHOSE_IT_IS = frozenset(
    {torch.Tensor._base.__get__, torch.Tensor._is_view, torch.Tensor.storage_offset}  # type: ignore[union-attr]
)
"""What depends on whether its argument looks at the memory of another."""
OF_LAYOUT = COPYING_AS_IT_LIES | LYING_AS_KERNELS_LIKE | TELLING_HOW_IT_LIES | TELLING_WHOSE_IT_IS
NAMED = (
    {function.__name__: function for function in sorted(OF_LAYOUT, key=str)}
    | dict.fromkeys(
        ("is_non_overlapping_and_dense", "is_strides_like_format", "sym_is_contiguous", "sym_stride"),
        torch.Tensor.stride,
    )
    | {"sym_storage_offset": torch.Tensor.storage_offset}
)
"""The same by the names of operations, which models may call as such."""
WATCHED = FROM_PYTHON_DATA | RAW_MEMORY | INDEXING | OF_LAYOUT | TEXT


class PythonData(TorchFunctionMode):
    """The function mode of a recording: constants from Python data are made on the CPU, raw memory is noticed.

    `torch.tensor` and its like fill memory without dispatching: made on the meta device they would be unknown. On the
    CPU they have bytes, and the copy that follows is dispatched.
    """

    def __init__(self, recording: Recording, ledger: Ledger | None = None) -> None:
        super().__init__()
        self._recording = recording
        self._ledger = ledger

    def _note_layout(self, layouts: OpenLayouts, func: Any, source: torch.Tensor, result: Any) -> None:
        if func in TELLING_HOW_IT_LIES:
            if layouts.is_open(source):
                self._recording.stray(asked(func.__name__))
        elif func in TELLING_WHOSE_IT_IS:
            if layouts.is_open(source) or layouts.may_be_shared(source.untyped_storage()):
                self._recording.stray(asked(_name_of(func)))
        elif type(result) in PLAIN_TENSORS:
            if func in COPYING_AS_IT_LIES:
                layouts.ask(source, result)
            else:
                layouts.open(result)

    def _note_classes(self, ledger: Ledger, index: torch.Tensor, num_classes: Any = -1, **_: Any) -> None:
        found = ledger.ranges.of(index)
        if found is not None and type(num_classes) is int and (found.low < 0 or 0 < num_classes <= found.high):
            self._recording.stray(
                f"one_hot with classes from {found.low} to {found.high}, where there are {num_classes}"
            )

    def _watched(self, func: Any) -> Any:
        """What is called, an operation of torch's under the name that Python has for it."""
        if isinstance(func, OpOverload | OpOverloadPacket):
            namespace, _, name = str(func).partition(".")
            if namespace not in PURE_NAMESPACES:
                self._recording.void(f"the operation {func}")
            return NAMED.get(name.partition(".")[0])
        if not _is_torchs(func):
            # One that hands itself to modes: what it calls is shown to none.
            self._recording.void(f"the work of {_name_of(func)}, hidden from modes")
        return func

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch._C._is_any_autocast_enabled():
            self._recording.stray(AUTOCAST)
        try:
            return self._called(func, args, kwargs or {})
        except Exception as error:
            # As with an operation: the model may catch it, and real tensors have numbers and memory to give.
            if self._recording.strays is None:  # or the operation itself has said so
                self._recording.stray(
                    f"what the model does after {_name_of(func)} raised {type(error).__name__}", error
                )
            raise

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        watched = self._watched(func)
        if watched not in WATCHED:
            return func(*args, **kwargs)
        kwargs = dict(kwargs)
        if func in TEXT and self._ledger is not None and args[0].is_meta:
            self._recording.stray("the words that a model makes of a tensor's numbers")
            return "tensor(...)"
        if func in RAW_MEMORY:
            self._recording.void(f"raw memory was touched by {func.__name__}")
            return func(*args, **kwargs)
        if watched in OF_LAYOUT:
            result = func(*args, **kwargs)
            source: Any = args[0] if args else next(iter(kwargs.values()), None)
            if self._ledger is not None and type(source) in PLAIN_TENSORS:
                with DisableTorchFunction():  # another mode of ours would see memory touched
                    if watched is torch.nn.functional.one_hot:
                        self._note_classes(self._ledger, source, *args[1:], **kwargs)
                    if self._recording.is_numbered:
                        self._note_layout(self._ledger.layouts, watched, source, result)
            return result
        if func in INDEXING:
            args = (args[0], _with_tensors(args[1]), *args[2:])
        elif func in FROM_PYTHON_DATA:
            return _on_cpu_first(func, args, kwargs)
        return func(*args, **kwargs)


def _name_of(func: Any) -> str:
    """The name of what is called, of an attribute that is read its own."""
    named = func.__self__ if type(func) is MethodWrapperType else func
    return str(getattr(named, "__name__", type(named).__name__))


def _is_torchs(func: Any) -> bool:
    """Whether torch itself, or torchvision, defines what is called."""
    kind = type(func)
    if kind in OF_C or func is torch.device:  # a class that hands itself to modes; exported programs make devices
        return True
    home = func.__module__ if kind in (FunctionType, MethodType) else kind.__module__
    return str(home).partition(".")[0] in ("torch", "torchvision")


OF_C = (BuiltinFunctionType, ClassMethodDescriptorType, MethodDescriptorType, MethodWrapperType, WrapperDescriptorType)


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


def keeping_bytes() -> PythonData:
    """The function mode alone, for compilers: constants from Python data keep their bytes in what they capture."""
    return PythonData(Recording())


@contextmanager
def looking(ledger: Ledger) -> Iterator[None]:
    """Run the body as `recording` does and number nothing: for what is asked of shapes alone, it takes half the time.

    What is written meanwhile holds something unknown afterwards.

    Raises:
        Strayed: Real tensors may go another way.
    """
    with torch.no_grad(), _unnumbered(ledger):
        yield


@contextmanager
def differentiating(ledger: Ledger) -> Iterator[None]:
    """Run the body as `looking` does, with gradients.

    Raises:
        Strayed: Real tensors may go another way.
    """
    with torch.enable_grad(), _unnumbered(ledger):
        yield


@contextmanager
def _unnumbered(ledger: Ledger) -> Iterator[None]:
    taken = Recording(is_numbered=False)
    with (
        autocast_is_noticed(taken),
        compiling_is_noticed(taken),
        padding_is_noticed(taken),
        PythonData(taken, ledger),
        Tracer(ledger, taken),
        taken.telling_what_came_of_straying(),
    ):
        yield
    if taken.strays is not None:
        raise Strayed(taken.strays)


@contextmanager
def recording(ledger: Ledger, *modules: torch.nn.Module, writable: Iterable[torch.Tensor] = ()) -> Iterator[Recording]:
    """Record into `ledger` what the body computes, without gradients.

    What `modules` keep is watched, and so is all memory from before but that of the tensors in `writable`.
    """
    taken = Recording(
        known_before=len(ledger), writable=frozenset(tensor.untyped_storage()._cdata for tensor in writable)
    )
    state, moved = State(modules), _generators()
    threads = OtherThreads()
    try:
        with (
            unseen_work_is_noticed(taken),
            autocast_is_noticed(taken),
            compiled_code_is_noticed(taken, ledger.layouts),
            compiling_is_noticed(taken),
            padding_is_noticed(taken, state.parts),
            torch.no_grad(),
            PythonData(taken, ledger),
            Tracer(ledger, taken),
            taken.telling_what_came_of_straying(),
        ):
            yield taken
    finally:
        if threads.worked():
            taken.void(OTHER_THREAD)
        changes = state.changes()
        if changes and state.is_equal(partial(_hold_the_same, ledger)):
            changes = []
        for change in changes:
            taken.void(change)
        if changes or WROTE_BEFORE in taken.unprovable:
            kept = (ledger.content(tensor.untyped_storage()) for tensor in state.tensors() if tensor.is_meta)
            if depend_on_images(ledger.values, kept):
                taken.void(KEEPS_IMAGES)
        for change in moved():
            taken.void(change)


@contextmanager
def watching(*modules: torch.nn.Module) -> Iterator[list[str]]:
    """A list that says, once the body has ended, what it changed of what `modules` keep, and which generators moved."""
    state, moved = State(modules, reads_bytes=False), _generators()
    noticed: list[str] = []
    try:
        yield noticed
    finally:
        noticed += [*state.changes(), *moved()]


def _generators() -> Callable[[], list[str]]:
    """What says which of the process's generators have moved since."""
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()

    def moved() -> list[str]:
        same = {
            "Python's": random.getstate() == python,
            "NumPy's": _same_numpy_state(numpy, np.random.get_state()),
            "torch's": torch.equal(torch.get_rng_state(), torch_state),
        }
        return [f"{whose} random generator moved" for whose, is_same in same.items() if not is_same]

    return moved


OTHER_THREAD = "another thread worked meanwhile"
"""Perhaps for the model, perhaps not: the call may be made again to see."""

KEEPS_IMAGES = "what the model keeps was computed from the images"
"""Other images would meet it, and every recording has the same."""


def _hold_the_same(ledger: Ledger, old: torch.Tensor, new: torch.Tensor) -> bool:
    """Whether two tensors on the meta device hold the same, which nobody computed from the input, and look alike."""
    if not (old.is_meta and new.is_meta):
        return False
    try:
        number = ledger.value(old)
        return number == ledger.value(new) and not depend_on_images(ledger.values, [number])
    except Unmodelled:
        return False


def depend_on_images(values: Values, numbers: Iterable[int]) -> bool:
    """Whether one of the numbers stands for something computed from the input."""
    return any(node.label == "leaf.input" for node in values.reached_from(numbers))


def _same_numpy_state(left: Any, right: Any) -> bool:
    return bool(left[0] == right[0] and np.array_equal(left[1], right[1]) and left[2:] == right[2:])
