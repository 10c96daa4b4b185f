"""What is typed into the query bar means what it says, in a real browser's JavaScript."""

from __future__ import annotations

import base64
from importlib.resources import files

import pytest

MODELS = """[
  {text: "vit_tiny vision_transformer visiontransformer", name: "vit_tiny", family: "vision_transformer",
   kind: "visiontransformer", codes: ["hp", "vo"], numbers: {params: [5.7e6], width: [192], size: [224, 224]}},
  {text: "vgg11 vgg vgg", name: "vgg11", family: "vgg", kind: "vgg", codes: ["u", "ho"],
   numbers: {params: [1.3e8], width: [4096], size: [224, 224]}},
  {text: "resnetv2_50 resnetv2 resnetv2", name: "resnetv2_50", family: "resnetv2", kind: "resnetv2",
   codes: ["hm", "n"], numbers: {params: [], width: [2048], size: [256, 192]}},
  {text: "resnet18 resnet resnet", name: "resnet18", family: "resnet", kind: "resnet", codes: ["hp", "ho"],
   numbers: {params: [1.17e7], width: [512], size: [224, 224]}},
]"""
KNOWN = """{
  claims: ["builds", "scripts"], families: new Set(["vision_transformer", "vgg", "resnetv2", "resnet"]),
  texts: {
    model: model => [model.name], family: model => [model.family], class: model => [model.kind],
    reason: model => model.name === "vgg11" ? ["memory ran out"] : [], cause: () => [],
  },
  flags: new Map([["faultless", model => !model.codes.some(code => code[0] === "v" || code[0] === "u")]]),
}"""


@pytest.fixture(scope="module")
def ask(chromium):
    """What a question finds, and what is said of what it does not understand."""
    source = files("conformance.report").joinpath("static", "query.js").read_bytes()
    module = f"data:text/javascript;base64,{base64.b64encode(source).decode()}"
    tab = chromium.new_page()

    def asking(text):
        return tab.evaluate(
            f"""async ([module, text]) => {{
              const {{ understand }} = await import(module);
              const {{ matches, problems }} = understand(text, {KNOWN});
              return [{MODELS}.filter(matches).map(model => model.name), problems];
            }}""",
            [module, text],
        )

    yield asking
    tab.close()


EVERYTHING = ["vit_tiny", "vgg11", "resnetv2_50", "resnet18"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", EVERYTHING),
        ("   ", EVERYTHING),
        ("VIT", ["vit_tiny"]),
        ("vit*", ["vit_tiny"]),
        ("model:*it*ny", ["vit_tiny"]),
        ("model:resnet18*18", []),
        ("model:r*n*t*50", ["resnetv2_50"]),
        ("family:vgg,resnet", ["vgg11", "resnet18"]),
        ('family:"vgg,resnet"', []),
        ('reason:"memory, ran"', []),
        (f"reason:{'*e' * 30}*q*zz*", []),
        ("resnet 50", ["resnetv2_50"]),
        ('"vit_tiny vision"', ["vit_tiny"]),
        ("-resnet", ["vit_tiny", "vgg11"]),
        ("not resnet", ["vit_tiny", "vgg11"]),
        ("not -vgg", ["vgg11"]),
        ("vgg or vit", ["vit_tiny", "vgg11"]),
        ("vgg or", ["vgg11"]),
        ("or or", EVERYTHING),
        ('"or"', ["vit_tiny"]),
        ("family:resnet", ["resnet18"]),
        ("family:res", ["resnetv2_50", "resnet18"]),
        ("family:res*", ["resnetv2_50", "resnet18"]),
        ("model:*18", ["resnet18"]),
        ("model:resnet*50", ["resnetv2_50"]),
        ("class:visiontransformer", ["vit_tiny"]),
        ('reason:"memory ran"', ["vgg11"]),
        ("params<30M", ["vit_tiny", "resnet18"]),
        ("params<=11.7m", ["vit_tiny", "resnet18"]),
        ("params>0.1G", ["vgg11"]),
        ("width:512", ["resnet18"]),
        ("width=512..2048", ["resnetv2_50", "resnet18"]),
        ("size:192", ["resnetv2_50"]),
        ("size>=256", ["resnetv2_50"]),
        ("builds:holds", ["vit_tiny", "resnetv2_50", "resnet18"]),
        ("builds:proved", ["vit_tiny", "resnet18"]),
        ("scripts:violated,na", ["vit_tiny", "resnetv2_50"]),
        ("scripts:not_applicable", ["resnetv2_50"]),
        ("any:undecided", ["vgg11"]),
        ("-any:violated is:faultless", ["resnetv2_50", "resnet18"]),
        (".*[(", []),
        ("model:.*", []),
    ],
)
def test_a_question_finds_what_it_says(ask, text, found):
    assert ask(text) == [found, []]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("famly:resnet", "No field or claim is called famly. Did you mean family?"),
        ("script:holds", "No field or claim is called script. Did you mean scripts?"),
        ("zzz:1", "No field or claim is called zzz."),
        (
            "scripts:constructor",
            "constructor is no verdict: holds, violated, undecided, na; or proved, measured, observed.",
        ),
        ("scripts:perhaps", "perhaps is no verdict: holds, violated, undecided, na; or proved, measured, observed."),
        ("params<many", "params<many is no number: ask like params<30M, params:768 or params:200..300."),
        ("params<1..2", "params<1..2 is no number: ask like params<30M, params:768 or params:200..300."),
        ("family<3", "family is no number: ask with family:3."),
        ("family:", "family is asked for nothing: write what it should be, as in family:…"),
        ("params<", "params is asked for nothing: write what it should be, as in params<…"),
        ("scripts", "scripts is a claim: ask scripts:holds or scripts:violated."),
        ("is:faultles", "Nothing is called is:faultles. Did you mean is:faultless?"),
    ],
)
def test_what_is_not_understood_is_said_and_left_out(ask, text, said):
    assert ask(text) == [EVERYTHING, [said]]
    assert ask(f"{text} vgg") == [["vgg11"], [said]]
