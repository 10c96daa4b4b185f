"""Releases of timm made up for tests: wheels of next to nothing, and timm itself with a few lines changed."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import timm

METADATA = "Metadata-Version: 2.1\nName: timm\nVersion: {version}\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_wheel(directory: Path, version: str, files: Mapping[str, bytes] | None = None, *, lies: bool = False) -> Path:
    """A wheel called timm; with `lies`, its list of files has another digest than a file."""
    files = {"timm/__init__.py": f"__version__ = {version!r}\n".encode()} if files is None else files
    info = f"timm-{version}.dist-info"
    content = {**files, f"{info}/METADATA": METADATA.format(version=version).encode(), f"{info}/WHEEL": WHEEL.encode()}
    listed = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in content.items()]
    if lies:
        listed[0] = listed[0].replace("sha256=", "sha256=x")
    record = "\n".join([*listed, f"{info}/RECORD,,", ""])
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"timm-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in {**content, f"{info}/RECORD": record.encode()}.items():
            wheel.writestr(name, data)
    return path


def changed_timm(changes: Mapping[str, Mapping[str, str]], version: str) -> dict[str, bytes]:
    """The files of the installed timm with replacements, by path in timm and text; each must apply.

    Raises:
        AssertionError: A text is not there: timm has changed, and the test must follow.
    """
    root = Path(timm.__file__).parent
    files = {f"timm/{path.relative_to(root)}": path.read_bytes() for path in sorted(root.rglob("*.py"))}
    files["timm/version.py"] = f"__version__ = {version!r}\n".encode()
    for name, replacements in changes.items():
        text = files[f"timm/{name}"].decode()
        for old, new in replacements.items():
            assert old in text, (name, old)
            text = text.replace(old, new)
        files[f"timm/{name}"] = text.encode()
    return files


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
