"""This module enters miniatures into timm's registry for as long as a test looks at them, and takes them out again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from timm.models import _registry
from torch import nn

from conformance.decide import Examination

PREFIX = "miniature_"
"""No timm model is called so."""


@contextmanager
def registered(make: Callable[..., nn.Module], name: str | None = None) -> Iterator[str]:
    """The name under which `timm.create_model` builds what `make` makes, gone from the registry afterwards."""
    name = PREFIX + (name or make.__name__)

    def entry(pretrained: bool = False, **arguments: Any) -> nn.Module:
        kept = {key: value for key, value in arguments.items() if not key.startswith(("pretrained", "cache_dir"))}
        return make(**kept)

    entry.__name__ = entry.__qualname__ = name
    _registry.register_model(entry)
    try:
        yield name
    finally:
        _registry._clear_model_entries(name)
        del _registry._model_entrypoints[name]
        sys.modules[__name__].__all__.remove(name)


@contextmanager
def examining(make: Callable[..., nn.Module], name: str | None = None) -> Iterator[Examination]:
    """An examination of what `make` makes, closed afterwards."""
    with registered(make, name) as entry:
        examination = Examination(entry)
        try:
            yield examination
        finally:
            examination.close()
