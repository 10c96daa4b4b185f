"""This module says what kernels of real devices do where those of the meta device differ: dtypes and memory formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from conformance.engine.operands import tensors_in

CONVOLUTION = "aten.convolution"
HALF = (torch.bfloat16, torch.float16)


def refuse_dtypes(packet: str, label: str, args: Sequence[Any]) -> None:
    """Raise where a real kernel raises because of its operands' dtypes, and the meta kernel does not.

    Raises:
        RuntimeError: as the real kernel, in words of ours.
    """
    rule = _RULES.get(packet)
    if rule is not None:
        # What has no dimensions is a number: `x[x < 0] = zero` fills with it.
        rule(label, [tensor.dtype for tensor in tensors_in(args) if tensor.dim()])
    if packet in _CASTING_BACK and isinstance(args[0], torch.Tensor) and not args[0].is_floating_point():
        computed = torch.result_type(args[0], args[1])
        if not torch.can_cast(computed, args[0].dtype):
            raise RuntimeError(f"{label}: {_listed([computed])} cannot be cast to {_listed([args[0].dtype])}")


def keeps_channels_last(packet: str, args: Sequence[Any]) -> bool:
    """Whether a real kernel gives its result in channels_last, as its input is, where the meta kernel does not.

    (aten/src/ATen/native/ConvUtils.h: `mkldnn_conv_use_channels_last`, `cudnn_conv_suggest_memory_format`.)
    """
    return packet == CONVOLUTION and args[0].dim() == 4 and not args[0].is_contiguous() and _is_channels_last(args[0])


def _is_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


def _of_one(label: str, dtypes: list[torch.dtype]) -> None:
    """Floating operands of one dtype."""
    _all_of_one(label, [dtype for dtype in dtypes if dtype.is_floating_point])


def _all_of_one(label: str, dtypes: list[torch.dtype]) -> None:
    """Operands of one dtype, which is not bool."""
    _no_truth(label, dtypes)
    if len(set(dtypes)) > 1:
        raise RuntimeError(f"{label}: expected operands of one dtype but found {_listed(dtypes)}")


def _with_a_fraction(label: str, dtypes: list[torch.dtype]) -> None:
    """A first operand that is no whole number."""
    if dtypes and not (dtypes[0].is_floating_point or dtypes[0].is_complex):
        raise RuntimeError(f"{label}: there is no kernel for {_listed(dtypes[:1])}")


def _no_truth(label: str, dtypes: list[torch.dtype]) -> None:
    """No bool."""
    if torch.bool in dtypes:
        raise RuntimeError(f"{label}: there is no kernel for bool")


def _normalising(label: str, dtypes: list[torch.dtype]) -> None:
    """Parameters of the input's dtype, or of float32 where that is of half precision.

    (aten/src/ATen/native/cpu/mixed_data_type.h.)
    """
    given, *parameters = dtypes
    others = [dtype for dtype in parameters if dtype != given]
    if others and (given not in HALF or any(dtype != torch.float32 for dtype in parameters)):
        raise RuntimeError(f"{label}: an input of {_listed([given])} does not go with parameters of {_listed(others)}")


def _of_full_precision(label: str, dtypes: list[torch.dtype]) -> None:
    """No bfloat16 on any device, and no float16 on the CPU."""
    found = [dtype for dtype in dtypes if dtype in (*HALF, torch.complex32)]
    if found:
        raise RuntimeError(f"{label}: there is no kernel for {_listed(found)}")


def _listed(dtypes: Sequence[torch.dtype]) -> str:
    return " and ".join(str(dtype).removeprefix("torch.") for dtype in dict.fromkeys(dtypes))


_RULES: dict[str, Callable[[str, list[torch.dtype]], None]] = {
    f"aten.{name}": rule
    for rule, names in (
        (
            _of_one,
            """
            _weight_norm_interface linalg_cross
            grid_sampler_2d grid_sampler_3d index_add index_add_ index_copy index_copy_ index_put index_put_
            _index_put_impl_ _unsafe_index_put put put_
            """,
        ),
        (
            _normalising,
            """
            native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit
            _native_batch_norm_legit_no_training
            """,
        ),
        (_all_of_one, "addbmm addmm addmv baddbmm bmm convolution dot mm mv"),
        (_with_a_fraction, "_log_softmax _softmax gelu std std_mean var var_mean"),
        (_no_truth, "max_pool2d_with_indices rsub sub sub_"),
        (
            _of_full_precision,
            """
            _cdist_forward _fft_c2c _fft_c2r _fft_r2c _linalg_det _linalg_eigh _linalg_solve_ex _linalg_svd
            linalg_cholesky_ex linalg_eig linalg_householder_product linalg_lu linalg_qr linalg_solve_triangular
            """,
        ),
    )
    for name in names.split()
}
"""By operation, what real kernels ask of the dtypes of its operands."""

_CASTING_BACK = frozenset({"aten.add_", "aten.div_", "aten.mul_", "aten.sub_"})
"""What is computed in a common dtype and cast to that of its first operand, where that can be."""
