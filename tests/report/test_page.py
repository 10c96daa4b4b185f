"""The page, in a real browser: it opens from disk, answers mouse and keyboard, and runs nobody's text."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from importlib.resources import files

import msgspec
import pytest

from conformance.record import Cell, Evidence, Record, Remedy, Verdict
from conformance.report.page import page as rendered
from conformance.report.scripts import script
from tests.report.conftest import MODELS, shown, until
from tests.report.synthetic import entries, finished, run_of

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">'\"&amp;\x00\u202e"
)


def test_families_are_folded_and_unfold_into_their_models(opened):
    run = run_of(40)
    tab = opened(run)
    assert shown(tab) == []
    families = sorted({record.module for record in run.records})
    assert tab.locator("#cells .fold").all_text_contents() == families
    tab.click(f"#cells .fold >> text='{families[1]}'")
    own = [record.model for record in run.records if record.module == families[1]]
    assert shown(tab) == own
    assert tab.get_attribute("#cells .fold >> nth=1", "aria-expanded") == "true"
    tab.reload()
    assert shown(tab) == own
    tab.click("#cells .fold >> nth=1")
    assert shown(tab) == []
    tab.click("text=Unfold all")
    assert len(shown(tab)) == 40


def test_a_family_says_how_many_of_its_models_break_a_claim(opened):
    run = run_of(40)
    tab = opened(run)
    claim = next(
        entry.id
        for entry in run.header.claims
        if any(r.cells[entry.id].verdict is Verdict.VIOLATED for r in run.records)
    )
    place = [entry.id for entry in run.header.claims].index(claim)
    for row in tab.locator("#cells tr.f").all():
        family = row.locator(".fold").text_content()
        broken = [
            record.model
            for record in run.records
            if record.module == family and record.cells[claim].verdict is Verdict.VIOLATED
        ]
        cell = row.locator("td").nth(2 + place)
        if broken:
            assert cell.text_content() == str(len(broken))
            cell.click()
            assert shown(tab) == broken
            return
    raise AssertionError("no family breaks the claim")


def test_a_question_unfolds_what_it_finds_and_is_in_the_address(opened):
    tab = opened(run_of(40))
    tab.fill("#q", "VIT tiny")
    names = shown(tab)
    assert names
    assert all("vit" in name and "tiny" in name for name in names)
    assert tab.text_content("#shown") == f"{len(names)} of 40 models"
    assert tab.url.endswith("#q=VIT+tiny")
    tab.fill("#q", ".*[(")
    assert shown(tab) == []
    assert tab.is_visible(".none")
    tab.fill("#q", "famly:vit")
    assert "Did you mean family?" in tab.text_content("#problem")
    tab.click("text=Clear")
    assert tab.text_content("#shown") == "40 models"
    assert "#" not in tab.url


def test_an_address_shows_what_it_says(opened):
    run = run_of(40)
    model, claim = run.records[7].model, run.header.claims[2].id
    tab = opened(run, f"#q={model}&order=model&model={model}&claim={claim}")
    assert shown(tab) == [model]
    assert tab.input_value("#q") == model
    assert tab.input_value("#order") == "model"
    assert tab.text_content("#said h3") == f"{model}: {claim}"
    tab.evaluate("location.hash = 'q=&model=nobody'")
    until(tab, "document.getElementById('details').hidden")
    assert tab.text_content("#shown") == "40 models"


def test_chips_add_to_the_question_and_take_away_from_it(opened):
    run = run_of(40)
    tab = opened(run)
    tab.click("[data-ask='any:violated']")
    faulty = {
        record.model for record in run.records if any(c.verdict is Verdict.VIOLATED for c in record.cells.values())
    }
    assert set(shown(tab)) == faulty
    assert tab.get_attribute("[data-ask='any:violated']", "aria-pressed") == "true"
    tab.click("[data-ask='params<30M']")
    assert tab.input_value("#q") == "any:violated params<30M"
    tab.click("[data-ask='any:violated']")
    assert tab.input_value("#q") == "params<30M"


def test_models_stand_in_the_order_that_is_asked_for(opened):
    run = run_of(40)
    tab = opened(run)
    tab.select_option("#order", "model")
    assert shown(tab) == sorted(record.model for record in run.records)
    tab.select_option("#order", "params")
    sizes = {record.model: record.params or 0 for record in run.records}
    assert [sizes[name] for name in shown(tab)] == sorted(sizes.values())
    assert tab.locator("#cells .f").count() == 0


def test_more_rows_come_as_one_scrolls_or_walks(opened):
    tab = opened(run_of(300), "#order=model")
    first = len(shown(tab))
    assert first < 300
    tab.evaluate("document.querySelector('.matrix').scrollTo(0, 1e6)")
    until(tab, f"document.querySelectorAll('{MODELS}').length > {first}")
    tab.reload()
    tab.focus("#cells tbody [tabindex='0']")
    for _ in range(first + 5):
        tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.parentElement.rowIndex") > first


def test_columns_of_a_group_can_be_left_out(opened):
    run = run_of(40)
    tab = opened(run, "#order=model")
    tab.click("text=Columns")
    group = run.header.claims[0].group
    tab.uncheck(f"[data-group='{group}']")
    hidden = sum(entry.group == group for entry in run.header.claims)
    for row in (MODELS, "#cells .ids"):
        cells = tab.locator(row).first.locator("th, td").all()
        assert sum(cell.is_visible() for cell in cells) == 2 + 1 + len(run.header.claims) - hidden
    tab.reload()
    assert not tab.is_checked(f"[data-group='{group}']")


@pytest.mark.parametrize("form", ["CSV", "Markdown", "Python"])
def test_what_is_found_can_be_taken_elsewhere(opened, form):
    run = run_of(40)
    tab = opened(run, "#q=vit+or+resnet&order=model", permissions=["clipboard-read", "clipboard-write"])
    tab.click("text=Copy >> nth=0")
    tab.click(f"[data-copy={form}]")
    tab.wait_for_selector(f"[data-copy={form}]:text('Copied')")
    text = tab.evaluate("navigator.clipboard.readText()")
    names = shown(tab)
    if form == "Python":
        found: dict[str, list[str]] = {}
        exec(text, found)  # it is for pasting
        assert found["models"] == names
    elif form == "CSV":
        header, *rows = csv.reader(io.StringIO(text))
        assert header[3:] == [entry.id for entry in run.header.claims]
        assert [row[0] for row in rows] == names
        cells = {record.model: record.cells for record in run.records}
        assert rows[0][3] == cells[names[0]][header[3]].verdict.replace("_", " ")
    else:
        lines = text.splitlines()
        assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {name}" for name in names]


def test_the_table_stands_in_the_order_of_a_claim(opened):
    run = run_of(40)
    tab = opened(run, "#claim=scripts")
    tab.click("text=Order the table by this claim")
    order = [Verdict.VIOLATED, Verdict.UNDECIDED, Verdict.HOLDS, Verdict.NOT_APPLICABLE]
    found = {record.model: record.cells["scripts"].verdict for record in run.records}
    places = [order.index(found[name]) for name in shown(tab)]
    assert places == sorted(places)
    assert len(places) == 40
    assert tab.get_attribute("#cells .ids th:has-text('scripts') >> nth=0", "aria-sort") == "other"
    assert tab.locator("[aria-sort]").count() == 1
    assert tab.input_value("#order") == "scripts"
    tab.reload()
    assert tab.input_value("#order") == "scripts"
    tab.select_option("#order", "model")
    assert tab.get_attribute("#cells .ids .model", "aria-sort") == "ascending"


def test_no_text_of_a_record_runs(opened):
    remedy = Remedy(text=HOSTILE, code=HOSTILE, evidence=Evidence.PROVED)
    cell = Cell(
        verdict=Verdict.VIOLATED, evidence=Evidence.OBSERVED, reason=HOSTILE, cause=HOSTILE, remedy=remedy,
        witness={HOSTILE: HOSTILE},
    )  # fmt: skip
    claim = msgspec.structs.replace(
        entries(["scripts"])[0],
        id=f"s{HOSTILE}", text=f"`{HOSTILE}` {HOSTILE}", group=HOSTILE, why=HOSTILE, source=HOSTILE, needs=(HOSTILE,),
    )  # fmt: skip
    record = Record(
        model=f"m{HOSTILE}", module=HOSTILE, class_name=HOSTILE, cells={claim.id: cell}, num_features=7,
        shapes={"features": ((2, 7),)}, fingerprints={"features": HOSTILE}, source=f"timm/{HOSTILE}:{HOSTILE}",
    )  # fmt: skip
    run = finished([record], (claim,))
    run = msgspec.structs.replace(
        run,
        header=msgspec.structs.replace(
            run.header, timm=HOSTILE, torch=HOSTILE, python=HOSTILE, started=HOSTILE, suite=HOSTILE, machine=HOSTILE
        ),
    )
    held = Cell(verdict=Verdict.HOLDS, evidence=Evidence.PROVED)
    was = msgspec.structs.replace(record, cells={claim.id: held}, num_features=8, fingerprints={"features": "another"})
    gone = msgspec.structs.replace(record, model=f"gone{HOSTILE}")
    earlier = msgspec.structs.replace(finished([was, gone], (claim,)), header=run.header)
    tab = opened(run, "#order=model", earlier=[earlier])
    tab.click("#cells .ids a")
    tab.click("#cells tbody td.vo")
    tab.hover("#cells tbody td.vo")
    tab.click("#cells tbody th")
    tab.fill("#q", HOSTILE.replace("\x00", ""))
    tab.fill("#q", "")
    assert "owned" not in tab.title().replace("document.title='owned'", "")
    assert tab.locator("img").count() == 0
    assert tab.locator("script").count() == 2
    assert "<img src=x" in tab.text_content("#said")


def test_the_policy_forbids_scripts_that_are_not_the_pages_own(chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(rendered(run_of(1)).replace("</body>", "<script>document.title='owned'</script></body>"))
    tab = chromium.new_page()
    tab.goto(path.as_uri())
    assert tab.title() != "owned"
    tab.close()


def test_without_javascript_the_table_and_the_causes_are_there(opened):
    run = run_of(5)
    tab = opened(run, java_script_enabled=False)
    assert tab.locator("#cells tbody tr:not(.f)").count() == 5
    assert tab.locator("#cells tbody tr:not(.f) td:not(.t, .m)").count() == 5 * 25
    assert tab.is_hidden("form")
    assert tab.is_hidden("#details")
    assert "the value numbers differ" in tab.text_content(".causes")
    assert "for every weight" in tab.text_content("main")


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_itself_never_scrolls_sideways(opened, width):
    tab = opened(run_of(20), "#order=model", viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.locator("#cells tbody td.h, #cells tbody td.hp").first.click()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_header_and_the_names_stay_in_sight(opened):
    tab = opened(run_of(200), "#order=model", viewport={"width": 700, "height": 800})
    tab.evaluate("document.querySelector('.matrix').scrollTo(300, 1000)")
    box = tab.locator(".matrix").bounding_box()
    assert tab.locator("#cells thead").bounding_box()["y"] == pytest.approx(box["y"], abs=2)
    assert tab.locator("#cells tbody th").nth(40).bounding_box()["x"] == pytest.approx(box["x"], abs=2)


def luminance(color):
    channels = [int(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_verdicts_can_be_read_in_light_and_in_dark(opened, scheme):
    tab = opened(run_of(40), "#order=model", color_scheme=scheme)
    for kind in ("hp", "ho", "vo", "u", "n"):
        spot = tab.locator(f"#cells tbody td.{kind}").first
        color, ground = spot.evaluate("node => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]")
        light, dark = sorted((luminance(color), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (kind, color, ground)
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) > 0.5) is (scheme == "light")


def test_equal_runs_give_equal_pages():
    assert rendered(run_of(10)) == rendered(run_of(10))


def test_names_at_the_top_of_two_modules_differ():
    """They end up in one script."""
    static = files("conformance.report").joinpath("static")
    sources = [file for file in static.iterdir() if file.name.endswith(".js")]
    declared = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (?:\{ ([^}]*) \}|(\w+))", re.MULTILINE)
    found = Counter(
        name.strip()
        for file in sources
        for names in declared.findall(file.read_text())
        for name in (names[0] or names[1]).split(",")
    )
    assert [name for name, times in found.items() if times > 1] == []
    whole = script()
    assert "import" not in re.sub(r"//.*", "", whole)
    assert "export " not in re.sub(r"//.*", "", whole)


def test_a_chip_filters_each_side_of_or(opened):
    tab = opened(run_of(40), '#q=vit or "a  b" or swin')
    chip = tab.locator("[data-ask='any:violated']")
    chip.click()
    assert tab.input_value("#q") == 'vit any:violated or "a  b" any:violated or swin any:violated'
    assert chip.get_attribute("aria-pressed") == "true"
    chip.click()
    assert tab.input_value("#q") == 'vit or "a  b" or swin'


def test_all_that_is_unfolded_is_in_the_address_and_is_printed(opened):
    tab = opened(run_of(200))
    tab.click("text=Unfold all")
    tab.reload()
    assert tab.evaluate("location.hash") == "#open=*"
    assert len(shown(tab)) < 200
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert len(shown(tab)) == 200
    tab.click("text=Fold all")
    assert shown(tab) == []


def test_families_fold_while_something_is_asked(opened):
    tab = opened(run_of(40), "#q=tiny")
    before = len(shown(tab))
    tab.click("#cells .fold >> nth=0")
    assert 0 < len(shown(tab)) < before
    assert "open=" not in tab.evaluate("location.hash")


def test_names_with_commas_are_kept_in_the_address(opened):
    run = run_of(2)
    records = [msgspec.structs.replace(record, module=f"a,{place}") for place, record in enumerate(run.records)]
    tab = opened(finished(records, run.header.claims))
    tab.click("#cells .fold >> nth=0")
    tab.reload()
    assert len(shown(tab)) == 1


def test_what_is_copied_stands_in_the_order_that_is_shown(opened):
    tab = opened(run_of(20), "#order=params&q=not swin", permissions=["clipboard-read", "clipboard-write"])
    tab.click("text=Copy")
    tab.click("[data-copy=Python]")
    until(tab, "document.querySelector('[data-copy=Python]').textContent === 'Copied'")
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert re.findall('"(.*)"', copied) == shown(tab)
