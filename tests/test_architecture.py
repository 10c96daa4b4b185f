"""The arrows of the design, read from the imports of every module, and what else holds for all of them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import typer

import conformance
from conformance.claims import CLAIMS, in_tier
from conformance.cli import app
from conformance.record import Tier
from conformance.run.chosen import Chosen, header

PACKAGE = Path(conformance.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 400

# Each part with the parts that it may import, itself apart.
RECORD = frozenset({"files", "record", "record_file", "release"})
ARROWS = {
    "__init__": frozenset({"subject"}),
    "test_contract": frozenset(),
    "engine": frozenset(),
    "record": frozenset(),
    "files": frozenset(),
    "record_file": frozenset({"files", "record"}),
    "release": frozenset(),
    "stopping": frozenset(),
    "merging": RECORD,
    "subject": RECORD | {"engine"},
    "claims": RECORD | {"engine", "subject"},
    "decide": RECORD | {"claims", "subject"},
    "gate": RECORD,
    "report": RECORD | {"gate"},
    "run": RECORD | {"stopping", "decide", "claims", "subject", "report", "gate"},
    "arguments": RECORD,
    "configuration": frozenset({"files"}),
    "commands": RECORD
    | {"arguments", "configuration", "merging", "run", "decide", "claims", "subject", "report", "gate"},
    "cli": RECORD | {"arguments", "commands", "stopping"},
    "__main__": frozenset({"cli"}),
}
# Each library with the parts that alone may import it.
ONLY = {
    "timm": {"subject"},
    "torch": {"engine", "subject", "claims", "run"},
    "pytest": {"run"},
    "_pytest": {"run"},
    "xdist": {"run"},
    "onnx": {"subject"},
    "onnxruntime": {"subject"},
    "execnet": {"run"},
    "ray": {"run"},
    "yaml": {"gate"},
    "tomlkit": {"gate"},
    "jinja2": {"report"},
    "typer": {"cli", "commands"},
}


def part(module: str) -> str:
    """`conformance.run.local` → `run`; the package itself → `__init__`."""
    return [*module.split("."), "__init__"][1]


def own_part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """The full name of everything that a module imports, wherever in it: a module, or a name of one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide the arrow"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(path: Path) -> set[str]:
    """The parts of this package that a module imports; its bare facts, such as its version, are nobody's arrow."""
    parts = {part(name) for name in imports(path) if name.split(".")[0] == "conformance"}
    return parts - {own_part(path), "__init__", "__version__"}


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_imports_follow_the_arrows(path):
    assert imported_parts(path) <= ARROWS[own_part(path)]


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_each_library_is_imported_where_the_design_says(path):
    libraries = {name.split(".")[0] for name in imports(path)}
    assert [name for name in libraries & ONLY.keys() if own_part(path) not in ONLY[name]] == []


def test_the_arrows_make_no_circle():
    pending = dict(ARROWS)
    while pending:
        free = [name for name, below in pending.items() if not below & pending.keys()]
        assert free, f"a circle among {sorted(pending)}"
        for name in free:
            del pending[name]


def test_arguments_are_the_command_lines_own():
    assert {own_part(path) for path in MODULES if "arguments" in imported_parts(path)} == {"cli", "commands"}


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("conformance", {"torch", "timm", "pytest", "msgspec", "rich", "typer"}),
        ("conformance.report.page, conformance.report.text, conformance.report.formats", {"torch", "timm", "pytest"}),
        ("conformance.report.machine, conformance.report.markdown", {"torch", "timm", "pytest"}),
        ("conformance.report.changes_machine, conformance.report.changes_markdown", {"torch", "timm", "pytest"}),
        ("conformance.run.wheels, conformance.run.elsewhere, conformance.run.upgrade", {"torch", "timm"}),
        ("conformance.gate, conformance.record_file", {"torch", "timm", "pytest"}),
        ("conformance.cli", {"torch", "timm", "pytest", "jinja2", "rich"}),
        ("conformance.engine.trace, conformance.engine.script", {"timm", "pytest"}),
        ("conformance.decide", {"pytest"}),
    ],
)
def test_what_a_module_brings_in_does_not_include(modules, absent):
    code = f"import sys, {modules}\nprint(*sorted({absent!r} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_a_module_says_in_its_first_line_what_it_is(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert text.startswith("This package " if path.name == "__init__.py" else "This module ")


@pytest.mark.parametrize("path", MODULES, ids=short)
def test_a_module_has_one_noun_and_so_an_end(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string of a module that is not its documentation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # A string that stands alone is a docstring, or documents the name above it.
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def test_no_code_knows_a_model_by_name():
    known = set(timm.list_models()) | set(timm.list_modules())
    found = [
        f"{short(path)}:{line}: {word}"
        for path in MODULES
        for line, text in strings(path)
        for word in set(re.findall(r"\w+", text)) & known
    ]
    assert found == []


def test_a_claim_comes_after_those_that_it_needs():
    seen: set[str] = set()
    for claim in CLAIMS.values():
        assert seen.issuperset(claim.needs), claim.id
        seen.add(claim.id)


def test_a_header_lists_the_claims_as_the_registry_does():
    claims = tuple(claim.id for claim in in_tier(Tier.CORE))
    assert claims == tuple(claim_id for claim_id, claim in CLAIMS.items() if claim.tier is Tier.CORE)
    made = header(Chosen(models=(), claims=claims, tier=Tier.CORE), "then")
    assert made.claims == tuple(CLAIMS[claim_id].entry() for claim_id in claims)


# What the documents tell people to type

DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
COMMANDS = typer.main.get_command(app).commands


def told_commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, the rest of its line) for every `timm-conformance …` in code."""
    code = re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL)
    for snippet in code:
        yield from re.findall(r"timm-conformance ([a-z]+)([^\n`]*)", snippet.replace("\\\n", " "))


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_a_document_tells_commands_and_options_that_exist(path, pytestconfig):
    text = path.read_text(encoding="utf-8")
    for name, rest in told_commands(text):
        assert name in COMMANDS, name
        command = COMMANDS[name]
        if hasattr(command, "commands") and rest.split() and "|" not in rest:  # `expectations check FILE`
            command = command.commands[rest.split()[0]]
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.split("&&")[0].split("#")[0])) <= options, rest
    absent = object()
    options = {option.replace("-", "_") for option in re.findall(r"--(timm-[a-z]+)", text)}
    assert [option for option in options if pytestconfig.getoption(option, absent) is absent] == []


def test_every_command_is_in_the_readme():
    told = {name for name, _ in told_commands(DOCUMENTS[0].read_text(encoding="utf-8"))}
    assert told >= set(COMMANDS)


@pytest.mark.parametrize("path", DOCUMENTS, ids=short)
def test_links_to_files_lead_somewhere(path):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_nobody_is_told_to_install_somebody_elses_package():
    for path in (*DOCUMENTS, *MODULES, ROOT / "noxfile.py", ROOT / ".ci" / "run"):
        assert not re.search(r"pip install (-\S+ )*conformance\b", path.read_text(encoding="utf-8")), path
