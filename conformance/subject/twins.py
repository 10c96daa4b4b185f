"""This module says whether two models of one name that are built alike hold the same, as far as can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from conformance.engine.held import PLAIN
from conformance.engine.state import parts_of

OF_MODULES = frozenset(vars(nn.Module())) - {"_buffers"}
"""Attributes of every module that are not compared: weights are drawn, modules follow, hooks are counted."""


def hold_the_same(left: nn.Module, right: nn.Module) -> bool:
    """Whether buffers, plain tensors, arrays, numbers and words that the modules hold are equal, in lists as well."""
    ours, theirs = parts_of(left), parts_of(right)
    if list(map(type, ours)) != list(map(type, theirs)):
        return False
    return all(
        are_equal(
            {name: held for name, held in vars(one).items() if name not in OF_MODULES},
            {name: held for name, held in vars(other).items() if name not in OF_MODULES},
        )
        for one, other in zip(ours, theirs, strict=True)
    )


def are_equal(left: Any, right: Any) -> bool:
    """Whether two objects are known to differ in nothing; of what is compared in no way, nothing is known."""
    kind = type(left)
    if kind is not type(right):
        return False
    if kind in PLAIN:
        return repr(left) == repr(right)
    if isinstance(left, torch.Tensor):
        is_alike = left.shape == right.shape and left.dtype == right.dtype
        return is_alike and bool(((left == right) | ((left != left) & (right != right))).all())
    if kind is np.ndarray:
        return bool(np.array_equal(left, right))
    if isinstance(left, dict):
        return list(map(str, left)) == list(map(str, right)) and all(map(are_equal, left.values(), right.values()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(are_equal, left, right))
    return True
