"""This module notices work that is hidden from a recording's modes, or that real tensors have done by other code.

What it replaces in torch meanwhile is put back when the recording ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._C import DisableTorchFunction
from torch.autograd.profiler import record_function
from torch.utils import _python_dispatch

from conformance.engine.open_layouts import OpenLayouts
from conformance.engine.operands import tensors_in
from conformance.engine.recordings import Recording
from conformance.engine.script import kinds_in

AUTOCAST = "work under autocast, which acts on real tensors and on no meta tensor"

SWITCHES: tuple[tuple[Any, str], ...] = (
    (torch._C._DisableTorchDispatch, "__init__"),  # in the class, also for who imported that by name
    (torch._C.ExcludeDispatchKeyGuard, "__init__"),  # type: ignore[attr-defined]  # its stubs do not have it
    (torch._C._ExcludeDispatchKeyGuard, "__init__"),
    (torch._C._ForceDispatchKeyGuard, "__init__"),
    (torch._C, "DisableTorchFunction"),
    (torch._C, "DisableTorchFunctionSubclass"),
    (torch._C, "_SetExcludeDispatchKeyGuard"),
    (torch._C, "_dispatch_tls_set_dispatch_key_excluded"),
    (torch._C, "_is_alias_of"),
    (torch._C, "_overlaps"),
    (torch._C, "_pop_torch_dispatch_stack"),
    (torch._C, "_pop_torch_function_stack"),
    (torch._C, "_set_dispatch_mode"),
    (torch._C, "_set_skip_next_torch_function"),
    (torch._C, "_set_torch_function_state"),
    (_python_dispatch, "_disable_current_modes"),
)
"""What turns modes off, or asks about memory behind their back, and where it is had."""

UNHEARD = frozenset(getattr(place, name) for place, name in SWITCHES if name != "__init__")
"""Those that nobody hears where a file has imported them by name."""


@contextmanager
def unseen_work_is_noticed(taken: Recording) -> Iterator[None]:
    """Void the recording if something turns its modes off, but within a kernel, which no mode would see anyway.

    Marks for a profiler, which do so, compute nothing and are left out.
    """
    begins, ends = record_function.__enter__, record_function.__exit__
    originals = [getattr(place, name) for place, name in SWITCHES]

    def noticing(original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def switch(*args: Any, **kwargs: Any) -> Any:
            if torch._C._len_torch_dispatch_stack():
                taken.void(f"{name} may have hidden work from the recording")
            return original(*args, **kwargs)

        return switch

    for (place, name), original in zip(SWITCHES, originals, strict=True):
        setattr(place, name, noticing(original, place.__name__ if name == "__init__" else name))
    record_function.__enter__ = lambda self: self  # type: ignore[method-assign]
    record_function.__exit__ = lambda *_: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        record_function.__enter__ = begins  # type: ignore[method-assign]
        record_function.__exit__ = ends  # type: ignore[method-assign]
        for (place, name), original in zip(SWITCHES, originals, strict=True):
            setattr(place, name, original)


@contextmanager
def autocast_is_noticed(taken: Recording) -> Iterator[None]:
    """Void the recording if autocast is turned on, for whatever device: it acts on real tensors of that device alone.

    Where the machine has no such device, torch leaves it off, and elsewhere it is on. `torch.autocast(x.device.type,
    enabled=False)` passes on the meta device, where torch refuses it since the device has none
    (amp/autocast_mode.py); off, it changes nothing anywhere. timm up to 1.0.28 says so around a linear attention
    (models/efficientvit_mit.py).
    """
    made, entered = torch.autocast.__init__, torch.autocast.__enter__

    def make(
        self: torch.autocast, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: Any = None
    ) -> None:
        is_nothing = device_type == "meta" and enabled is False
        made(self, "cpu" if is_nothing else device_type, dtype, enabled, cache_enabled)
        vars(self)["asked_for"] = enabled

    def enter(self: torch.autocast) -> Any:
        if vars(self).get("asked_for", True):
            taken.stray(AUTOCAST)
        return entered(self)  # type: ignore[no-untyped-call]  # untyped in torch

    torch.autocast.__init__ = make  # type: ignore[method-assign]
    torch.autocast.__enter__ = enter  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__init__ = made  # type: ignore[method-assign]
        torch.autocast.__enter__ = entered  # type: ignore[method-assign]


@contextmanager
def compiling_is_noticed(taken: Recording) -> Iterator[None]:
    """Say that real tensors may go another way where something under `torch.compile` is called.

    Under modes Dynamo runs it as it is, and elsewhere as what it compiles, which may ask whether it is compiled.
    """
    from torch._dynamo import eval_frame  # seconds; whoever enters a mode imports it anyway

    original = eval_frame._callback_from_stance

    def chosen(callback: Any) -> Any:
        if callable(callback):
            taken.stray("what torch.compile runs otherwise on real tensors")
        return original(callback)

    eval_frame._callback_from_stance = chosen
    try:
        yield
    finally:
        eval_frame._callback_from_stance = original


COMPILED = (torch.jit.ScriptFunction, torch._C.ScriptMethod)


@contextmanager
def compiled_code_is_noticed(taken: Recording, layouts: OpenLayouts) -> Iterator[None]:
    """Say that real tensors may go another way where compiled code is called that depends on how memory lies.

    The TorchScript interpreter asks how memory lies, copies or does not, and attends by another kernel on a real
    device, and no function mode hears of it.
    """
    originals = [kind.__call__ for kind in COMPILED]

    def noticing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if layouts.believes_compiled:
                return original(self, *args, **kwargs)
            with DisableTorchFunction():  # a mode would see memory touched
                is_given_open = any(map(layouts.is_open, tensors_in((*args, *kwargs.values()))))
            try:
                with layouts.within_compiled():
                    result = original(self, *args, **kwargs)
            except Exception as error:
                # Some passes of TorchScript's fail under modes alone (numbers that were traced are tensors to them).
                taken.stray(f"what the model does after compiled code raised {type(error).__name__}", error)
                raise
            kinds = kinds_in(self.graph)
            asks, attends = not kinds.isdisjoint(ASKING), not kinds.isdisjoint(ATTENDING)
            if is_given_open or (asks and layouts.is_any_open) or (attends and (asks or any(map(_writes, kinds)))):
                taken.stray("compiled code works on memory that may lie otherwise on real devices")
            with DisableTorchFunction():
                for tensor in tensors_in(result) if attends else ():
                    layouts.open(tensor)
            return result

        return call

    for kind, original in zip(COMPILED, originals, strict=True):
        kind.__call__ = noticing(original)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for kind, original in zip(COMPILED, originals, strict=True):
            kind.__call__ = original  # type: ignore[method-assign]


ASKING = frozenset({"aten::is_contiguous", "aten::stride", "aten::as_strided"})
ATTENDING = frozenset({"aten::scaled_dot_product_attention", "aten::one_hot"})


def _writes(kind: str) -> bool:
    """Whether a node of that kind writes in place."""
    return kind.startswith("aten::") and kind.endswith("_") and not kind.endswith("__")


PADDED = "nested tensors, which an encoder makes of real ones that are padded"


@contextmanager
def padding_is_noticed(taken: Recording, parts: Iterable[torch.nn.Module] = ()) -> Iterator[None]:
    """Say that real tensors go another way through an encoder that is told of padding.

    It takes them to nested tensors and back, which leaves zeros where the padding was, and meta tensors not
    (torch/nn/modules/transformer.py). One of `parts` whose `forward` was wrapped before is taken for such.
    """
    kind = torch.nn.TransformerEncoder
    original = kind.forward
    if any(isinstance(part, kind) and part.enable_nested_tensor and "forward" in vars(part) for part in parts):
        taken.stray(PADDED)

    def forward(self: torch.nn.TransformerEncoder, *args: Any, **kwargs: Any) -> torch.Tensor:
        padding = args[2] if len(args) > 2 else kwargs.get("src_key_padding_mask")
        if padding is not None and self.enable_nested_tensor:
            taken.stray(PADDED)
        return original(self, *args, **kwargs)

    kind.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        kind.forward = original  # type: ignore[method-assign]
