"""This module lists the names that can be audited."""

from __future__ import annotations

import inspect
from pathlib import PurePath

import timm

from conformance.subject.sentinels import is_sentinel


class NoName(Exception):
    """A model is registered under a name that cannot be a subject's. Its text is one sentence."""


def names() -> list[str]:
    """Every entry of `timm.list_models()`, in code point order: the same in every process and locale.

    timm sorts naturally (`resnet18` before `resnet101`) and by module; xdist needs one order in all workers.

    Raises:
        NoName: One of them has a lone surrogate, or begins as sentinels do.
    """
    found = sorted(timm.list_models())
    for name in found:
        if is_sentinel(name):
            raise NoName(f"a model is registered as {name!r}, as models of the suite's own are; give it another name")
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise NoName(f"a model is registered as {name!r}, which no file can hold; give it another name") from error
    return found


def source(name: str) -> str | None:
    """Where the function that is registered as `name` is, seen from the directory that its package lies in.

    `timm/models/resnet.py:1234`; the line is that of its first decorator. None where Python cannot say.
    """
    function = inspect.unwrap(timm.models.model_entrypoint(name))
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    directories = function.__module__.split(".")
    file = PurePath(code.co_filename).name
    if file != "__init__.py":
        directories.pop()
    return f"{'/'.join([*directories, file])}:{code.co_firstlineno}"
