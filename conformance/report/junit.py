"""This module writes a run as JUnit's XML: a test case for each cell, as pytest would tell it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from conformance.gate import Expectation, Expectations, load
from conformance.record import Cell, ClaimEntry, Level, Run, Verdict, printable
from conformance.report.text import title

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COUNTED = ("failures", "errors", "skipped")


def junit(run: Run, expectations: Expectations | None = None) -> bytes:
    """The run judged by expectations, the shipped ones unless others are given.

    Violated is a failure, undecided an error: nobody has seen it broken. What does not apply is skipped, and so is
    what was expected, of pytest's type for that (`pytest.xfail`). A violated signal passes.

    Raises:
        OverlappingExpectations: Two of them expect different verdicts of one cell.
    """
    expected = load() if expectations is None else expectations
    versions = {"timm": run.header.timm, "torch": run.header.torch, "python": run.header.python}
    suite = ElementTree.Element("testsuite", name=xml_text(title(run)), timestamp=xml_text(run.header.started))
    counts = dict.fromkeys(_COUNTED, 0)
    cells = 0
    for record in run.records:
        for entry in run.header.claims:
            cell = record.cells[entry.id]
            cells += 1
            seconds = f"{record.cost.get(entry.id, 0.0):.3f}"
            case = ElementTree.SubElement(
                suite, "testcase", classname=xml_text(record.model), name=xml_text(entry.id), time=seconds
            )
            counted = _enter(case, entry, cell, expected.for_cell(record.model, entry.id, **versions))
            if counted is not None:
                counts[counted] += 1
    suite.attrib.update({"tests": str(cells), **{name: str(number) for name, number in counts.items()}})
    return document(suite)


def _enter(case: ElementTree.Element, entry: ClaimEntry, cell: Cell, expectation: Expectation | None) -> str | None:
    """What the cell is in JUnit's words, and what it counts as."""
    reason = xml_text(cell.reason or "")
    if cell.verdict is Verdict.HOLDS and expectation is None:
        return None
    if expectation is not None and expectation.verdict is cell.verdict:
        ElementTree.SubElement(case, "skipped", type="pytest.xfail", message=xml_text(expectation.reason)).text = reason
        return "skipped"
    if expectation is not None:
        message = xml_text(f"{cell.verdict}, expected {expectation.verdict}: {expectation.origin}")
        ElementTree.SubElement(case, "failure", message=message).text = reason
        return "failures"
    if cell.verdict is Verdict.NOT_APPLICABLE:
        ElementTree.SubElement(case, "skipped", type="pytest.skip", message=reason)
        return "skipped"
    if cell.verdict is Verdict.VIOLATED and entry.level is Level.SIGNAL:
        ElementTree.SubElement(case, "system-out").text = f"a signal: {reason}"
        return None
    word = "error" if cell.verdict is Verdict.UNDECIDED else "failure"
    ElementTree.SubElement(case, word, message=f"{cell.verdict}: {reason}")
    return f"{word}s"


def document(suite: ElementTree.Element) -> bytes:
    """The file with one suite."""
    suites = ElementTree.Element("testsuites", {**suite.attrib, "name": "timm-conformance"})
    suites.append(suite)
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def xml_text(text: str) -> str:
    """Text without what XML 1.0 cannot have, or a terminal would obey."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", printable(text))
