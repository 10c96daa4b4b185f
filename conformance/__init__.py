"""This package is timm-conformance: what every timm model keeps of its promises, proved where others sample.

Importing this package is cheap: neither torch nor timm is imported until something of theirs is used.

`conformance.extract(model, x)` takes features, embedding and logits from one pass: `conformance.subject.extraction`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.subject.extraction import Extracted, NotSeparable, extract

__version__ = "0.1.0"
__all__ = ["Extracted", "NotSeparable", "__version__", "extract"]


def __getattr__(name: str) -> Any:
    if name in ("Extracted", "NotSeparable", "extract"):
        from conformance.subject import extraction

        return getattr(extraction, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
