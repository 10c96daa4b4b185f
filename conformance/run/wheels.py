"""This module keeps releases of timm apart from the environment: each wheel alone in a directory of a cache.

A directory is put ahead of the path of a child process, whose torch stays that of the environment. It has timm and
none of what timm depends on.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from io import BytesIO
from pathlib import Path

from packaging.version import InvalidVersion, Version
from platformdirs import user_cache_path

from conformance.record import printable

CACHE = "TIMM_CONFORMANCE_CACHE"
"""The environment variable that names another directory for the cache."""
INSTALLED = "installed"
"""The word for the environment's own timm, whatever its version."""
PATIENCE = 600
"""Seconds that a download may take."""

_INFO = "timm-*.dist-info"
_NEIGHBOURS = 2
_VARIABLE = re.compile(r"""(?:environ(?:\.get\(|\[)|getenv\()\s*["'](\w+)""")
_OFFLINE = re.compile(
    r"NewConnectionError|Failed to establish|Name or service not known|Temporary failure in name|ConnectTimeout"
    r"|Connection refused|ProxyError|network is unreachable|dns error|error sending request|client error \(Connect\)",
    re.IGNORECASE,
)


class NoSuchRelease(Exception):
    """timm has no release of that version, or it cannot be had. Its text is one sentence for the user."""


@dataclass(frozen=True)
class Release:
    """One timm, and where it is."""

    version: str
    path: Path | None
    """What comes first on the path of a process that is to import it; None: the environment's own."""

    def digest(self) -> str | None:
        """What tells its files from any others, or None where they are not those of its wheel's own list (RECORD)."""
        root = self._root()
        if root is None or not _is_whole(root, self.version):
            return None
        (listed,) = root.glob(f"{_INFO}/RECORD")
        return hashlib.sha256(listed.read_bytes()).hexdigest()

    def variables(self) -> frozenset[str]:
        """The variables of the environment that its code names."""
        root = self._root()
        files = () if root is None else Path(root, "timm").rglob("*.py")
        return frozenset(name for file in files for name in _VARIABLE.findall(file.read_text(encoding="utf-8")))

    def _root(self) -> Path | None:
        """The directory that it is imported from."""
        here = _installed() if self.path is None else None
        return self.path if here is None else Path(str(here.locate_file("")))

    def environment(self) -> dict[str, str]:
        """The variables in which a child process imports this timm."""
        if self.path is None:
            return {}
        behind = os.environ.get("PYTHONPATH")
        return {"PYTHONPATH": os.pathsep.join([str(self.path), *([behind] if behind else [])])}


def release(word: str) -> Release:
    """The timm of that version, taken from the cache, or fetched into it by pip (or uv).

    What the environment has is not fetched again, if it came from an index and so is that release.

    Raises:
        NoSuchRelease: The word is no version, there is no such release, or it cannot be had now.
    """
    here = _installed()
    if word == INSTALLED:
        if here is None:
            raise NoSuchRelease("no timm is installed in this environment; `pip install timm`, or name a version")
        return Release(here.version, None)
    try:
        version = str(Version(word))
    except InvalidVersion:
        raise NoSuchRelease(
            f"{word!r} is no version of timm; give one like 1.0.28, or {INSTALLED!r} for the environment's own"
        ) from None
    if here is not None and here.version == version and here.read_text("direct_url.json") is None:
        return Release(version, None)
    directory = cache() / f"timm-{version}"
    if not _is_whole(directory, version):
        _put(version, directory, lambda target: _install(version, target))
    return Release(version, directory)


def packed(release: Release) -> bytes | None:
    """The files of a release of the cache, to be unpacked on another machine; None of the environment's own."""
    if release.path is None:
        return None
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in release.path.rglob("*") if path.is_file()):
            if file.suffix != ".pyc":
                archive.write(file, file.relative_to(release.path))
    return content.getvalue()


def unpacked(version: str, content: bytes) -> Release:
    """The release that `packed` gave, put into this machine's cache unless it is there.

    Raises:
        NoSuchRelease: It cannot be kept here, or is not whole.
    """
    directory = cache() / f"timm-{version}"
    if not _is_whole(directory, version):
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _put(version, directory, archive.extractall)
    return Release(version, directory)


def cache() -> Path:
    """The directory of the cache."""
    named = os.environ.get(CACHE)
    return Path(named).absolute() if named else user_cache_path("timm-conformance")


