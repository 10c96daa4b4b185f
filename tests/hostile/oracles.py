"""What must be true of a rendered report, whatever the run says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from conformance.record import spelled_out
from conformance.report.index import index
from conformance.report.page import hashed, page, static
from conformance.report.scripts import script
from tests.report.synthetic import before, run_of


class Seen(HTMLParser):
    """The elements of a page with their attributes, the addresses in it, and its scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.addresses, self.raw, self.policies, self.others = set(), [], [], [], []
        self._inside = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements |= {(tag, name) for name, _ in attrs} | {(tag, None)}
        self.addresses += [value for name, value in attrs if name in ("href", "src", "action", "formaction", "style")]
        if tag in ("script", "style"):
            self._inside = (tag, dict(attrs).get("type"))
            self.raw.append((*self._inside, ""))
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policies.append(dict(attrs)["content"])

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, text):
        if self._inside is not None:
            self.raw[-1] = (*self.raw[-1][:2], self.raw[-1][2] + text)

    def handle_comment(self, text):
        self.others.append(text)

    def handle_pi(self, text):
        self.others.append(text)

    def unknown_decl(self, text):
        self.others.append(text)


def honest():
    """The elements and attributes that the templates have."""
    run = run_of(60)
    return Seen(page(run, [before(run)])).elements | Seen(page(run_of(1))).elements


HONEST = honest()
HONEST_INDEX = Seen(index({"a.html": run_of(2)})).elements
TIMM = "https://github.com/huggingface/pytorch-image-models/blob/v"


def assert_a_page_is_safe(text):
    """It has the template's elements, attributes and scripts alone, and its policy."""
    seen = Seen(text)
    # Of few models a page lacks some elements, and it may have the shard that others lack.
    assert seen.elements <= HONEST
    assert seen.others == []
    assert all(address.startswith("#") for address in seen.addresses)
    style, told, code = seen.raw
    assert style == ("style", None, static("page.css"))
    assert code == ("script", "module", script())
    assert told[:2] == ("script", "application/json")
    embedded = strictly(told[2])
    assert embedded["repository"] is None or re.fullmatch(re.escape(TIMM) + r"[0-9.]+/", embedded["repository"])
    (policy,) = seen.policies
    assert policy == (
        f"default-src 'none'; style-src {hashed(style[2])}; script-src {hashed(code[2])}; base-uri 'none'; "
        "form-action 'none'"
    )
    for line in text.split("\n"):
        assert line == spelled_out(line)
    for said in every_text(embedded):
        for line in said.split("\n"):
            assert line == spelled_out(line)
    return embedded


def every_text(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from every_text(part)
    elif isinstance(value, list):
        for part in value:
            yield from every_text(part)


def assert_an_index_is_safe(text, pages):
    seen = Seen(text)
    assert seen.elements == HONEST_INDEX
    assert seen.others == []
    assert len(seen.addresses) == pages
    assert not any(":" in address for address in seen.addresses)
    assert len(seen.policies) == 1


def strictly(text):
    """The JSON value; NaN and infinities are none."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def assert_markdown_is_safe(text):
    """Tables keep their columns, nothing is a link, an image, HTML, or a mention; nothing begins a block of its own."""
    columns, fence = None, None
    for line in text.split("\n"):
        assert line == spelled_out(line)
        if fence is not None:
            # Whatever stands in code, it ends where it was meant to.
            fence = None if re.fullmatch(f"{fence}`*", line) else fence
            continue
        if line.startswith("```"):
            fence = re.fullmatch("(`+)(?:python)?", line)[1]
            columns = None
            continue
        if line.startswith("|"):
            cells = len(re.findall(r"(?<!\\)(?:\\\\)*\|", line))
            assert columns in (None, cells), line
            columns = cells
        else:
            columns = None
            assert re.match(r"$|#{1,3} |[-0-9A-Za-z*>✗✓?≠…]", line), line
        bare = re.sub(r"\\.|(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)|[@#]&#8203;|&#4[67];", "", line)  # nor in code
        assert not re.search(r"<|@|#[0-9]|\]\(|!\[|://|www\.", bare, re.IGNORECASE), line
    assert fence is None


def assert_junit_is_safe(content, cases):
    root = ElementTree.fromstring(content)
    assert len(list(root.iter("testcase"))) == cases
    assert {node.tag for node in root.iter()} <= {
        "testsuites",
        "testsuite",
        "testcase",
        "failure",
        "error",
        "skipped",
        "system-out",
    }
    for line in content.decode().split("\n"):
        assert line == spelled_out(line)
    for node in root.iter():
        for text in (*node.attrib.values(), node.text or ""):
            for line in text.split("\n"):
                assert line == spelled_out(line)
    return root


def assert_annotations_are_not_forged(text, most):
    """Each line is one of the commands that are meant, of which none ends before its line does."""
    lines = text.removesuffix("\n").split("\n")
    assert 1 <= len(lines) <= most
    for line in lines:
        assert re.fullmatch(r"::(error|notice) title=[^:,\r\n]*::[^\r\n]*", line), line
        assert not re.search(r"%(?!25|0D|0A|3A|2C)", line), line
        assert line == spelled_out(line)
    assert sum(line.startswith("::notice ") for line in lines) == 1
