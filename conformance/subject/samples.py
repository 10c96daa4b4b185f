"""This module says which images a model declares to take, and makes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from conformance.subject.subject import Subject

LARGER = 2
"""Steps beyond the largest size that is declared, where a model names its smallest."""
TIMES = 2
"""How many times a declared side is the largest, where it does not."""


@dataclass(frozen=True)
class Sample:
    """One batch of images: how many, their size in pixels, how they lie in memory, and which they are."""

    batch: int
    height: int
    width: int
    channels_last: bool = False
    seed: int = 0
    """Of real images."""

    def __str__(self) -> str:
        size = f"{self.batch} images of {self.height} by {self.width} pixels"
        return f"{size} in channels_last" if self.channels_last else size

    def images(self, subject: Subject) -> torch.Tensor:
        """The images, of (batch, channels, height, width)."""
        images = subject.other_images(batch=self.batch, size=(self.height, self.width), seed=self.seed)
        # Where there is one channel both formats are the same memory.
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


@dataclass(frozen=True)
class Sizes:
    """The sizes of images, in pixels, that a model's default_cfg declares."""

    named: tuple[tuple[int, int], ...]
    """(height, width) of `input_size`, and of `test_input_size` and `min_input_size` where it has them."""
    heights: range
    widths: range
    """Sides that it takes as well, unless its `fixed_input_size` says that there are no others."""

    @property
    def is_fixed(self) -> bool:
        """Whether there are no sizes but the named ones."""
        return not self.heights


def sizes(subject: Subject) -> Sizes:
    """What the model's default_cfg says of the images that it takes.

    Where it says that other sizes than `input_size` do, those are meant that its strides divide as they divide the
    declared ones: in steps of the sides' common divisor if it names a `min_input_size`, and multiples of the declared
    ones if it does not.
    """
    config = subject.default_cfg
    listed = [config[key] for key in ("input_size", "test_input_size", "min_input_size") if config.get(key)]
    named = tuple(dict.fromkeys((int(size[-2]), int(size[-1])) for size in listed))
    if config.get("fixed_input_size"):
        return Sizes(named, range(0), range(0))
    smallest = config.get("min_input_size")
    sides = []
    for place in (0, 1):
        declared = [size[place] for size in named]
        if smallest:
            step = math.gcd(*declared)
            sides.append(range(int(smallest[place + 1]), max(declared) + LARGER * step + 1, step))
        else:
            sides.append(range(declared[0], TIMES * declared[0] + 1, declared[0]))
    return Sizes(named, *sides)
