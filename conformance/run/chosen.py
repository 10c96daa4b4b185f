"""This module is the choice of what a run decides: which subjects, which claims, judged by which expectations."""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import os
import platform
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from conformance.record import Header, Shard, Tier
from conformance.run.expected import Expected
from conformance.run.shards import part, shard_of

if TYPE_CHECKING:
    from conformance.gate.expectations import Expectations


class Chosen(msgspec.Struct, frozen=True):
    """Subjects and claims by name, each in its one order."""

    models: tuple[str, ...]
    claims: tuple[str, ...]
    tier: Tier
    shard: Shard | None = None
    """Which part of the models it is; None: all of them."""

    def without(self, decided: Iterable[str]) -> Chosen:
        """The choice less subjects that are decided."""
        gone = frozenset(decided)
        return msgspec.structs.replace(self, models=tuple(name for name in self.models if name not in gone))


def prepare(config: pytest.Config) -> None:
    """Make timm ready to be asked: offline, with the user's own models registered.

    Raises:
        pytest.UsageError: A module of `--timm-import` cannot be imported.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.update(arithmetic())
    modules: Sequence[str] = config.getoption("timm_import")
    here = str(config.invocation_params.dir)
    if modules and here not in sys.path:
        # Last: what lies in the user's directory must not stand in for a library.
        sys.path.append(here)
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise pytest.UsageError(
                f"--timm-import {module!r} cannot be imported ({type(error).__name__}: {error}); "
                "name a module of the working directory, of PYTHONPATH or of the environment"
            ) from error


def arithmetic() -> dict[str, str]:
    """The environment in which torch computes constants alike on whatever processor has AVX2.

    Kernels for AVX-512 round sines and cosines in another way, those of MKL logarithms, and fingerprints have the bytes
    of constants. It is read when torch runs its first kernel (aten/src/ATen/native/DispatchStub.cpp; "Conditional
    Numerical Reproducibility" in MKL's guide), and believed: it must be true.
    """
    try:
        has_avx2 = " avx2 " in Path("/proc/cpuinfo").read_text()
    except OSError:
        has_avx2 = False
    return {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"} if has_avx2 else {}


def choose(config: pytest.Config) -> Chosen:
    """What the options choose.

    Raises:
        pytest.UsageError: An option names a model or a claim that does not exist.
    """
    prepare(config)
    from conformance.claims import CLAIMS
    from conformance.subject import NoName, names

    tier = Tier(config.getoption("timm_tier"))
    named: Sequence[str] = config.getoption("timm_claim")
    for claim_id in named:
        if claim_id not in CLAIMS:
            raise pytest.UsageError(f"--timm-claim {claim_id!r} is no claim; {_nearest(claim_id, CLAIMS)}")
        if (lacking := CLAIMS[claim_id].lacks) is not None:
            raise pytest.UsageError(lacking)
    claims = claims_of(named, tier)
    try:
        known = names()
    except NoName as error:
        raise pytest.UsageError(str(error)) from error
    return chosen(_matching(config.getoption("timm_model"), known), claims, tier, config.getoption("timm_shard"))


def claims_of(named: Collection[str], tier: Tier) -> tuple[str, ...]:
    """The claims that are named, or else those of the tier, in their order."""
    from conformance.claims import CLAIMS, in_tier

    return tuple(claim for claim in CLAIMS if claim in named) if named else tuple(claim.id for claim in in_tier(tier))


def chosen(models: Sequence[str], claims: Sequence[str], tier: Tier, shard: tuple[int, int] | None) -> Chosen:
    """These models and claims, or that part of the models."""
    if shard is None:
        return Chosen(models=tuple(models), claims=tuple(claims), tier=tier)
    of_shard = part(models, *shard, Expected.of(claims).seconds)
    return Chosen(models=of_shard, claims=tuple(claims), tier=tier, shard=shard_of(models, *shard))


def _matching(globs: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    wanted: set[str] = set()
    for glob in globs:
        found = [name for name in names if fnmatch.fnmatchcase(name, glob)]
        if not found:
            raise pytest.UsageError(
                f"--timm-model {glob!r} matches none of {len(names)} models; {_nearest(glob, names)}"
            )
        wanted.update(found)
    return tuple(name for name in names if name in wanted) if globs else tuple(names)


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else "`timm-conformance claims` and timm.list_models() list what exists"


def expectations(config: pytest.Config) -> Expectations:
    """The expectations in force: none, the shipped ones, or these and those of a file.

    Raises:
        pytest.UsageError: The file cannot be used.
    """
    from conformance.claims import CLAIMS
    from conformance.gate.expectations import BrokenExpectations, Expectations, load

    option: str | None = config.getoption("timm_expectations")
    if option == "none":
        return Expectations()
    try:
        shipped = load(claim_ids=CLAIMS)
        if option is None:
            return shipped
        return shipped.extended_by(load(Path(config.invocation_params.dir, option), claim_ids=CLAIMS))
    except BrokenExpectations as error:
        raise pytest.UsageError(f"--timm-expectations: {error}") from error


def versions() -> dict[str, str]:
    """The versions that verdicts speak of."""
    return {"timm": version("timm"), "torch": version("torch"), "python": platform.python_version()}


def header(chosen: Chosen, timm: str | None = None) -> Header:
    """The first line of the record file of a run that starts now, of that timm or the environment's."""
    from conformance import __version__
    from conformance.claims import CLAIMS

    found = versions()
    return Header(
        suite=__version__,
        timm=timm or found["timm"],
        torch=found["torch"],
        python=found["python"],
        tier=chosen.tier,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{platform.system()} {platform.machine()}",
        shard=chosen.shard,
        subjects=len(chosen.models),
        claims=tuple(CLAIMS[claim_id].entry() for claim_id in chosen.claims),
    )
