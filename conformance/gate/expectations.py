"""This module is the declared exceptions: verdicts and changes that are known, reasoned and version-bounded."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from conformance.files import content, shown, toml
from conformance.gate.changes import Kind
from conformance.record import Verdict, printable

SHIPPED = Path(__file__).with_name("expectations.toml")
"""What is known of the timm and torch versions that this release speaks of."""

EXPECTABLE = (Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.NOT_APPLICABLE)
_VERSIONED = ("timm", "torch", "python")
_KEYS = ("models", "claim", "claims", "verdict", "change", "changes", *_VERSIONED, "reason", "issue", "mend")
_AWAKE_EVERYWHERE = SpecifierSet()
_SENTENCE = 600


class BrokenExpectations(Exception):
    """An expectations file that cannot be used. Its text is one sentence: which file and entry, what is wrong."""

    def __init__(self, sentence: str) -> None:
        sentence = printable(sentence)
        super().__init__(sentence if len(sentence) <= _SENTENCE else f"{sentence[:_SENTENCE]}…")


class UnknownClaim(BrokenExpectations):
    """An entry names a claim that does not exist."""


class OverlappingExpectations(BrokenExpectations):
    """Two awake entries expect different verdicts of one cell."""


@dataclass(frozen=True)
class Expectation:
    """One `[[expect]]` table: what is expected of these models, and why.

    It speaks either of claims, with a verdict, or of changes from one release to another.
    """

    models: tuple[str, ...]
    """Globs over model names, case-sensitive."""
    claims: tuple[str, ...]
    verdict: Verdict | None
    """Never `holds`: that is what everybody expects. None where it speaks of changes."""
    reason: str
    origin: str
    """Where it is declared, for messages: file and place in it."""
    changes: tuple[Kind, ...] = ()
    timm: SpecifierSet = _AWAKE_EVERYWHERE
    torch: SpecifierSet = _AWAKE_EVERYWHERE
    python: SpecifierSet = _AWAKE_EVERYWHERE
    issue: str | None = None
    mend: str | None = None
    """What would end it, for whoever maintains the models."""

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(fnmatch.translate, self.models)))

    def matches(self, model: str) -> bool:
        """Whether one of the globs matches the name."""
        return self._pattern.match(model) is not None

    def is_awake(self, *, timm: str, torch: str, python: str) -> bool:
        """Whether the versions are those that the entry speaks of; pre-releases and local versions count."""
        return _covers(self.timm, timm) and _covers(self.torch, torch) and _covers(self.python, python)


@dataclass(frozen=True)
class Expectations:
    """Every entry that is in force, in file order."""

    entries: tuple[Expectation, ...] = ()
    _awake: dict[tuple[str, str, str], dict[str, list[Expectation]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Awake entries by versions and claim: what `for_cell`, called for every cell of a run, worked out before."""

    def extended_by(self, other: Expectations) -> Expectations:
        """These entries and those of `other`."""
        return Expectations(self.entries + other.entries)

    def awake(self, *, timm: str, torch: str, python: str) -> tuple[Expectation, ...]:
        """The entries that speak of these versions; the others sleep."""
        return tuple(entry for entry in self.entries if entry.is_awake(timm=timm, torch=torch, python=python))

    def for_cell(self, model: str, claim_id: str, *, timm: str, torch: str, python: str) -> Expectation | None:
        """The awake entry that speaks of the cell, or None: then `holds` is expected.

        Raises:
            OverlappingExpectations: Two awake entries expect different verdicts of it.
        """
        by_claim = self._awake.get((timm, torch, python))
        if by_claim is None:
            by_claim = {}
            for entry in self.awake(timm=timm, torch=torch, python=python):
                for claim in entry.claims:
                    by_claim.setdefault(claim, []).append(entry)
            self._awake[timm, torch, python] = by_claim
        matching = [entry for entry in by_claim.get(claim_id, ()) if entry.matches(model)]
        if not matching:
            return None
        first = matching[0]
        for other in matching[1:]:
            if other.verdict is not first.verdict:
                raise OverlappingExpectations(
                    f"{first.origin} expects {claim_id} of {model} to be {first.verdict} and {other.origin} expects "
                    f"{other.verdict}; narrow the models, claims or versions of one of them"
                )
        return first

    def for_change(self, model: str, kind: Kind, *, timm: str, torch: str, python: str) -> Expectation | None:
        """The awake entry that expects such a change of the model in the release after, or None."""
        return next(
            (
                entry
                for entry in self.awake(timm=timm, torch=torch, python=python)
                if kind in entry.changes and entry.matches(model)
            ),
            None,
        )

    def check_overlaps(
        self, models: Iterable[str], claim_ids: Iterable[str], *, timm: str, torch: str, python: str
    ) -> None:
        """Refuse entries that contradict one another for one of these cells, before anything is decided.

        Raises:
            OverlappingExpectations: As `for_cell`.
        """
        claim_ids = tuple(claim_ids)
        for model in models:
            for claim_id in claim_ids:
                self.for_cell(model, claim_id, timm=timm, torch=torch, python=python)

    def check_claims(self, claim_ids: Collection[str]) -> None:
        """Refuse entries about claims that are none of `claim_ids`, which must be all claims, not a selection.

        Raises:
            UnknownClaim: Names the entry, the claim and the nearest one that exists.
        """
        for entry in self.entries:
            for claim_id in entry.claims:
                if claim_id not in claim_ids:
                    near = difflib.get_close_matches(claim_id, claim_ids, n=1, cutoff=0.5)
                    hint = f"did you mean {near[0]!r}?" if near else "see `timm-conformance claims`"
                    raise UnknownClaim(f"{entry.origin} speaks of the unknown claim {shown(claim_id)}; {hint}")


