"""This module draws what is measured with: weights by their names, images, statistics that fit them nearly."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import nn

PATCHES = 5
"""Patches of colour across an image, and down it."""


def generator(*key: object) -> np.random.Generator:
    """A generator that gives the same numbers for the same key on every machine."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def draw(tensor: torch.Tensor, name: str, seed: int, *, is_parameter: bool) -> None:
    """Fill a floating tensor with numbers that depend on its name and the seed: none is zero, none says nothing.

    Matrices and kernels are scaled by their fan-in, so that what passes through keeps its size; biases have either
    sign, as have gains after training; buffers, which are statistics for the most part, are positive.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.detach())
    numbers = generator(seed, name)
    size = tuple(tensor.shape)
    if is_parameter and tensor.dim() > 1:
        widest = math.sqrt(3 / max(1, math.prod(size[1:])))
        values = numbers.random(size)
        values *= 2 * widest
        values -= widest
    else:
        values = numbers.uniform(0.5, 1.5, size)
        if is_parameter:
            values *= numbers.choice((-0.5, 0.5) if name.endswith("bias") else (-1.0, 1.0, 1.0, 1.0), size)
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.asarray(values)))


def images(seed: int, shape: tuple[int, int, int, int]) -> torch.Tensor:
    """Images of (batch, channels, height, width) as float64: patches of colour with noise, each with its own contrast.

    Noise alone would not do: over a whole image one is like the other, and deep features hardly differ.
    """
    numbers = generator(seed, "images")
    batch, channels, height, width = shape
    patches = numbers.standard_normal((batch, channels, PATCHES, PATCHES))
    rows, columns = (np.arange(size) * PATCHES // size for size in (height, width))
    contrast = np.linspace(0.5, 2.0, batch).reshape(batch, 1, 1, 1)
    values = patches[:, :, rows][..., columns] * contrast + numbers.standard_normal(shape) * 0.3
    return torch.from_numpy(values)


def draw_all(
    tensors: Iterable[tuple[str, str, torch.Tensor]],
    seed: int,
    known: set[int],
    kind_of_weights: str = "",
    aliases: dict[str, str] | None = None,
) -> None:
    """Draw each of (kind, name, tensor) that `is_drawn`, and enter their storages into `known`, whose are left alone.

    Tensors that share a storage stay tied, and are drawn by the first of their names in order. `aliases` has the name
    by which a model before drew each of its tensors: another that lacks this name, or has no tie, draws by it too.
    """
    aliases = {} if aliases is None else aliases
    tied: dict[int, list[tuple[str, str, torch.Tensor]]] = {}
    for entry in sorted(tensors, key=lambda entry: entry[1]):
        tied.setdefault(entry[2].untyped_storage()._cdata, []).append(entry)
    for address, entries in tied.items():
        names = [name for _, name, _ in entries]
        name = next((aliases[one] for one in names if one in aliases), names[0])
        aliases.update((one, name) for one in names if one not in aliases)
        kind, _, tensor = next((entry for entry in entries if is_drawn(entry[0], entry[2])), entries[0])
        if address not in known and is_drawn(kind, tensor):
            draw(tensor, f"{kind_of_weights}{name}", seed, is_parameter=kind == "parameter")
        known.add(address)


def is_drawn(kind: str, tensor: torch.Tensor) -> bool:
    """Whether a "parameter" or "buffer" is drawn: weights are, and buffers that hide what is done with them (nothing
    but zeros, nothing but ones, an identity matrix).

    What else a buffer holds (masks, quantiles, places) is a constant that may mean something.
    """
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False
    return kind == "parameter" or bool((tensor == 0).all()) or bool((tensor == 1).all()) or _is_identity(tensor)


def _is_identity(tensor: torch.Tensor) -> bool:
    is_square = tensor.dim() == 2 and tensor.shape[0] == tensor.shape[1]
    return is_square and torch.equal(tensor, torch.eye(len(tensor), dtype=tensor.dtype, device=tensor.device))


def has_statistics(module: nn.Module) -> bool:
    """Whether a module is a batch norm: it keeps a mean and a variance of what passed through it."""
    return getattr(module, "running_mean", None) is not None and getattr(module, "running_var", None) is not None


def statistics(model: nn.Module, call: Callable[[], object], seed: int) -> dict[str, torch.Tensor]:
    """By name, statistics that the batch norms of the model have of one call, moved a little: none fits exactly.

    The model, which is in eval mode, is not to be used afterwards.
    """
    norms = {name: module for name, module in model.named_modules() if has_statistics(module)}
    for module in norms.values():
        module.train()
        module.momentum = 1.0
    with torch.no_grad(), contextlib.suppress(Exception):  # a model that does not run shows it where it is asked to
        call()
    found: dict[str, torch.Tensor] = {}
    for name, module in norms.items():
        mean, variance = (getattr(module, f"running_{kind}").detach() for kind in ("mean", "var"))
        numbers = generator(seed, f"statistics {name}")
        spread = torch.from_numpy(numbers.uniform(0.7, 1.4, tuple(variance.shape))).to(variance)
        offset = torch.from_numpy(numbers.uniform(-0.3, 0.3, tuple(mean.shape))).to(mean)
        found[f"{name}.running_var"] = variance = variance.clamp_min(1e-6) * spread
        found[f"{name}.running_mean"] = mean + offset * variance.sqrt()
    return found
