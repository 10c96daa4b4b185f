"""This module keeps which memory may lie otherwise on a real device than on meta: a copy here may be none there.

Meta kernels lay some results out in another way than those of the CPU do: a convolution of an image in channels_last
gives channels_last there and not here, attention gives its heads in the order of the tokens. Values do not depend on
that. But `x.contiguous()` and `x.reshape(…)` give a copy or look at the same memory as x lies, and what is written to
one of the two then does or does not reach the other.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

LAID_OUT_ALIKE = frozenset(
    f"aten.{name}"
    for name in (
        "_adaptive_avg_pool2d", "_log_softmax", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
        "_softmax", "_to_copy", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "_weight_norm_interface",
        "adaptive_max_pool2d", "addmm", "amax", "amin", "avg_pool2d", "baddbmm", "bmm", "cat", "clone",
        "constant_pad_nd", "cumsum", "flip", "gather", "grid_sampler_2d", "index", "index_select", "lift_fresh_copy",
        "max_pool2d_with_indices", "mean", "mm", "native_batch_norm", "native_dropout", "native_layer_norm", "repeat",
        "sort", "std", "sum", "topk", "upsample_bicubic2d", "upsample_bilinear2d", "upsample_nearest2d", "var",
    )
)  # fmt: skip
"""Operations beside pointwise ones whose results lie alike on meta and on the CPU, whatever their operands' layout
(tests/engine/test_open_layouts.py)."""

BY_STRIDES = frozenset({"aten.as_strided", "aten.as_strided_", "aten.as_strided_scatter", "aten.as_strided_copy"})
"""Operations whose result depends on how their first argument lies."""


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

    def enter(
        self, operands: Iterable[torch.Tensor], results: Iterable[torch.Tensor], *, are_laid_out_alike: bool
    ) -> None:
        """Say that an operation made `results` of `operands`."""
        if any(
            self.is_open(operand) or not (are_laid_out_alike or operand.is_contiguous())
            for operand in operands
            if operand.is_meta and operand.dim()
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

    def ask(self, source: torch.Tensor, result: torch.Tensor) -> None:
        """Say that `result` is a copy of `source` or looks at its memory, as that lies."""
        if self.is_open(source):
            self._shared.update(tensor.untyped_storage()._cdata for tensor in (source, result))

    def may_be_shared(self, storage: torch.UntypedStorage) -> bool:
        """Whether something that is written to the storage may or may not reach another on a real device."""
        return storage._cdata in self._shared
