"""The page without a mouse: everything is reached, and the focus is never lost."""

from __future__ import annotations

from tests.report.conftest import focused, shown, until
from tests.report.synthetic import run_of


def test_enter_goes_on_to_what_is_said_and_escape_back(opened):
    tab = opened(run_of(5), "#order=model")
    tab.focus("#cells tbody th >> nth=0")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.tagName") == "TH"
    assert tab.text_content("#told") == f"Details of {tab.text_content('#said h3')}"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.tagName") == "H3"
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.tagName") == "TH"
    assert tab.is_hidden("#details")


def test_the_keyboard_alone_reaches_every_reason(opened):
    run = run_of(3)
    tab = opened(run, "#order=model")
    tab.focus("#cells tbody [tabindex='0']")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    model, claim = run.records[1].model, run.header.claims[1].id
    assert tab.text_content("#said h3") == f"{model}: {claim}"
    tab.keyboard.press("End")  # the details follow
    assert tab.text_content("#said h3") == f"{model}: {run.header.claims[-1].id}"
    tab.keyboard.press("Home")
    assert tab.text_content("#said h3") == model
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#details")
    assert tab.evaluate("document.activeElement.textContent") == model


def test_folding_keeps_the_focus(opened):
    tab = opened(run_of(40))
    for key in ("Enter", "Space"):
        name = tab.locator("#cells .fold >> nth=2")
        name.focus()
        tab.keyboard.press(key)
        assert focused(tab) == name.text_content()
    tab.focus("#cells tbody th >> nth=1")
    tab.keyboard.press("Enter")
    tab.keyboard.press("ArrowDown")
    assert focused(tab) == shown(tab)[0]


def test_details_that_a_link_opens_have_the_focus_and_give_it_back(opened):
    tab = opened(run_of(40), "#q=vit")
    tab.click("#causes ~ .scroll summary >> nth=0")
    link = tab.locator("#causes ~ .scroll details[open] .names a >> nth=1")
    link.wait_for()
    for opener in (link, tab.locator("#cells .ids a >> nth=3")):
        opener.focus()
        tab.keyboard.press("Enter")
        until(tab, "document.activeElement.tagName === 'H3'")
        tab.keyboard.press("Escape")
        assert focused(tab) == opener.text_content()
        assert tab.input_value("#q") == "vit"


def test_a_link_that_only_asks_leads_to_the_question(opened):
    tab = opened(run_of(40), "#claim=scripts")
    tab.focus("#said .counts a >> nth=0")
    tab.keyboard.press("Enter")
    until(tab, "document.getElementById('details').hidden")
    assert tab.evaluate("document.activeElement.id") == "q"


def test_closing_leads_to_the_model_that_was_read(opened):
    run = run_of(100)
    tab = opened(run, "#open=vit")
    first, other = shown(tab)[:2]
    tab.click(f"#cells th >> text={first}")
    tab.click(f"#said a >> text={other}")
    until(tab, f"document.querySelector('#said h3').textContent === '{other}'")
    tab.keyboard.press("Escape")
    assert focused(tab) == other


def test_a_link_to_a_section_leaves_the_view_as_it_is(opened):
    tab = opened(run_of(40), "#q=vit&open=swin")
    tab.click("nav >> text=Claims")
    assert tab.input_value("#q") == "vit"
    assert tab.evaluate("location.hash") == "#q=vit&open=swin"
    assert focused(tab) == "Claims"


def test_arrow_keys_pass_over_columns_that_are_left_out(opened):
    tab = opened(run_of(3), "#order=model&hide=classifier")
    hidden = [entry.id for entry in run_of(1).header.claims if entry.group == "classifier"]
    tab.click("#cells tbody td >> nth=2")
    for _ in range(30):
        tab.keyboard.press("ArrowRight")
        assert not any(f"claim={claim}" in tab.evaluate("location.hash") for claim in hidden)
    assert f"claim={run_of(1).header.claims[-1].id}" in tab.evaluate("location.hash")
    tab.keyboard.press("Home")
    assert tab.evaluate("document.activeElement.tagName") == "TH"


def test_a_cell_that_has_the_focus_says_its_verdict_in_words(opened):
    run = run_of(1)
    tab = opened(run, "#order=model")
    tab.focus("#cells tbody th")
    tab.keyboard.press("ArrowRight")
    claim = run.header.claims[0].id
    verdict = run.records[0].cells[claim].verdict
    assert tab.evaluate("document.activeElement.ariaLabel").startswith(f"{claim}: {verdict}".replace("_app", " app"))
