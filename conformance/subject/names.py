"""This module lists the names that can be audited."""

from __future__ import annotations

import timm


def names() -> list[str]:
    """Every entry of `timm.list_models()`, in code point order: the same in every process and locale.

    timm sorts naturally (`resnet18` before `resnet101`) and by module; xdist needs one order in all workers.
    """
    return sorted(timm.list_models())
