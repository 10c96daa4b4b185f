"""This module runs the headed model on one image, and on a batch of which that image is one."""

from __future__ import annotations

from typing import Any

from conformance.engine.slices import Slicing
from conformance.subject.passes import Pass
from conformance.subject.real import with_output
from conformance.subject.subject import Subject

MANY = 43
"""Images in the batch of a proof: a prime that is no size of anything else in a model."""


def alone_and_among_many(subject: Subject) -> tuple[Pass, Pass]:
    """What the model gives for one image, and what it gives for that image in a batch of `MANY`.

    Raises:
        NotApart: what it computes of one image could not be told from the rest of the batch.
    """
    model = subject.headed
    image, same_image = subject.other_images(batch=1), subject.other_images(batch=1)
    images = subject.other_images(batch=MANY)
    slices: list[Slicing] = []

    def among_many() -> Any:
        slices.append(Slicing(images, same_image))
        with slices[-1]:
            return model(images)

    alone = subject.run(lambda: model(image), model)
    many = subject.run(among_many, model)
    return alone, with_output(subject, many, slices[-1].part_of(many.output))
