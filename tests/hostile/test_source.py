"""What the package's own code never does: unpickle, run text, or trust a template's text; exceptions are listed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import conformance
from conformance.report.page import environment

PACKAGE = Path(conformance.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
UNPICKLING = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "marshal",
    "shelve",
    "joblib",
    "jsonpickle",
    "copyreg",
}
RUNNING = {"eval", "exec", "compile", "__import__", "execfile", "breakpoint", "input"}
DANGEROUS = {
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.construct",
    "torch.load",
    "torch.hub.load",
    "numpy.load",
    "np.load",
    "tempfile.mktemp",
    "xml.sax.parse",
    "runpy.run_path",
    "runpy.run_module",
    "code.interact",
    "ElementTree.parse",
    "ElementTree.fromstring",
    "importlib.import_module",
    "torch.jit.load",
    "torch.package.PackageImporter",
}
ALLOWED = {
    ("engine/script.py", "exec"): "runs two words of this module, for torch reads annotations from the caller's names",
    ("claims/remedies.py", "exec"): "runs code that the module itself wrote, before it is offered",
    ("claims/remedies.py", "compile"): "the same",
    ("subject/carrying.py", "torch.load"): "with weights_only, of a file that this suite's other process wrote",
    ("arguments.py", "importlib.import_module"): "what `--import` names is run, as SECURITY.md says",
    ("run/chosen.py", "importlib.import_module"): "the same, in the process that decides",
    ("run/errands.py", "importlib.import_module"): "the same, in the process that has another timm",
    ("engine/script.py", "torch.jit.load"): "from memory, what was saved of the model a line above",
}
"""What is called all the same, with its reason."""
MARKUP = {
    ("report/page.py", "Markup(style)"): "a file of this package",
    ("report/page.py", "Markup(code)"): "files of this package",
    ("report/page.py", "Markup(''.join(parts))"): "rows, of which every text was escaped",
    ("report/page.py", "Markup(text)"): "JSON without a character that HTML knows",
    ("report/page.py", "Markup('')"): "joins what was escaped",
    ("report/page.py", "Markup('<code>{}</code>')"): "formats what it escapes",
    ("report/index.py", "Markup(style)"): "a file of this package",
}
"""What templates are told not to escape, with its reason."""


def short(path):
    return str(path.relative_to(PACKAGE))


def calls(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_unpickles():
    found = {
        (short(path), name)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        if name.split(".")[0] in UNPICKLING
    }
    assert found == set()


def test_no_text_is_run_and_nothing_dangerous_is_called_but_what_is_listed():
    found = {(short(path), name) for path in MODULES for name, _ in calls(path) if name in RUNNING or name in DANGEROUS}
    assert found == set(ALLOWED)


def test_no_shell_reads_a_command_and_tensors_are_read_without_code():
    for path in MODULES:
        for name, node in calls(path):
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            assert "shell" not in given, (short(path), name)
            if name == "torch.load":
                assert getattr(given.get("weights_only"), "value", None) is True, short(path)
            if name.startswith("subprocess."):
                assert not isinstance(node.args[0], ast.Constant | ast.JoinedStr), (short(path), name)


def test_yaml_is_composed_by_the_safe_loader_and_constructed_by_none():
    used = {name for path in MODULES for name, _ in calls(path) if name.startswith("yaml.")}
    assert used == {"yaml.compose_all"}
    for path in MODULES:
        for name, node in calls(path):
            if name == "yaml.compose_all":
                assert [ast.unparse(keyword.value) for keyword in node.keywords] == ["yaml.SafeLoader"]


def test_templates_escape_everything_but_what_is_listed():
    assert environment().autoescape is True
    for template in (PACKAGE / "report" / "templates").iterdir():
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|\bMarkup\b|\|\s*(tojson|xmlattr|forceescape)", text), template.name
    found = {
        (short(path), ast.unparse(node)) for path in MODULES for name, node in calls(path) if name.endswith("Markup")
    }
    assert found == set(MARKUP)


def test_attributes_of_templates_are_quoted():
    for template in (PACKAGE / "report" / "templates").iterdir():
        assert not re.search(r"\s[\w-]+=\{\{", template.read_text(encoding="utf-8")), template.name


@pytest.mark.parametrize("path", sorted((PACKAGE / "report" / "static").glob("*.js")), ids=lambda path: path.name)
def test_scripts_of_the_page_make_no_markup_and_run_no_text(path):
    text = path.read_text(encoding="utf-8")
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|\beval\b|\bFunction\b"
        r"|setTimeout\(\s*[\"'`]|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(|localStorage|srcdoc|setHTML|window\.open"
    )
    assert re.search(forbidden, text) is None
