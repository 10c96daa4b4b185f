"""This module is the record format: what a run says and how one line of it is written.

A run is JSON Lines: a header, one record per subject, a footer. Everything downstream of the audit (report, gate,
merge) knows a run only through these types, which need neither torch nor timm. `conformance.record_file` reads runs.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable
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


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """Another way to what a violated claim promises, which was seen to work for the subject.

    `code` is Python that can be pasted: `model` and the images `x` are given, in eval mode; it makes `pre_logits`
    and `logits`, the latter what `model(x)` gives.
    """

    text: str
    """What it does, in a sentence."""
    code: str
    evidence: Evidence

    def __post_init__(self) -> None:
        for name in ("text", "code"):
            msgspec.structs.force_setattr(self, name, _writable(getattr(self, name)))


class Cell(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One claim decided for one subject. Every verdict but `holds` has a reason of one sentence.

    Whatever reaches a cell can be written and comes back equal: lone surrogates of an exception's text are spelled
    out, and a witness is brought to JSON values (JSON has no NaN: it becomes the word "nan").

    Raises:
        ValueError: A verdict other than `holds` has no reason, or a `holds` or `violated` rests on no evidence.
    """

    verdict: Verdict
    evidence: Evidence | None = None
    reason: str | None = None
    cause: str | None = None
    """Short digest that is equal for cells failing for the same reason."""
    witness: dict[str, Any] | None = None
    """The numbers or facts that show a violation."""
    remedy: Remedy | None = None
    """What to do instead, of a violated claim, where a way is known."""

    def __post_init__(self) -> None:
        if self.verdict is not Verdict.HOLDS and not (self.reason and self.reason.strip()):
            raise ValueError(f"a cell that is {self.verdict} needs a reason")
        if self.verdict in (Verdict.HOLDS, Verdict.VIOLATED) and self.evidence is None:
            raise ValueError(f"a cell that is {self.verdict} needs its evidence")
        for name in ("reason", "cause"):
            text = getattr(self, name)
            if text is not None:
                msgspec.structs.force_setattr(self, name, _writable(text))
        if self.witness is not None:
            msgspec.structs.force_setattr(self, "witness", _json_value(self.witness))


class ClaimEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A claim as the header carries it, so that readers of a run need no registry."""

    id: str
    text: str
    group: str
    level: Level
    tier: Tier
    needs: tuple[str, ...] = ()
    source: str = ""
    """Who makes the promise: a document or test of timm or PyTorch."""
    why: str = ""
    """Who relies on it, and what goes wrong for them where it is broken."""


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of an audit a run is: `number` (from 1) of `of`."""

    number: int
    of: int
    subjects: int
    """Of the whole audit."""
    models: str
    """Digest of their names: shards of one whole have the same."""


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
    machine: str = ""
    """Its class: operating system and processor, as `Linux x86_64`."""
    shard: Shard | None = None
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
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    """By the same names, the shape of each tensor in the output; an output that there is not has no entry. A model
    that is built without a classifier is given one of 13 classes."""
    source: str | None = None
    """Where the function that is registered under the name is: `timm/models/shvit.py:123`."""
    cost: dict[str, float] = {}
    cells: dict[str, Cell] = {}

    def __post_init__(self) -> None:
        for name in ("module", "class_name", "source"):
            text = getattr(self, name)
            if text is not None:
                msgspec.structs.force_setattr(self, name, _writable(text))


class Footer(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind", tag="footer"):
    """The end of a finished run: a file without it is unfinished."""

    subjects: int
    verdicts: dict[Verdict, int]
    broken: tuple[str, ...] = ()
    """What came out wrong of sentinels, which are decided among the models and whose verdicts are known: nothing that
    the run says can be relied on."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A finished run as read from a file; records are sorted by model."""

    header: Header
    records: tuple[Record, ...]
    footer: Footer


Line = Header | Record | Footer
"""What one line of a record file can be."""


class Broken(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="broken"):
    """A line of an unfinished run's file alone: what its footer is going to say of a sentinel."""

    said: str


PartialLine = Line | Broken
"""What one line of an unfinished run's file can be."""


def encode(line: PartialLine) -> bytes:
    """The line as it stands in a record file: one line of UTF-8 JSON with sorted keys, its line feed included.

    Equal values give equal bytes.
    """
    return msgspec.json.encode(line, order="sorted") + b"\n"


def count(records: Iterable[Record]) -> dict[Verdict, int]:
    """How many cells have each verdict; every verdict has an entry, in the order of `Verdict`."""
    counts = dict.fromkeys(Verdict, 0)
    for record in records:
        for cell in record.cells.values():
            counts[cell.verdict] += 1
    return counts


def json_schema() -> bytes:
    """The JSON Schema of a line, as `record.schema.json` ships it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of a timm-conformance record file",
        "description": "A record file is JSON Lines: one header, one record per subject, one footer.",
        **msgspec.json.schema(Line),
    }
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


_OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls, and what is invisible or changes the direction of what stands beside it."""


def spelled_out(text: str) -> str:
    """`text` with nothing that a terminal or browser would obey instead of show (`\\x1b`), its spaces as they are."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """`text` on one line without what a terminal or browser would obey instead of show.

    Names and reasons come from other people's code. White space becomes a space; other control characters, direction
    marks and lone surrogates are spelled out (`\\x1b`).
    """
    return spelled_out(" ".join(text.split()))


def printable_code(text: str) -> str:
    """The same for code: its lines and their indentation stay."""
    return "\n".join(spelled_out(line).rstrip() for line in text.splitlines())


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _json_value(value: Any) -> Any:
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return _json_value(value.value)
        case str():
            return _writable(value)
        case int():
            # Readers in other languages hold 64 bits.
            return int(value) if -(2**63) <= value < 2**63 else str(value)
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case dict():
            return {_writable(str(key)): _json_value(item) for key, item in value.items()}
        case list() | tuple():
            return [_json_value(item) for item in value]
        case _:
            return _writable(str(value))
