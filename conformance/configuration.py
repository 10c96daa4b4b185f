"""This module is what a project says once and for all: `[tool.timm-conformance]` of its pyproject.toml."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from conformance.files import content, shown, toml

TABLE = "timm-conformance"
KEYS = ("models", "models-from", "import", "expectations", "fail-on")


class BrokenConfiguration(Exception):
    """The table cannot be used. Its text is one sentence for the user."""


@dataclass(frozen=True)
class Configuration:
    """The table; what it does not say is empty. Paths are as seen from the working directory."""

    models: tuple[str, ...] = ()
    models_from: tuple[Path, ...] = ()
    imports: tuple[str, ...] = ()
    expectations: str | None = None
    fail_on: str | None = None


def configuration(start: Path | None = None) -> Configuration:
    """The table of the nearest pyproject.toml, here or above.

    Raises:
        BrokenConfiguration: The file is no TOML, or the table has unknown keys or values of another type.
    """
    here = (start or Path()).absolute()
    places = (place / "pyproject.toml" for place in (here, *here.parents))
    file = next((place for place in places if os.path.isfile(place)), None)  # noqa: PTH113  # which never raises
    if file is None:
        return Configuration()
    try:
        document = toml(content(file).decode())
    except (OSError, ValueError) as error:  # a TOMLDecodeError and a UnicodeDecodeError are ValueErrors
        raise BrokenConfiguration(f"{str(file)!r} cannot be read: {' '.join(str(error).split())}") from error
    tools = document.get("tool", {})
    table = tools.get(TABLE, {}) if isinstance(tools, dict) else {}
    if not isinstance(table, dict):
        raise BrokenConfiguration(f"`tool.{TABLE}` of {str(file)!r} is {shown(table)} where a table was expected")
    for key in table:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KEYS)}"
            raise BrokenConfiguration(f"[tool.{TABLE}] of {str(file)!r} has the unknown key {shown(key)}; {hint}")
    expectations = _words(table, "expectations", file)
    if len(expectations) > 1:
        raise BrokenConfiguration(f"`expectations` of {str(file)!r} names several files; name one")
    named = expectations[0] if expectations else None
    return Configuration(
        models=_words(table, "models", file),
        models_from=tuple(file.parent / word for word in _words(table, "models-from", file)),
        imports=_words(table, "import", file),
        expectations=str(file.parent / named) if named not in (None, "none") else named,
        fail_on=",".join(_words(table, "fail-on", file)) or None,
    )


def _words(table: dict[str, object], key: str, file: Path) -> tuple[str, ...]:
    value = table.get(key, [])
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list) and all(isinstance(word, str) and word for word in words):
        return tuple(words)
    raise BrokenConfiguration(
        f"`{key}` of {str(file)!r} is {shown(value)} where a text or a list of texts was expected"
    )
