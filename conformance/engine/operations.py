"""This module reads an operation's schema: what it writes, whether it is a function, which twin it has."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch._ops import OpOverload

PURE_NAMESPACES = frozenset({"aten", "prims", "torchvision"})
"""Operations of other namespaces run code that schemas say nothing about."""

UNINITIALISED = frozenset(
    f"aten.{name}"
    for name in ("empty", "empty_like", "empty_strided", "empty_permuted", "new_empty",
    "new_empty_strided", "_empty_affine_quantized", "_empty_per_channel_affine_quantized", "empty_quantized",
    "_efficientzerotensor")
)  # fmt: skip
"""Their results are whatever the memory held (native_functions.yaml gives them no tag for it)."""

UNTAGGED_RANDOM = frozenset(
    {
        "aten._cudnn_init_dropout_state",
        "aten._fused_dropout",
        "aten._philox_key_fold_in",
        "aten._philox_key_split",
        "aten._philox_normal",
        "aten._philox_normal_",
        "aten._philox_uniform",
        "aten._philox_uniform_",
        "aten.rrelu_with_noise",
        "aten.rrelu_with_noise_",
        "aten.rrelu_with_noise_functional",
        "quantized.dropout",
    }
)
"""Random, or next to it, though `nondeterministic_seeded` is not among their tags."""

FUSED_ATTENTION = frozenset(
    {
        "aten._efficient_attention_forward",
        "aten._flash_attention_forward",
        "aten._scaled_dot_product_attention_math",
        "aten._scaled_dot_product_cudnn_attention",
        "aten._scaled_dot_product_efficient_attention",
        "aten._scaled_dot_product_flash_attention",
        "aten._scaled_dot_product_flash_attention_for_cpu",
        "aten._scaled_dot_product_fused_attention_overrideable",
    }
)
"""Tagged random for their dropout: with `dropout_p=0.0` their first result is a function of the arguments. The
others may hold the state of a generator."""

LYING_WRITERS = frozenset(
    {
        "aten.batch_norm_gather_stats",
        "aten.batch_norm_gather_stats_with_counts",
        "aten.batch_norm_update_stats",
        "aten.cudnn_batch_norm",
        "aten.miopen_batch_norm",
        "aten.native_batch_norm",
    }
)
"""Operations that write the running statistics which their schema says they only read, each in all its overloads: in
training, if they are told whether it is that (aten/src/ATen/native/Normalization.cpp)."""

STATISTICS = frozenset({"running_mean", "running_var"})

UNDECLARED_VIEWS = frozenset(
    {
        "aten._reshape_alias.default",
        "aten._unsafe_view.default",
        "aten.unsafe_split.Tensor",
        "aten.unsafe_split_with_sizes.default",
    }
)
"""Operations that return a view of their input though their schema says nothing of it."""

RESIZERS = frozenset({"aten.resize_", "aten.resize_as_", "aten.set_"})
"""In-place operations that may give a tensor other memory."""

OVERWRITERS = frozenset({"aten.copy_", "aten.fill_", "aten.zero_"})
"""In-place operations that do not read what they overwrite."""


@dataclass(frozen=True)
class Operation:
    """What a schema, corrected by the lists above, says of one overload."""

    label: str
    """Namespace, name and overload: `aten.add.Tensor`."""
    packet: str
    """Namespace and name: `aten.add`."""
    modelled: bool
    """Whether its namespace is one whose schemas can be believed."""
    arguments: tuple[tuple[str, Any], ...]
    """(name, default) in the order of the schema; the default is None where there is none."""
    written: tuple[int, ...]
    """Positions of the arguments that it writes."""
    overwrites: bool
    """Whether what it writes is not read before."""
    is_out: bool
    """Whether what it writes is given by `out=` arguments alone."""
    is_pointwise: bool
    """Whether each element of a result comes of those in its place alone."""
    returns_views: bool
    """Whether its schema says that a result is an argument or looks at one."""
    only_looks: bool
    """Whether all it does is to give back other views of its arguments."""
    random: bool
    dropout_position: int | None
    """Where the argument is that makes a random operation deterministic when it is 0.0."""
    uninitialised: bool
    is_geometry_only: bool
    """An `inplace_view`: it changes how a tensor looks at its storage, not what the storage holds."""
    twin: str | None
    """Label of the out-of-place overload with the same arguments, for in-place and `out=` variants."""


@functools.cache
def operation(overload: OpOverload) -> Operation:
    """The operation that `overload` names."""
    schema = overload._schema
    namespace, _, _ = schema.name.partition("::")
    packet = f"{namespace}.{schema.name.partition('::')[2]}"
    label = str(overload)
    written = tuple(
        position
        for position, argument in enumerate(schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    names = [argument.name for argument in schema.arguments]
    if packet in LYING_WRITERS:
        written = tuple(place for place, name in enumerate(names) if name in STATISTICS or place in written)
    tags = overload.tags
    is_out = bool(written) and all(schema.arguments[position].is_out for position in written)
    return Operation(
        label=label,
        packet=packet,
        modelled=namespace in PURE_NAMESPACES,
        arguments=tuple(
            (argument.name, argument.default_value if argument.has_default_value() else None)
            for argument in schema.arguments
        ),
        written=written,
        overwrites=is_out or packet in OVERWRITERS,
        is_out=is_out,
        is_pointwise=torch.Tag.pointwise in tags,
        returns_views=any(result.alias_info is not None for result in schema.returns),
        only_looks=namespace in PURE_NAMESPACES
        and all(argument.alias_info is None or not argument.alias_info.is_write for argument in schema.arguments)
        and bool(schema.returns)
        and all(result.alias_info is not None for result in schema.returns),
        random=torch.Tag.nondeterministic_seeded in tags or packet in UNTAGGED_RANDOM,
        dropout_position=names.index("dropout_p") if packet in FUSED_ATTENTION and "dropout_p" in names else None,
        uninitialised=packet in UNINITIALISED,
        is_geometry_only=torch.Tag.inplace_view in tags and packet not in RESIZERS,
        twin=_twin(overload, packet, is_out) if written else None,
    )


def _twin(overload: OpOverload, packet: str, is_out: bool) -> str | None:
    """The label of the functional overload that computes what `overload` writes, or None."""
    namespace, _, name = packet.partition(".")
    base = name if is_out else name.removesuffix("_")
    if name == base and not is_out:
        return None
    functional = getattr(getattr(torch.ops, namespace), base, None)
    if functional is None:
        return None
    wanted = [(a.name, str(a.type)) for a in overload._schema.arguments if not a.is_out]
    for candidate in functional.overloads():
        schema = getattr(functional, candidate)._schema
        if [(a.name, str(a.type)) for a in schema.arguments] == wanted and not any(
            a.alias_info is not None and a.alias_info.is_write for a in schema.arguments
        ):
            return f"{namespace}.{base}.{candidate}"
    return None
