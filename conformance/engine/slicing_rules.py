"""This module says of each operation when it treats the images of a batch alike and apart.

A rule must hold for every number of images and whatever they are: where it lets an operation pass, the operation done
to the slice of an image gives the slice of its result. One that is missing or too strict loses a proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from conformance.engine.operations import FUSED_ATTENTION
from conformance.engine.sliced import Call, Guess

Rule = Callable[[Call], Mapping[str, Any] | None]
"""Says that an operation treats slices apart, by giving the arguments that are others for a slice than for the batch.
None where nothing is to be paired. Raises NotApart."""


def elementwise(call: Call) -> Mapping[str, Any]:
    """Each element of the result depends on those at its place: what is of the batch lies alike, the rest spreads."""
    places = {pair.whole.dim() - pair.dim for pair in call.sliced.values()}
    if len(places) != 1 or len({pair.whole.shape[pair.dim] for pair in call.sliced.values()}) != 1:
        raise call.refused("meets tensors of the batch that lie differently")
    (place,) = places
    for tensor in call.tensors:
        if id(tensor) not in call.sliced and tensor.dim() >= place and tensor.shape[-place] != 1:
            raise call.refused("meets a tensor with an entry for each image")
    return {}


def along(*names: str) -> Rule:
    """The rule of what treats each dimension by itself, but for those that the arguments `names` list."""

    def rule(call: Call) -> Mapping[str, Any]:
        (dim, size, _), *more = {
            (pair.dim, pair.whole.dim(), pair.whole.shape[pair.dim]) for pair in call.sliced.values()
        }
        if more or len(call.sliced) != len({id(tensor) for tensor in call.tensors}):
            raise call.refused("meets tensors that lie differently")
        for name in names:
            listed = call.arguments.get(name)
            listed = [listed] if isinstance(listed, int) else listed
            if not listed or any(one % size == dim for one in listed):
                raise call.refused("goes across the images")
        return {}

    return rule


def leading(inner: int | Callable[[Call], int]) -> Rule:
    """The rule of what works on the last `inner` dimensions of its first argument, for each index of the others."""

    def rule(call: Call) -> Mapping[str, Any]:
        pair = call.only(call.names[0])
        count = inner if isinstance(inner, int) else inner(call)
        if pair.dim >= pair.whole.dim() - count:
            raise call.refused("goes across the images")
        return {}

    return rule


def sliced_whole(call: Call) -> Mapping[str, Any]:
    """`x[start:end:step]` along another dimension, or of the whole of that of the images."""
    pair = call.only()
    size = pair.whole.shape[pair.dim]
    is_whole = call["start"] in (None, 0) and (call["end"] is None or call["end"] >= size) and call["step"] == 1
    if call["dim"] % pair.whole.dim() == pair.dim and not is_whole:
        raise call.refused("takes some of the images")
    return {}


def reshaped(name: str) -> Rule:
    """The rule of a view with other sizes: images must still follow one another along a dimension."""

    def rule(call: Call) -> Mapping[str, Any]:
        pair, sizes = call.only(), list(call.output.shape)
        before = math.prod(pair.whole.shape[: pair.dim])
        for dim, size in enumerate(sizes):
            if size % call.count == 0 and math.prod(sizes[:dim]) == before:
                return {name: [*sizes[:dim], size // call.count, *sizes[dim + 1 :]]}
        raise call.refused("takes the images apart")

    return rule


def strides_of_one_place(call: Call) -> Mapping[str, Any]:
    """`as_strided_` where only strides of dimensions of size 1 change, as pooling of channels-last maps does."""
    pair = call.only()
    size, stride, offset, *_ = pair.look
    is_same = [n == 1 or step == new for n, step, new in zip(size, stride, call["stride"], strict=False)]
    if tuple(call["size"]) != size or call["storage_offset"] not in (None, offset) or not all(is_same):
        raise call.refused("looks at the batch in another way")
    return {"size": pair.part.shape}


def expanded(call: Call) -> Mapping[str, Any]:
    """More of the same along dimensions of size 1."""
    pair, sizes = call.only(), list(call.output.shape)
    sizes[pair.dim - pair.whole.dim()] = pair.part.shape[pair.dim]
    return {"size": sizes}


def repeated(call: Call) -> Mapping[str, Any]:
    """More of the same along any dimension but that of the images."""
    pair = call.only()
    if call["repeats"][pair.dim - pair.whole.dim()] != 1:
        raise call.refused("repeats the batch")
    return {}


def multiplied(first: str, second: str) -> Rule:
    """The rule of matrix products: images in the batch of both, in rows of the first or in columns of the second."""

    def rule(call: Call) -> Mapping[str, Any]:
        left, right = call.pair(first), call.pair(second)
        size = call.output.dim()
        if left is not None and right is not None:
            place = 0 if size == 3 and left.dim == right.dim == 0 else None
        elif left is not None:
            place = left.dim if left.dim == size - 2 else None
        elif right is not None:
            place = right.dim if right.dim == size - 1 else None
        else:
            place = None
        if place is None:
            raise call.refused("multiplies across the images")
        added = call.arguments["self"] if first != "self" else None
        if added is not None:
            pair, there = call.pair("self"), added.dim() - (size - place)
            if pair is not None and pair.dim != there:
                raise call.refused("adds a tensor of the batch that lies differently")
            if pair is None and there >= 0 and added.shape[there] != 1:
                raise call.refused("adds a tensor with an entry for each image")
        return {}

    return rule


def convolved(call: Call) -> Mapping[str, Any]:
    """Images in the batch, or in groups of channels with kernels of their own (conditional convolutions)."""
    images, kernels = call.pair("input"), call.pair("weight")
    if images is not None and images.dim == 0 and len(call.sliced) == 1:
        return {}
    is_grouped = (
        images is not None and images.dim == 1 and kernels is not None and kernels.dim == 0 and not call["transposed"]
    )
    if not is_grouped or call["groups"] % call.count or len(call.sliced) != 2 or call["bias"] is not None:
        raise call.refused("goes across the images")
    return {"groups": call["groups"] // call.count}


def normalised_by_statistics(call: Call) -> Mapping[str, Any]:
    """Batch norm by its running statistics."""
    if call.only("input").dim != 0 or call.arguments.get("training"):
        raise call.refused("goes across the images")
    return {}


def normalised_by_groups(call: Call) -> Mapping[str, Any]:
    """Group norm: the statistics are of an image's groups of channels."""
    if call.only("input").dim != 0:
        raise call.refused("goes across the images")
    return {"N": call["N"] // call.count}


def first_of_all(*names: str) -> Rule:
    """The rule of what goes through the first dimension of all of `names` in step; one without images has size 1."""

    def rule(call: Call) -> Mapping[str, Any]:
        if any(pair.dim for pair in call.sliced.values()) or any(call.pair(name) is None for name in names):
            raise call.refused("goes across the images")
        rank = max(tensor.dim() for tensor in call.tensors)
        for tensor in call.tensors:
            if id(tensor) not in call.sliced and tensor.dim() == rank and tensor.shape[0] != 1:
                raise call.refused("meets a tensor with an entry for each image")
            if id(tensor) in call.sliced and tensor.dim() != rank:
                raise call.refused("meets tensors that lie differently")
        return {}

    return rule


def indexed(call: Call) -> Mapping[str, Any]:
    """`x[:, places]`: places that are the same for each image, along other dimensions."""
    pair = call.only()
    indices = call["indices"]
    if any(index is not None and index.dtype not in (torch.int64, torch.int32) for index in indices):
        raise call.refused("is given a mask")
    if pair.dim < len(indices) and indices[pair.dim] is not None:
        raise call.refused("picks among the images")
    return {}


def picked(call: Call) -> Mapping[str, Any]:
    """`index_select`: places that are the same for each image, along another dimension."""
    pair = call.only()
    if call["dim"] % pair.whole.dim() == pair.dim:
        raise call.refused("picks among the images")
    return {}


def about_all(_: Call) -> None:
    """A number about the whole batch, as assertions ask for: it is of no image, and nothing is to be paired."""


def filled(call: Call) -> Mapping[str, Any]:
    """A constant of the sizes of a tensor of the batch, or such a tensor filled with one."""
    call.only()
    return {}


def spread(name: str) -> Rule:
    """The rule of what makes copies of something for each image: in a dimension as long as the batch, or a multiple.

    Whether such a dimension is that of the batch one can only guess. A wrong guess is no false proof: copies are alike.
    """

    def rule(call: Call) -> Mapping[str, Any] | None:
        sizes = list(call[name])
        equal = [dim for dim, size in enumerate(sizes) if size == call.count]
        longer = [dim for dim, size in enumerate(sizes) if size > call.count and size % call.count == 0]
        guessed = {Guess.EQUAL: equal, Guess.EITHER: equal + longer, Guess.LONGER: longer + equal}[call.guess]
        if not guessed:
            return None
        dim = guessed[0]
        source = call.arguments.get("self")
        if isinstance(source, torch.Tensor) and name == "size" and call.packet == "aten.expand":
            there = dim - len(sizes) + source.dim()
            if there >= 0 and source.shape[there] != 1:
                return None
        sizes[dim] //= call.count
        return {name: sizes}

    return rule


SPREADING: dict[str, Rule] = {
    "aten.expand": spread("size"),
    "aten.full": spread("size"),
    "aten.new_full": spread("size"),
    "aten.new_ones": spread("size"),
    "aten.new_zeros": spread("size"),
    "aten.ones": spread("size"),
    "aten.repeat": spread("repeats"),
    "aten.zeros": spread("size"),
}
"""Operations on what is not of the batch that give something for each image of it."""

RULES: dict[str, Rule] = {
    f"aten.{name}": rule
    for names, rule in (
        (
            "alias clone contiguous detach lift_fresh permute t transpose unsqueeze view_as_complex view_as_real",
            along(),
        ),
        ("_to_copy squeeze stack", along()),
        (
            "_log_softmax _safe_softmax _softmax amax amin argmax argmin cat cumsum gather max mean min",
            along("dim"),
        ),
        ("select sort split topk", along("dim")),
        ("split_with_sizes std std_mean sum unbind unsafe_split unsafe_split_with_sizes var var_mean", along("dim")),
        ("linalg_vector_norm norm prod logsumexp _fft_c2c _fft_c2r _fft_r2c", along("dim")),
        ("flip roll", along("dims")),
        ("unfold", along("dimension")),
        ("diagonal", along("dim1", "dim2")),
        ("slice", sliced_whole),
        ("_unsafe_view reshape view", reshaped("size")),
        ("as_strided_", strides_of_one_place),
        ("expand", expanded),
        ("repeat", repeated),
        ("mm bmm", multiplied("self", "mat2")),
        ("addmm", multiplied("mat1", "mat2")),
        ("baddbmm", multiplied("batch1", "batch2")),
        ("convolution", convolved),
        ("native_batch_norm cudnn_batch_norm _native_batch_norm_legit_no_training", normalised_by_statistics),
        ("native_group_norm", normalised_by_groups),
        ("native_layer_norm", leading(lambda call: len(call["normalized_shape"]))),
        ("_fused_rms_norm", leading(lambda call: len(call["normalized_shape"]))),
        ("constant_pad_nd", leading(lambda call: len(call["pad"]) // 2)),
        ("_adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d max_pool2d_with_indices reflection_pad2d", leading(2)),
        ("replication_pad2d upsample_bicubic2d upsample_bilinear2d upsample_nearest2d", leading(2)),
        ("_upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact2d", leading(2)),
        ("_adaptive_avg_pool3d avg_pool3d channel_shuffle im2col pixel_shuffle pixel_unshuffle", leading(3)),
        ("col2im", leading(2)),
        ("avg_pool1d", leading(1)),
        ("grid_sampler_2d", first_of_all("input", "grid")),
        ("index", indexed),
        ("index_select", picked),
        ("fill_ full_like ones_like zero_ zeros_like", filled),
        ("all any", about_all),
        # Elementwise, though their tags do not say so.
        ("copy_ floor_divide floor_divide_ hardswish hardswish_ polar", elementwise),
    )
    for name in names.split()
}
RULES |= {f"aten.{name}": spread("size") for name in ("new_full", "new_ones", "new_zeros")}
RULES |= dict.fromkeys(FUSED_ATTENTION, first_of_all("query", "key", "value"))
"""By operation, what says that it treats the images of a batch apart."""
