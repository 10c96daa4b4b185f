"""A page full of attacks, opened in a real browser: nothing of it runs, and nothing is asked for."""

from __future__ import annotations

import msgspec
import pytest

from conformance.record import Cell, Evidence, Record, Remedy, Verdict
from conformance.report.page import page as rendered
from tests.hostile.attacks import ALL
from tests.report.synthetic import entries, finished, run_of

TEXTS = [text for text in ALL if text.strip()]


def attacked():
    """A run, and one before it, with each attack in every field that a page shows."""
    claims = tuple(
        msgspec.structs.replace(entry, id=f"{text}{place}", text=text, group=text, why=text, source=text, needs=(text,))
        for place, (entry, text) in enumerate(zip(entries(), TEXTS, strict=False))
    )

    def record(place, text):
        cell = Cell(
            verdict=Verdict.VIOLATED,
            evidence=Evidence.OBSERVED,
            reason=text,
            cause=text,
            witness={text: text},
            remedy=Remedy(text=text, code=text, evidence=Evidence.PROVED),
        )
        return Record(
            model=f"{text} {place}",
            module=text,
            class_name=text,
            params=place,
            input_size=(3, 2**70, -1),
            source=f"{text}:{text}",
            fingerprints={text: text},
            shapes={"features": ((2**70, -1),), text: ((1,),)},
            cells={entry.id: cell for entry in claims},
        )

    made = finished([record(place, text) for place, text in enumerate(TEXTS)], claims)
    header = msgspec.structs.replace(
        made.header, timm=TEXTS[0], torch=TEXTS[1], suite=TEXTS[2], python=TEXTS[3], started=TEXTS[4], machine=TEXTS[5]
    )
    after = msgspec.structs.replace(made, header=header)
    calm = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
    earlier = finished(
        [msgspec.structs.replace(one, cells=dict.fromkeys(one.cells, calm)) for one in made.records[1:]], claims
    )
    return after, msgspec.structs.replace(earlier, header=msgspec.structs.replace(header, timm=TEXTS[6]))


@pytest.fixture
def tab(chromium, tmp_path):
    """A page of attacks that is open; what happened in it is in `happened`."""
    run, earlier = attacked()
    path = tmp_path / "page.html"
    path.write_text(rendered(run, [earlier]), encoding="utf-8")
    context = chromium.new_context()
    tab = context.new_page()
    happened = []
    tab.on("dialog", lambda dialog: (happened.append(f"dialog {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda request: request.url == path.as_uri() or happened.append(f"request {request.url}"))
    tab.on("pageerror", lambda error: happened.append(f"error {error}"))
    tab.on("console", lambda message: happened.append(f"console {message.text}"))
    tab.on("popup", lambda popup: happened.append(f"popup {popup.url}"))
    tab.on("download", lambda download: happened.append(f"download {download.url}"))
    tab.goto(path.as_uri())
    tab.was = tab.title()
    yield tab
    assert tab.evaluate("[window.owned, document.cookie]") == [None, ""]
    assert tab.title() == tab.was
    assert happened == []
    context.close()


def test_nothing_of_an_attack_runs_whatever_is_looked_at(tab):
    loading = "script, style, iframe, object, embed, img, svg, base, link"
    elements = f"Array.from(document.querySelectorAll('{loading}'), e => e.localName)"
    assert tab.evaluate(elements) == ["style", "script", "script"]
    tab.click("#unfold")
    rows = tab.locator("#cells tbody tr:not(.f):not(.rest)")
    for place in range(0, rows.count(), 9):
        row = rows.nth(place)
        row.locator("th").click()
        row.locator("td").nth(4).click()
    for link in tab.locator("#cells .ids a").all()[:6]:
        link.click()
    for text in TEXTS[::7]:
        tab.fill("#q", text)
    tab.click("[type='reset']")
    for text in TEXTS[::7]:
        tab.evaluate(
            "text => { location.hash = new URLSearchParams({ q: text, model: text + ' 0', claim: text }) }",
            text,
        )
    tab.wait_for_timeout(300)
    assert tab.evaluate(elements) == ["style", "script", "script"]
    assert not tab.evaluate(
        "Array.from(document.querySelectorAll('*')).some(e => e.getAttributeNames().some(name => /^on/.test(name)))"
    )
    hrefs = tab.evaluate("Array.from(document.querySelectorAll('[href], [src]'), e => e.href || e.src)")
    assert all(href.startswith("file:") and "#" in href for href in hrefs)


def copied(run, chromium, tmp_path, form):
    path = tmp_path / "copied.html"
    path.write_text(rendered(run), encoding="utf-8")
    context = chromium.new_context()
    tab = context.new_page()
    tab.add_init_script(
        "window.copied = []; const clipboard = { writeText: async text => copied.push(text) };"
        "Object.defineProperty(navigator, 'clipboard', { value: clipboard })"
    )
    tab.goto(path.as_uri())
    tab.evaluate("form => document.querySelector(`[data-copy='${form}']`).click()", form)
    text = tab.evaluate("window.copied[0]")
    context.close()
    return text


def test_what_is_copied_computes_nothing_in_a_spreadsheet_and_is_no_markup(chromium, tmp_path):
    run = run_of(3)
    names = ("=cmd|' /C calc'!A0", "@SUM(1)", "<img src=x>|`a` [b](c)")
    records = [msgspec.structs.replace(one, model=name) for one, name in zip(run.records, names, strict=True)]
    made = finished(records, run.header.claims)
    table = copied(made, chromium, tmp_path, "CSV")
    assert all(line[0] not in "=+-@" and not line.startswith(('"=', '"+', '"-', '"@')) for line in table.split("\r\n"))
    markdown = copied(made, chromium, tmp_path, "Markdown")
    assert "\\<img src=x>\\|\\`a\\` \\[b\\](c)" in markdown


def test_lines_that_are_copied_hold_names_as_words(chromium, tmp_path):
    run = run_of(1)
    made = finished([msgspec.structs.replace(run.records[0], model="--import=owned; touch x'")], run.header.claims)
    header = msgspec.structs.replace(made.header, timm="1; MODEL touch owned #", torch="$(touch owned)")
    path = tmp_path / "lines.html"
    path.write_text(rendered(msgspec.structs.replace(made, header=header)), encoding="utf-8")
    context = chromium.new_context()
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.click("#unfold")
    tab.click("#cells tbody tr:not(.f):not(.rest) th")
    shown = tab.locator("#said pre").last.text_content()
    context.close()
    assert shown == (
        "pip install timm-conformance 'timm==1; MODEL touch owned #' 'torch==$(touch owned)'\n"
        "timm-conformance show -- '--import=owned; touch x'\\'''"
    )
