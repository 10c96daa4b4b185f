"""This module scripts the headed model, saves and loads the script, and runs both on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from conformance.engine import script
from conformance.engine.operands import Unmodelled
from conformance.subject.passes import Pass
from conformance.subject.subject import Subject


def scripted(subject: Subject) -> torch.jit.ScriptModule:
    """`torch.jit.script` of a headed model that has not run: what it would keep from a run is not compiled in.

    Raises:
        Exception: whatever the compiler raises.
    """

    def make() -> torch.jit.ScriptModule:
        module = script.script(subject.untouched)
        _uses_objects(subject, module)
        if _keeps_things(subject, module):
            # Saved before it runs, for the same reason.
            saved(subject, module)
        return module

    return subject.once("scripted", make)


def _keeps_things(subject: Subject, module: torch.jit.ScriptModule) -> bool:
    return subject.once("keeps things", lambda: script.changes_containers(module))


def _uses_objects(subject: Subject, module: torch.jit.ScriptModule) -> bool:
    return subject.once("uses objects", lambda: script.uses_objects(module))


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


def _run(subject: Subject, module: torch.jit.ScriptModule, call: Callable[[], Any]) -> Pass:
    """Record a call of compiled code, which no attribute watch sees into.

    Code that assigns to attributes or writes to containers is called until it has kept what it keeps. The last call
    must find its attributes as it leaves them, and each must give what the first gave: then so do all that follow.
    What an object keeps that is no module cannot be looked at.
    """
    assigned = script.assigned_attributes(module)
    with script.executor_for_meta():
        if _uses_objects(subject, module):
            return replace(subject.run(call), unprovable=("compiled code uses an object that is no module",))
        if not assigned and not _keeps_things(subject, module):
            return subject.run(call)
        first = subject.run(call)
        before, state = subject.run(call), _state(subject, assigned)
        taken = subject.run(call)
    if first.number == before.number == taken.number and state == _state(subject, assigned):
        return taken
    why = "compiled code keeps something that changes from call to call"
    return replace(taken, unprovable=(*taken.unprovable, why))


def _state(subject: Subject, assigned: list[tuple[torch.jit.ScriptModule, str]]) -> list[object]:
    """The values of attributes, tensors by number; what has no number equals nothing."""
    values: list[object] = []
    for part, attribute in assigned:
        value = getattr(part, attribute)
        try:
            values.append(subject.ledger.result(value))
        except Unmodelled:
            values.append(object())
    return values


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
        return _run(subject, module, lambda: module.forward_head(module.forward_features(images), pre_logits=True))

    return subject.once("scripted pre_logits", make)


def loaded_forward(subject: Subject) -> Pass:
    """The scripted model, saved, loaded and run on the images."""

    def make() -> Pass:
        original, images = scripted(subject), subject.images
        module = script.load(saved(subject, original))
        script.name_loaded_tensors(original, module, subject.ledger)
        taken = _run(subject, module, lambda: module(images))
        if script.restores_itself(module):
            return replace(taken, unprovable=(*taken.unprovable, "loading runs code of the model's own"))
        return taken

    return subject.once("loaded forward", make)