def _installed() -> Distribution | None:
    try:
        return distribution("timm")
    except PackageNotFoundError:
        return None


def _put(version: str, directory: Path, install: Callable[[Path], None]) -> None:
    """Install the wheel beside the directory and rename it: whoever looks finds all of it or nothing."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _sweep(directory.parent)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}-{os.getpid()}-", dir=directory.parent) as beside:
            target = Path(beside, "timm")
            install(target)
            if not _is_whole(target, version):
                raise NoSuchRelease(
                    f"what was fetched as timm {version} does not match its own list of files; try again, "
                    "or see which index pip uses"
                )
            damaged = Path(beside, "damaged")
            if directory.exists():
                directory.rename(damaged)
            try:
                target.rename(directory)
            except OSError:  # another process was faster
                if not _is_whole(directory, version):
                    raise
    except OSError as error:
        raise NoSuchRelease(
            f"timm {version} cannot be kept in {str(directory.parent)!r} ({error.strerror or error}); "
            f"name another directory in {CACHE}"
        ) from error


def _sweep(directory: Path) -> None:
    """Remove what fetches that were killed left behind."""
    for left in directory.glob(".timm-*-*-*"):
        process = left.name.split("-")[-2]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(left, ignore_errors=True)


def _install(version: str, target: Path) -> None:
    # importlib.util.find_spec would ask setuptools' finder too, which takes this process for pip's own.
    if PathFinder.find_spec("pip") is not None:
        installer = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        own = ["--no-warn-conflicts", "--no-compile"]
    elif (uv := shutil.which("uv")) is not None:
        installer, own = [uv, "pip"], ["--python", sys.executable]
    else:
        raise NoSuchRelease(f"timm {version} is not in the cache, and there is neither pip nor uv to fetch it with")
    # An sdist would run its own code, and --target excludes what a user may have set.
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target), *own]
    variables = os.environ | {"PIP_USER": "0", "PIP_NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    variables.pop("PYTHONPATH", None)
    try:
        ended = subprocess.run(  # noqa: S603  # our own command
            [*installer, "install", *options, f"timm=={version}"],
            capture_output=True,
            text=True,
            errors="replace",
            env=variables,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NoSuchRelease(f"fetching timm {version} took longer than {PATIENCE} seconds; try again") from None
    if ended.returncode:
        raise NoSuchRelease(_why_not(version, ended.stderr + ended.stdout))


def _why_not(version: str, said: str) -> str:
    """What an installer wrote, in one sentence."""
    listed = re.search(r"\(from versions: ([^)]*)\)", said)
    known = _versions(listed[1]) if listed else []
    if known:
        return f"timm has no release {version} for this Python; near are {', '.join(_near(Version(version), known))}"
    if _OFFLINE.search(said) or (listed is not None and "none" in listed[1]):
        return f"timm {version} is not in the cache, and no package index answered; try again with a network"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.casefold().startswith("error")] or lines[-1:]
    why = printable(errors[0])[:300] if errors else "the installer did not say why"
    return f"timm {version} could not be fetched: {why}"


def _versions(listed: str) -> list[Version]:
    found = []
    for word in listed.split(","):
        try:
            found.append(Version(word.strip()))
        except InvalidVersion:
            continue
    return sorted(found)


def _near(version: Version, known: list[Version]) -> list[str]:
    """The releases next to the version, on both sides."""
    below = [other for other in known if other < version][-_NEIGHBOURS:]
    above = [other for other in known if other > version][:_NEIGHBOURS]
    return [str(other) for other in (*below, *above)]


def _is_whole(directory: Path, version: str) -> bool:
    """Whether the directory holds that release, every file as the wheel's own list (RECORD) has it."""
    found = list(directory.glob(_INFO))
    if len(found) != 1:
        return False
    wheel = PathDistribution(found[0])
    try:
        listed = {directory / file: file.hash for file in wheel.files or () if file.hash is not None}
        sources = set(Path(directory, "timm").rglob("*.py"))
        return (
            wheel.version == version
            and bool(sources)
            and sources <= listed.keys()
            and all(_digest(file, named.mode) == named.value for file, named in listed.items())
        )
    except (OSError, KeyError, ValueError):
        return False


def _digest(file: Path, algorithm: str) -> str:
    """As RECORD has it: URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.new(algorithm, file.read_bytes()).digest()).rstrip(b"=").decode()
