"""This module keeps which memory may lie otherwise on a real device than on meta: a copy here may be none there.

Meta kernels lay some results out in another way than those of the CPU do: a convolution of an image in channels_last
gives channels_last there and not here, attention gives its heads in the order of the tokens. Values do not depend on
that. But `x.contiguous()` and `x.reshape(…)` give a copy or look at the same memory as x lies, and what is written to
one of the two then does or does not reach the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from conformance.engine.operations import Operation

LAID_OUT_ALIKE = frozenset(
    f"aten.{name}"
    for name in (
        "_adaptive_avg_pool2d", "_log_softmax", "_softmax", "_to_copy", "_upsample_bicubic2d_aa",
        "_upsample_bilinear2d_aa", "_weight_norm_interface", "adaptive_max_pool2d", "addmm", "amax", "amin",
        "avg_pool2d", "baddbmm", "bmm", "cat", "clone", "constant_pad_nd", "cumsum", "flip", "gather",
        "grid_sampler_2d", "index", "index_select", "lift_fresh_copy", "mean", "mm", "native_dropout",
        "native_layer_norm", "repeat", "sort", "stack", "std", "sum", "topk", "upsample_bicubic2d",
        "upsample_bilinear2d", "upsample_nearest2d", "var",
    )
)  # fmt: skip
"""Operations beside pointwise ones whose results lie alike on meta and on the CPU, whatever their operands' layout
(tests/engine/test_open_layouts.py; `nox -s layouts` holds all that is said here against each operator of torch's)."""

ALIKE_IN_CHANNELS_LAST = frozenset(
    f"aten.{name}"
    for name in ("_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "max_pool2d_with_indices",
    "native_batch_norm")
)  # fmt: skip
"""Those of which that is so where the first operand is in channels_last."""

UNLIKE = frozenset(
    f"aten.{name}"
    for name in ("angle", "complex", "copysign", "div.Tensor_mode", "floor_divide", "heaviside", "ldexp", "logaddexp",
    "logaddexp2", "logical_and", "logical_or", "logical_xor", "native_dropout_backward", "polar", "special_xlog1py",
    "xlogy")
)  # fmt: skip
"""Pointwise operations whose results lie otherwise where operands of several layouts meet, or complex ones."""

ALWAYS_UNLIKE = frozenset(f"aten.{name}" for name in ("_fft_r2c", "_linalg_svd", "linalg_eig", "nonzero_static"))
"""Operations whose results lie otherwise even where all operands lie in order."""

BY_STRIDES = frozenset({"aten.as_strided", "aten.as_strided_scatter", "aten.as_strided_copy"})
"""Operations whose result depends on how their first argument lies. `as_strided_` is told by the function alone: torch
uses it for a result of one pixel (aten/src/ATen/native/AdaptiveAveragePooling.cpp), which lies alike in any strides."""


def asked(how: str) -> str:
    """What to say of a question for how memory lies where that is open; `how` is what asked."""
    return f"{how} of memory that may lie otherwise on real devices"


WRITTEN = "memory was written that real tensors may share with others, or not, as they lie"


class OpenLayouts:
    """The storages that may lie otherwise on a real device, and those that may or may not be shared there.

    Storages are known by their addresses: whoever makes this keeps them alive.
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._shared: set[int] = set()
        self.believes_compiled = False
        """Whether compiled code runs that was looked into before, as a whole model."""
        self._is_within_compiled = False

    def enter(self, known: Operation, operands: Iterable[torch.Tensor], results: Iterable[torch.Tensor]) -> None:
        """Say that an operation made `results` of `operands`."""
        on_meta = [operand for operand in operands if operand.is_meta and operand.dim()]
        if (
            known.packet in ALWAYS_UNLIKE
            or any(map(self.is_open, on_meta))
            or not (all(map(_lies_in_order, on_meta)) or _lays_out_alike(known, on_meta))
        ):
            self._open.update(result.untyped_storage()._cdata for result in results)

    def open(self, tensor: torch.Tensor) -> None:
        """Say that real memory may lie otherwise."""
        self._open.add(tensor.untyped_storage()._cdata)

    def is_open(self, tensor: torch.Tensor) -> bool:
        """Whether real memory may lie otherwise."""
        return tensor.untyped_storage()._cdata in self._open

    @property
    def is_any_open(self) -> bool:
        """Whether some real memory may lie otherwise."""
        return bool(self._open)

    @contextmanager
    def believing_compiled(self) -> Iterator[None]:
        """Run the body as one that runs a compiled model, which was looked into."""
        before, self.believes_compiled = self.believes_compiled, True
        try:
            yield
        finally:
            self.believes_compiled = before

    @contextmanager
    def within_compiled(self) -> Iterator[None]:
        """Run the body as compiled code, of which nobody hears what it asks."""
        before, self._is_within_compiled = self._is_within_compiled, True
        try:
            yield
        finally:
            self._is_within_compiled = before

    def ask(self, source: torch.Tensor, result: torch.Tensor) -> None:
        """Say that `result` is a copy of `source` or looks at its memory, as that lies."""
        if self.is_open(source):
            self._shared.update(tensor.untyped_storage()._cdata for tensor in (source, result))

    def may_be_shared(self, storage: torch.UntypedStorage) -> bool:
        """Whether something that is written to the storage may or may not reach another on a real device."""
        return storage._cdata in self._shared or (self._is_within_compiled and storage._cdata in self._open)


def _lies_in_order(tensor: torch.Tensor) -> bool:
    """Whether a tensor is contiguous and, by the strides of dimensions of size 1, in no other memory format as well.

    A kernel takes `(n, 1, n, n)`, the strides of a pointwise convolution's weight in channels_last, for just that.
    """
    if not tensor.is_contiguous():
        return False
    step = 1
    for size, stride in zip(reversed(tensor.size()), reversed(tensor.stride()), strict=True):
        if stride != step:
            return False
        step *= max(size, 1)
    return True


def _lays_out_alike(known: Operation, operands: list[torch.Tensor]) -> bool:
    if known.packet in ALIKE_IN_CHANNELS_LAST:
        first = operands[0]
        # One row may be a row of `max_pool1d`, which has a kernel of its own.
        return first.dim() == 4 and first.size(2) > 1 and first.is_contiguous(memory_format=torch.channels_last)
    if known.packet in UNLIKE or known.label in UNLIKE:
        return False
    return known.is_pointwise or known.packet in LAID_OUT_ALIKE
