"""This module scripts the headed model, saves and loads the script, and runs both on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from conformance.engine import script
from conformance.subject.passes import Pass
from conformance.subject.subject import Subject


def scripted(subject: Subject) -> torch.jit.ScriptModule:
    """`torch.jit.script` of a headed model that has not run: what it would keep from a run is not compiled in.

    Raises:
        Exception: whatever the compiler raises.
    """

    def make() -> torch.jit.ScriptModule:
        module = script.script(subject.untouched)
        if script.changes_containers(module):
            # Saved before it runs, for the same reason.
            saved(subject, module)
        return module

    return subject.once("scripted", make)


def saved(subject: Subject, module: torch.jit.ScriptModule) -> bytes:
    """The scripted model as `torch.jit.save` writes it."""
    return subject.once("saved", lambda: script.save(module))


def is_mended_by_scriptable(subject: Subject) -> bool:
    """Whether the model built with `scriptable=True` scripts."""
    script.forget_everything()
    try:
        script.script(subject.build_headed(scriptable=True))
    except Exception:  # noqa: BLE001  # the question is whether it fails, however
        return False
    finally:
        script.forget_everything()
    return True


def state(subject: Subject) -> list[str]:
    """`Class.attribute` of what the compiled methods assign to."""
    return subject.once("script state", lambda: script.assigned_attributes(scripted(subject)))


def _run(subject: Subject, module: torch.jit.ScriptModule, call: Callable[[], Any]) -> Pass:
    """Record a call of compiled code, which no attribute watch sees into.

    Code that writes to containers is called until it has kept what it keeps: the last two calls must agree.
    """
    with script.executor_for_meta():
        taken = subject.run(call)
        if not script.changes_containers(module):
            return taken
        before, taken = subject.run(call), subject.run(call)
    if before.number == taken.number:
        return taken
    return Pass(taken.output, taken.number, ("compiled code keeps something that changes from call to call",))


def forward(subject: Subject) -> Pass:
    """The scripted model, run on the images."""

    def make() -> Pass:
        module, images = scripted(subject), subject.images
        return _run(subject, module, lambda: module(images))

    return subject.once("scripted forward", make)


def pre_logits(subject: Subject) -> Pass:
    """`forward_head(forward_features(images), pre_logits=True)` of the scripted model.

    Raises:
        AttributeError: scripting did not compile one of the two, since `forward` does not call it.
    """

    def make() -> Pass:
        module, images = scripted(subject), subject.images
        return _run(
            subject, module, lambda: module.forward_head(module.forward_features(images), pre_logits=True)
        )

    return subject.once("scripted pre_logits", make)


def loaded_forward(subject: Subject) -> Pass:
    """The scripted model, saved, loaded and run on the images."""

    def make() -> Pass:
        original, images = scripted(subject), subject.images
        module = script.load(saved(subject, original))
        script.name_loaded_tensors(original, module, subject.ledger)
        return _run(subject, module, lambda: module(images))

    return subject.once("loaded forward", make)
