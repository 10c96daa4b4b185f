"""This module runs the headed model on one image, and on a batch of which that image is one."""

from __future__ import annotations

import contextlib
from typing import Any

from conformance.engine.sliced import Guess, NotApart
from conformance.engine.slices import Slicing
from conformance.subject.passes import Pass
from conformance.subject.real import with_output
from conformance.subject.subject import Subject

COUNTS = (2, 12, 43)
"""Images in the batches of a proof: some halve or quarter a batch where they can; and a prime that is no other size."""

FEW = 12


def alone(subject: Subject) -> Pass:
    """What the model gives for one image."""
    model, image = subject.headed, subject.other_images(batch=1)
    return subject.once("alone", lambda: subject.run(lambda: model(image), model))


def among(subject: Subject, count: int) -> Pass:
    """What the model gives for that image in a batch of `count`.

    Raises:
        NotApart: what it computes of one image could not be told from the rest of the batch.
    """
    images, same_image = subject.other_images(batch=count), subject.other_images(batch=1)

    def attempt(guess: Guess) -> Pass:
        # One of its own for each: what a refusal in the midst of a call leaves behind must not serve the next.
        model, slices = subject.another(), list[Slicing]()

        def among_many() -> Any:
            slices.append(Slicing(images, same_image, guess))
            with slices[-1]:
                return model(images)

        many = subject.run(among_many, model)
        if problems := [one.problem for one in slices if one.problem is not None]:
            raise NotApart(problems[0])  # in a call that was repeated
        return with_output(subject, many, slices[-1].part_of(many.output))

    # Much is as long as a small batch by chance, or a multiple of it.
    first, *others = (Guess.EITHER,) if count > FEW else tuple(Guess)
    try:
        return attempt(first)
    except NotApart:
        for guess in others:
            with contextlib.suppress(NotApart):
                return attempt(guess)
        raise
