"""This module notices work that is hidden from a recording's modes, or that real tensors have done by other code.

What it replaces in torch meanwhile is put back when the recording ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _python_dispatch

from conformance.engine.open_layouts import OpenLayouts
from conformance.engine.operands import tensors_in
from conformance.engine.recordings import Recording

AUTOCAST = "work under autocast, which acts on real tensors and on no meta tensor"

SWITCHES = ((torch._C, "_DisableTorchDispatch"), (_python_dispatch, "_disable_current_modes"))
"""What turns dispatch modes off, and where it is had."""


@contextmanager
def unseen_work_is_noticed(taken: Recording) -> Iterator[None]:
    """Void the recording if something turns its dispatch mode off."""
    originals = [getattr(place, name) for place, name in SWITCHES]

    def noticing(original: Callable[..., Any]) -> Callable[..., Any]:
        def switch(*args: Any, **kwargs: Any) -> Any:
            taken.void(f"{original.__name__} hid work from the tracer")
            return original(*args, **kwargs)

        return switch

    for (place, name), original in zip(SWITCHES, originals, strict=True):
        setattr(place, name, noticing(original))
    try:
        yield
    finally:
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


COMPILED = (torch.jit.ScriptFunction, torch._C.ScriptMethod)


@contextmanager
def compiled_code_is_noticed(taken: Recording, layouts: OpenLayouts) -> Iterator[None]:
    """Say that real tensors may go another way if compiled code is called with memory that may lie otherwise there.

    The TorchScript interpreter asks how memory lies, and copies or does not, and no function mode hears of it.
    """
    originals = [kind.__call__ for kind in COMPILED]

    def noticing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if layouts.believes_compiled:
                return original(self, *args, **kwargs)
            with torch._C.DisableTorchFunction():  # it would see memory touched
                if any(map(layouts.is_open, tensors_in((*args, *kwargs.values())))):
                    taken.stray("compiled code was given memory that may lie otherwise on real devices")
            result = original(self, *args, **kwargs)
            with torch._C.DisableTorchFunction():
                for tensor in tensors_in(result):
                    layouts.open(tensor)  # what attention gives lies as its kernel likes
            return result

        return call

    for kind, original in zip(COMPILED, originals, strict=True):
        kind.__call__ = noticing(original)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for kind, original in zip(COMPILED, originals, strict=True):
            kind.__call__ = original  # type: ignore[method-assign]


@contextmanager
def padding_is_noticed(taken: Recording) -> Iterator[None]:
    """Say that real tensors go another way through an encoder that is told of padding.

    It takes them to nested tensors and back, which leaves zeros where the padding was, and meta tensors not
    (torch/nn/modules/transformer.py).
    """
    kind = torch.nn.TransformerEncoder
    original = kind.forward

    def forward(self: torch.nn.TransformerEncoder, *args: Any, **kwargs: Any) -> torch.Tensor:
        padding = args[2] if len(args) > 2 else kwargs.get("src_key_padding_mask")
        if padding is not None and self.enable_nested_tensor:
            taken.stray("nested tensors, which an encoder makes of real ones that are padded")
        return original(self, *args, **kwargs)

    kind.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        kind.forward = original  # type: ignore[method-assign]
