"""This module is the record format: what a run says, how it is written and how it is read back.

A run is JSON Lines: a header, one record per subject, a footer. Everything downstream of the audit (report, gate,
merge) knows a run only through these types, which need neither torch nor timm.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

SCHEMA_VERSION = 1


class Verdict(enum.StrEnum):
    """What is said of one claim for one subject. Never a bool: `undecided` is not a kind of false."""

    HOLDS = "holds"
    VIOLATED = "violated"
    UNDECIDED = "undecided"
    NOT_APPLICABLE = "not_applicable"


class Evidence(enum.StrEnum):
    """What a `holds` or `violated` rests on."""

    PROVED = "proved"
    """Value numbers: the same function for every weight."""
    MEASURED = "measured"
    """Real numbers, within a stated bound."""
    OBSERVED = "observed"
    """A shape, an attribute, an exception."""


class Level(enum.StrEnum):
    """How much a claim binds; gates fail on `must` and `should` unless told otherwise."""

    MUST = "must"
    SHOULD = "should"
    SIGNAL = "signal"


class Tier(enum.StrEnum):
    """Which audits decide a claim unless `--claim` says otherwise."""

    CORE = "core"
    FULL = "full"
    EXTRA = "extra"
    """Only when named by `--claim`."""


class Cell(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One claim decided for one subject. Every verdict but `holds` has a reason of one sentence."""

    verdict: Verdict
    evidence: Evidence | None = None
    reason: str | None = None
    cause: str | None = None
    """Short digest that is equal for cells failing for the same reason."""
    witness: dict[str, Any] | None = None
    """The numbers or facts that show a violation."""


class ClaimEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as the header carries it, so that readers of a run need no registry."""

    id: str
    text: str
    group: str
    level: Level
    tier: Tier
    needs: tuple[str, ...] = ()


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="header"):
    """What was run: versions, tier, claims, how many subjects."""

    schema: int = SCHEMA_VERSION
    suite: str
    timm: str
    torch: str
    python: str
    tier: Tier
    started: str
    """UTC time, ISO 8601. It and every `cost` are all that varies between equal runs."""
    subjects: int
    claims: tuple[ClaimEntry, ...]


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="record"):
    """One subject: facts about it, fingerprints of its outputs, a cell for every claim of the header.

    `module` is the timm module without its package (`shvit`), `class` the model's class. Facts are None where the
    subject cannot be built. `input_size` is (channels, height, width) in pixels; proofs speak of this size and of
    `batch_size`. `cost` maps what was done to seconds.
    """

    model: str
    module: str | None = None
    class_name: str | None = msgspec.field(default=None, name="class")
    params: int | None = None
    input_size: tuple[int, ...] | None = None
    batch_size: int | None = None
    num_features: int | None = None
    head_hidden_size: int | None = None
    fingerprints: dict[str, str | None] = {}
    """`features`, `pre_logits`, `logits` → digest, or None where none can be given."""
    cost: dict[str, float] = {}
    cells: dict[str, Cell] = {}


class Footer(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="footer"):
    """The end of a finished run: a file without it is unfinished."""

    subjects: int
    verdicts: dict[Verdict, int]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run as read from a file; records are sorted by model."""

    header: Header
    records: tuple[Record, ...]
    footer: Footer
