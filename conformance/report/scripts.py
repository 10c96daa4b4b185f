"""This module puts the page's ES modules into one script: a file that opens from disk cannot import others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.resources import files

ENTRY = "main.js"
_IMPORT = re.compile(r"^import \{(?P<names>[^}]*)\} from \"\./(?P<file>[\w.]+)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function|const|class)", re.MULTILINE)
_LIST = re.compile(r"^export \{[^}]*\};\n", re.MULTILINE)


def script() -> str:
    """The modules in the order in which they need one another, without imports and exports.

    Names at the top of two modules must differ; a test holds that.
    """
    return "\n".join(_EXPORT.sub("", _LIST.sub("", _IMPORT.sub("", text))) for text in _ordered(ENTRY, {}).values())


def _ordered(name: str, known: dict[str, str]) -> dict[str, str]:
    if name not in known:
        text = files("conformance.report").joinpath("static", name).read_text(encoding="utf-8")
        for needed in imported(text):
            _ordered(needed, known)
        known[name] = text
    return known


def imported(text: str) -> Iterable[str]:
    """The files that a module imports."""
    return [found["file"] for found in _IMPORT.finditer(text)]
