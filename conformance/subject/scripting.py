"""This module scripts the headed model, saves and loads the script, and runs both on the meta device."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from conformance.engine import script
from conformance.engine.open_layouts import asked
from conformance.engine.operands import Strayed, Unmodelled
from conformance.engine.outside import KEEPS_IMAGES, depend_on_images
from conformance.engine.unseen import AUTOCAST
from conformance.subject.passes import Pass
from conformance.subject.subject import Subject


def scripted(subject: Subject) -> torch.jit.ScriptModule:
    """`torch.jit.script` of a headed model that has not run: what it would keep from a run is not compiled in.

    Raises:
        Exception: whatever the compiler raises.
    """

    def make() -> torch.jit.ScriptModule:
        module = script.script(subject.untouched)
        if _effects(subject, module).has_state:
            # Saved before it runs, for the same reason; that it cannot be saved is another claim's.
            with contextlib.suppress(Exception):
                saved(subject, module)
        return module

    return subject.once("scripted", make)


UNTIL_OPTIMISED = 4
"""Calls after which torch's executor runs what its optimiser made of the program."""


def _effects(subject: Subject, module: torch.jit.ScriptModule) -> script.Effects:
    """What the scripted model does besides computing; what was loaded from it is the same program."""
    return subject.once("effects", lambda: script.effects_of(module))


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
    """Record a call of compiled code, which no watch of attributes sees into.

    Code that assigns to attributes, writes to containers or calls back into Python is called until it has kept what it
    keeps. The last call must find its attributes as it leaves them, and each must give what the first gave: then so do
    all that follow. What an object keeps that is no module cannot be looked at.
    """
    if subject.measures:
        for _ in range(UNTIL_OPTIMISED - 1):
            subject.look(call)
        return subject.run(call)
    effects = _effects(subject, scripted(subject))
    # A callback is a method of the classes that were compiled from, or a function in their files.
    watched = [subject.untouched] if effects.calls_python else []
    with script.executor_for_meta(), subject.ledger.layouts.believing_compiled():
        first = taken = subject.run(call, *watched)
        if effects.asks_how_memory_lies and subject.ledger.layouts.is_any_open:
            raise Strayed(asked("compiled code asks for the layout"))
        if effects.casts:
            return replace(taken, unprovable=(*taken.unprovable, AUTOCAST))
        if effects.uses_objects:
            why = "compiled code uses an object that is no module"
            return replace(taken, unprovable=(*taken.unprovable, why))
        if not effects.has_state:
            return taken
        second, state = subject.run(call, *watched), _state(subject, module)
        taken = subject.run(call, *watched)
    if first.number == second.number == taken.number and state == _state(subject, module):
        numbers = [value for value in state if isinstance(value, int)]
        if not depend_on_images(subject.ledger.values, numbers):
            return taken
        why = KEEPS_IMAGES
    else:
        why = "compiled code keeps something that changes from call to call"
    return replace(taken, unprovable=(*taken.unprovable, why))


def _state(subject: Subject, module: torch.jit.ScriptModule) -> list[object]:
    """The values of all attributes as numbers; what has no number equals nothing."""
    values: list[object] = []
    for value in script.attributes_of(module, scripted(subject)):
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