def load(path: str | Path | None = None, *, claim_ids: Collection[str] | None = None) -> Expectations:
    """The expectations of a TOML file, or the shipped ones for None.

    `claim_ids`, if given, are all claims that exist, and entries about others are refused.

    Raises:
        BrokenExpectations: The file cannot be read or is not what it should be.
    """
    file = SHIPPED if path is None else Path(path)
    try:
        text = content(file).decode()
    except OSError as error:
        raise BrokenExpectations(f"{file}: cannot be read ({error.strerror or error}); name a TOML file") from error
    except UnicodeDecodeError as error:
        raise BrokenExpectations(f"{file}: is not TOML: {error}") from error
    expectations = understood(text, file)
    if claim_ids is not None:
        expectations.check_claims(claim_ids)
    return expectations


def understood(text: str, file: Path) -> Expectations:
    """The expectations of a text of TOML, which stands in the file or is to be written there.

    Raises:
        BrokenExpectations: It is not what it should be.
    """
    try:
        document = toml(text)
    except ValueError as error:
        raise BrokenExpectations(f"{file}: is not TOML: {error}") from error
    for key in document:
        if key != "expect":
            raise BrokenExpectations(f"{file}: has the unknown key {shown(key)}; entries are [[expect]] tables")
    tables = document.get("expect", [])
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise BrokenExpectations(f"{file}: `expect` is no array of tables; each entry begins with [[expect]]")
    entries = (_entry(table, f"{file.name}, entry {number}") for number, table in enumerate(tables, start=1))
    return Expectations(tuple(entries))


def _entry(table: dict[str, Any], origin: str) -> Expectation:
    for key in table:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_KEYS)}"
            raise BrokenExpectations(f"{origin}: has the unknown key {shown(key)}; {hint}")
    if "claim" in table and "claims" in table:
        raise BrokenExpectations(f"{origin}: has both `claim` and `claims`; keep one")
    if "change" in table and "changes" in table:
        raise BrokenExpectations(f"{origin}: has both `change` and `changes`; keep one")
    models = _words(table.get("models"), "models", origin)
    is_of_changes = "change" in table or "changes" in table
    if is_of_changes and any(key in table for key in ("claim", "claims", "verdict")):
        raise BrokenExpectations(f"{origin}: speaks of a change and of a claim; make two entries of it")
    return Expectation(
        models=models,
        claims=() if is_of_changes else _words(table.get("claims", table.get("claim")), "claim", origin),
        verdict=None if is_of_changes else _verdict(table.get("verdict"), origin),
        changes=_changes(table.get("changes", table.get("change")), origin) if is_of_changes else (),
        reason=_sentence(table.get("reason"), "reason", origin),
        # The models say at a glance which entry it is; counting tables in a long file is no pleasure.
        origin=f"{origin} ({_few(models)})",
        issue=_sentence(table["issue"], "issue", origin) if "issue" in table else None,
        mend=_sentence(table["mend"], "mend", origin) if "mend" in table else None,
        **{name: _specifiers(table[name], name, origin) for name in _VERSIONED if name in table},
    )


def _words(value: object, key: str, origin: str) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if isinstance(words, list) and words and all(isinstance(word, str) and word for word in words):
        return tuple(words)
    raise BrokenExpectations(f"{origin}: `{key}` is {shown(value)} where a name or a list of names was expected")


def _verdict(value: object, origin: str) -> Verdict:
    if value in EXPECTABLE:
        return Verdict(str(value))
    raise BrokenExpectations(f"{origin}: `verdict` is {shown(value)} where one of {', '.join(EXPECTABLE)} was expected")


def _changes(value: object, origin: str) -> tuple[Kind, ...]:
    words = _words(value, "change", origin)
    for word in words:
        if word not in set(Kind):
            raise BrokenExpectations(f"{origin}: `change` is {shown(word)} where one of {', '.join(Kind)} was expected")
    return tuple(map(Kind, words))


def _sentence(value: object, key: str, origin: str) -> str:
    if isinstance(value, str) and value.strip():
        return " ".join(value.split())
    raise BrokenExpectations(
        f"{origin}: `{key}` is {shown(value)} where a text was expected; every entry says why it is there"
    )


def _specifiers(value: object, key: str, origin: str) -> SpecifierSet:
    try:
        if isinstance(value, str):
            specifiers = SpecifierSet(value)
            specifiers.contains("0")  # numbers of thousands of digits are read no sooner
            return specifiers
    except ValueError:  # an InvalidSpecifier is one
        pass
    raise BrokenExpectations(f"{origin}: `{key}` is {shown(value)} where versions like '>=1.0.20,<1.1' were expected")


def _covers(specifiers: SpecifierSet, version: str) -> bool:
    """Whether the version is one of them; what is no version is one of all versions alone."""
    try:
        return specifiers.contains(version, prereleases=True)
    except ValueError:  # a number of thousands of digits
        return specifiers == _AWAKE_EVERYWHERE


def _few(words: Iterable[str]) -> str:
    first, *others = words
    return f"{first}, …" if others else first
