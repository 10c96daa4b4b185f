"""This module finds out how small the images may be that a model is measured on."""

from __future__ import annotations

import torch

from conformance.subject.subject import BATCH, Subject

SIZES = (128, 160, 192, 224, 256, 288, 320, 384, 448)
"""Heights and widths that are tried, in pixels. The smallest leaves 4 x 4 places at the usual stride of 32: of one
place the mean is the maximum."""


def smallest_size(subject: Subject) -> int | None:
    """The smallest square images that the headed model takes and gives as many logits for, or None: as it declares."""
    _, height, width = subject.input_size
    return next((size for size in SIZES if size < min(height, width) and _takes(subject, size)), None)


def _takes(subject: Subject, size: int) -> bool:
    try:
        model, images = subject.headed, torch.empty((BATCH, subject.input_size[0], size, size), device="meta")
        output = subject.look(lambda: model(images))
    except Exception:  # noqa: BLE001  # a model may refuse as it likes
        return False
    return isinstance(output, torch.Tensor) and output.shape[-1] == subject.classes
