"""This module carries weights from one release of timm to another and measures what both compute from them.

The two releases cannot be in one process. The process with the older one draws the weights, as `RealSubject` does,
runs the model and leaves both in a file; the process with the newer one loads the weights and compares.

Weights are float32 in the file; both processes compute in the same dtype, float64 where the model is small enough.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from conformance.engine import measure
from conformance.release import OUTPUTS, Carried, Measured
from conformance.subject.build import in_eval_mode
from conformance.subject.passes import tensors_of
from conformance.subject.real import RealSubject
from conformance.subject.refusals import said
from conformance.subject.subject import Subject

LARGEST_IN_DOUBLE = 2**28
"""Parameters up to which float64 is used."""


class NotCarried(Exception):
    """The weights of one release cannot be loaded into the model of the other. Its text says why."""


def depart(name: str, file: Path, *, in_double: bool = True) -> None:
    """Draw weights for the model of this release, run it, and write both to the file.

    It runs in float32, or, if that is wanted and it is small enough, in float64.

    Raises:
        Exception: whatever building or running the model raises.
    """
    subject = RealSubject(Subject(name), 0, torch.float32)
    try:
        model, images = subject.build_headed(), subject.images
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        is_small = sum(tensor.numel() for tensor in state.values()) <= LARGEST_IN_DOUBLE
        dtype = torch.float64 if in_double and is_small else torch.float32
        torch.save(
            {
                "state": state,
                "images": images,
                "classes": getattr(model, "num_classes", None),
                "dtype": dtype,
                "outputs": _outputs(model, images, dtype),
            },
            file,
        )
    finally:
        subject.close()


def arrive(name: str, file: Path) -> Carried:
    """Load the weights in the file into the model of this release, run it, and compare.

    Raises:
        NotCarried: The weights do not fit, also not as timm's own filter for checkpoints changes them.
        Exception: whatever building or running the model raises.
    """
    left = torch.load(file, weights_only=True, mmap=True)
    model, loaded_by = _loaded(name, left["state"], left["classes"])
    right = _outputs(model, left["images"], left["dtype"])
    compared = {output: _compared(left["outputs"][output], right[output]) for output in OUTPUTS}
    return Carried(outputs=compared, dtype=str(left["dtype"]).removeprefix("torch."), loaded_by=loaded_by)


def _loaded(name: str, state: Mapping[str, torch.Tensor], classes: int | None) -> tuple[nn.Module, str]:
    arguments: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    model = timm.create_model(name, **arguments)
    expected = {key: tensor.shape for key, tensor in model.state_dict().items()}
    if expected == {key: tensor.shape for key, tensor in state.items()}:
        model.load_state_dict(state)
        return in_eval_mode(model), "name"
    del model
    gc.collect()
    # timm loads it as it loads its own checkpoints, which may be as old as this one.
    declared: dict[str, Any] = {"state_dict": dict(state), "custom_load": False, "label_offset": 0}
    if classes is not None:
        declared["num_classes"] = classes
    try:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=declared, **arguments)
    except Exception as error:
        raise NotCarried(f"its weights cannot be loaded: {said(error)}") from error
    return in_eval_mode(model), "timm"


def _outputs(model: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> dict[str, dict[str, Any]]:
    """By name, each output as it is and with other rounding errors; or what was raised instead."""
    model, images = in_eval_mode(model.to(dtype)), images.to(dtype)
    calls: dict[str, Callable[[], Any]] = {
        "features": lambda: model.forward_features(images.clone()),  # type: ignore[operator]  # timm's models have it
        "pre_logits": lambda: model.forward_head(model.forward_features(images.clone()), pre_logits=True),  # type: ignore[operator]  # likewise
        "logits": lambda: model(images.clone()),
    }
    found: dict[str, dict[str, Any]] = {}
    with torch.no_grad():
        for output, call in calls.items():
            try:
                as_it_is = [tensor.clone() for tensor in tensors_of(call())]
                with measure.Rounding(0):
                    again = [tensor.clone() for tensor in tensors_of(call())]
            except Exception as error:  # noqa: BLE001  # the boundary: a model may raise anything
                found[output] = {"raised": said(error)}
            else:
                found[output] = {"tensors": as_it_is, "again": again}
    return found


def _compared(left: Mapping[str, Any], right: Mapping[str, Any]) -> Measured:
    if "raised" in left:
        return Measured(is_same=None, raises=True, problem=f"the older release raises {left['raised']}")
    if "raised" in right:
        return Measured(is_same=False, raises=True, problem=f"it is computed no more: {right['raised']}")
    shapes = [[tuple(tensor.shape) for tensor in side["tensors"]] for side in (left, right)]
    if shapes[0] != shapes[1]:
        return Measured(is_same=False, problem=f"its shape was {_said(shapes[0])} and is {_said(shapes[1])}")
    apart = measure.difference(left["tensors"], right["tensors"], left["again"], right["again"])
    return Measured(
        is_same=apart.is_none,
        relative_error=apart.error,
        cosine_similarity=_cosine(left["tensors"], right["tensors"]),
        problem=apart.problem,
    )


def _said(shapes: list[tuple[int, ...]]) -> str:
    return str(shapes[0]) if len(shapes) == 1 else str(shapes)


def _cosine(left: list[torch.Tensor], right: list[torch.Tensor]) -> float | None:
    """The smallest cosine similarity of what is computed for one image."""
    if not left or not all(tensor.dim() and tensor.is_floating_point() for tensor in left):
        return None
    rows = [torch.cat([tensor.flatten(1).double() for tensor in side], dim=1) for side in (left, right)]
    return float(torch.nn.functional.cosine_similarity(rows[0], rows[1]).min())
