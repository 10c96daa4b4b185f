"""This module writes what an upgrade changes for programs: JSON, GitHub's annotations, JUnit."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import msgspec

from conformance.files import content
from conformance.gate.changes import CHANGES_VERSION, Comparison, Kind, ModelChange
from conformance.gate.findings import Found, found
from conformance.record import printable
from conformance.report.changes_text import WORDS, heading, verdict
from conformance.report.junit import document, xml_text
from conformance.report.text import few

MOST_ANNOTATIONS = 10
"""GitHub shows no more of one step."""


LARGEST = 256_000_000
"""Bytes of a file of changes that is read."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was found of some models."""

    kind: Kind
    fails: bool
    models: tuple[str, ...]
    what: str
    detail: tuple[str, ...]
    reproduce: str
    accept: str


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What `--format json` writes."""

    schema: int = CHANGES_VERSION
    verdict: str
    fails: bool
    counts: dict[Kind, int]
    outputs: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    comparison: Comparison


def changes_json(comparison: Comparison) -> bytes:
    """One line of JSON, as `changes.schema.json` describes it."""
    document = Document(
        verdict=verdict(comparison),
        fails=bool(comparison.failing()),
        counts=comparison.count(),
        outputs=comparison.statuses(),
        findings=tuple(
            Finding(
                kind=one.kind,
                fails=one.fails,
                models=one.models,
                what=one.what,
                detail=one.detail,
                reproduce=one.reproduce,
                accept=one.accept,
            )
            for one in found(comparison)
        ),
        comparison=comparison,
    )
    return msgspec.json.encode(document, order="sorted") + b"\n"


class NoChanges(Exception):
    """A file that is not what `upgrade --format json` writes. Its text is one sentence."""


def read_changes(path: Path) -> Comparison:
    """The comparison that `--format json` wrote to a file.

    Raises:
        NoChanges: It is something else.
    """
    try:
        return msgspec.json.decode(content(path, LARGEST), type=Document).comparison
    except OSError as error:
        raise NoChanges(f"{str(path)!r} cannot be read ({error.strerror or error}); name a file") from error
    except (ValueError, RecursionError) as error:
        raise NoChanges(f"{str(path)!r} is not what `upgrade --format json` writes: {printable(str(error))}") from error


def changes_schema() -> bytes:
    """The JSON Schema of that document, as `changes.schema.json` ships it."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What changes from one release of timm to another",
        **msgspec.json.schema(Document),
    }
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"


def workflow_commands(comparison: Comparison) -> str:
    """GitHub's workflow commands: at most ten, of which the last says how many more there are, and a notice."""
    failing = [one for one in found(comparison) if one.fails]
    shown = failing if len(failing) < MOST_ANNOTATIONS else failing[: MOST_ANNOTATIONS - 2]
    lines = [_command("error", f"{WORDS[one.kind]}: {few(one.models)}", _told(one)) for one in shown]
    if len(shown) < len(failing):
        more = len(failing) - len(shown)
        lines.append(_command("error", f"{more} more findings", "The job's summary and --format json have them all."))
    lines.append(_command("notice", heading(comparison), verdict(comparison)))
    return "\n".join(lines) + "\n"


def _told(one: Found) -> str:
    detail = "".join(f"\n{line}" for line in one.detail)
    return f"{one.what}{detail}\nagain: {one.reproduce}\nexpected? {one.accept}"


def _command(kind: str, title: str, text: str) -> str:
    """Escaped as actions/toolkit does (packages/core/src/command.ts)."""
    text = "\n".join(map(printable, text.split("\n")))
    title = printable(title)
    for sign, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text, title = text.replace(sign, code), title.replace(sign, code)
    for sign, code in ((":", "%3A"), (",", "%2C")):
        title = title.replace(sign, code)
    return f"::{kind} title={title}::{text}"


def changes_junit(comparison: Comparison) -> bytes:
    """A test case for each model: failed, skipped because it was declared to be expected, or passed.

    What is undecided is an error and not a failure: nobody has seen it come out otherwise.
    """
    suite = ElementTree.Element("testsuite", name=xml_text(heading(comparison)))
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    for change in comparison.models:
        case = ElementTree.SubElement(suite, "testcase", classname="upgrade", name=xml_text(change.model))
        failing = [kind for kind in change.unexpected if kind in comparison.fail_on]
        if failing:
            word = "error" if failing == [Kind.UNDECIDED] else "failure"
            counts["errors" if word == "error" else "failures"] += 1
            node = ElementTree.SubElement(case, word, message=", ".join(WORDS[kind] for kind in failing))
            node.text = "\n".join(f"- {line}" for line in _told_of(comparison, change))  # no line begins as a command
        elif any(kind in comparison.fail_on for kind in change.expected):
            counts["skipped"] += 1
            why = "; ".join(f"{WORDS[kind]}: {reason}" for kind, reason in change.expected.items())
            ElementTree.SubElement(case, "skipped", message=xml_text(f"expected: {why}"))
    suite.attrib.update({"tests": str(len(comparison.models)), **{key: str(number) for key, number in counts.items()}})
    return document(suite)


def _told_of(comparison: Comparison, change: ModelChange) -> list[str]:
    alone = msgspec.structs.replace(comparison, models=(change,))
    return [
        xml_text(line) for one in found(alone) if one.fails for line in (f"{WORDS[one.kind]}: {_told(one)}").split("\n")
    ]
