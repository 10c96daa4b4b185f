"""This module finds the models that a project uses, in its Python and in its configuration. Nothing of it is run.

Python is read by its syntax tree: calls of `create_model`, of timm's functions named after models and of
`torch.hub.load`, as they are imported, and texts that can mean nothing else (`hf-hub:timm/resnet50.a1_in1k`). In YAML,
TOML and JSON, every text counts that names a model, by itself or in one of these ways.
"""

from __future__ import annotations

import ast
import codecs
import io
import json
import os
import re
import tokenize
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from conformance.files import content, toml
from conformance.record import printable

_CREATOR = "create_model"
_NAME_ARGUMENTS = ("model_name", "model")
_SCHEMES = ("hf-hub:timm/", "hf_hub:timm/", "timm/", "tu-")
"""What comes before a model's name where others than timm read it: the hub, segmentation_models_pytorch."""
_CONFIGURATION = {".yaml": "YAML", ".yml": "YAML", ".toml": "TOML", ".json": "JSON"}
_NOTEBOOK = ".ipynb"
_LEFT_OUT = frozenset({"node_modules", "__pycache__", "site-packages"})
_SLOW = frozenset({"punycode", "idna"})
"""Encodings of names on the internet, which take time by the square of a file; no source is written in them."""
_WHY = 200
_TOKEN = re.compile(r'"((?:[^"\\\n]|\\.)*+)"|\'([^\'\n]*+)\'|([\w.-]++)')
"""What may be a text of TOML or JSON, in its quotes if it has some."""


@dataclass(frozen=True)
class Use:
    """A model that is named somewhere."""

    model: str
    """Without its tag."""
    tag: str
    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.model}{'.' + self.tag if self.tag else ''} ({self.file}:{self.line})"


@dataclass(frozen=True)
class NotUnderstood:
    """A place that names a model in a way that only running it would tell, or a file that cannot be read."""

    file: Path
    line: int | None
    why: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.why}"


@dataclass
class Uses:
    """What was found in a project."""

    found: list[Use] = field(default_factory=list)
    not_understood: list[NotUnderstood] = field(default_factory=list)
    files: int = 0

    def models(self) -> list[str]:
        """The models, each once, in order of name."""
        return sorted({use.model for use in self.found})

    def words(self) -> list[str]:
        """The same with the tags that they are named with, `resnet18.a1_in1k`."""
        return sorted({f"{use.model}.{use.tag}" if use.tag else use.model for use in self.found})


def uses(paths: Collection[Path], names: Collection[str]) -> Uses:
    """The models of `names` that files, or those in directories, use.

    Raises:
        FileNotFoundError: One of the paths is not there.
    """
    found = Uses()
    for path in paths:
        if not _is(os.path.exists, path):
            raise FileNotFoundError(path)
        for file in _files(path):
            found.files += 1
            _read(file, frozenset(names), found)
    return found


def _is(what: Callable[[Path], bool], path: Path) -> bool:
    """What `os.path` says: unlike a `Path` it never raises, whatever the name and however closed the directory."""
    return what(path)


def _files(path: Path) -> Iterator[Path]:
    if not _is(os.path.isdir, path):  # a pipe or a device is told of when it is to be read
        yield path
        return
    for file in sorted(path.rglob("*")):
        inner = file.relative_to(path).parts[:-1]
        if any(part in _LEFT_OUT or part.startswith(".") for part in inner) or not _is(os.path.isfile, file):
            continue
        if any(_is(os.path.exists, parent / "pyvenv.cfg") for parent in file.parents if parent.is_relative_to(path)):
            continue
        if file.suffix not in (".py", _NOTEBOOK, *_CONFIGURATION):
            continue
        yield file


def _read(file: Path, names: frozenset[str], found: Uses) -> None:
    kind = _CONFIGURATION.get(file.suffix)
    try:
        read = content(file)
        if kind is None:
            for text in _cells(read) if file.suffix == _NOTEBOOK else [_decoded(read)]:
                _Python(file, names, found).read(text)
            return
        for line, word in _words(kind, read.decode("utf-8-sig"), names):
            use = _named(word, names)
            if use is not None:
                found.found.append(Use(*use, file, line))
    except OSError as error:
        why = f"it cannot be read ({error.strerror or error}); it was skipped"
        found.not_understood.append(NotUnderstood(file, None, why))
    except UnicodeDecodeError as error:
        found.not_understood.append(NotUnderstood(file, None, f"it cannot be read ({error})"[:_WHY]))
    except (
        SyntaxError,
        yaml.YAMLError,
        RecursionError,
        MemoryError,  # what Python's parser says of what nests too deeply
        ValueError,  # of TOML and JSON as well
    ) as error:
        why = printable(str(error))[:_WHY] or type(error).__name__
        found.not_understood.append(NotUnderstood(file, None, f"it is no {kind or 'Python'} ({why}); it was skipped"))


def _decoded(content: bytes) -> str:
    """The text of a file of Python, in the encoding that it declares.

    Raises:
        SyntaxError: It declares one that does not exist.
        UnicodeDecodeError: It is in another one.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    if codecs.lookup(encoding).name in _SLOW:
        raise SyntaxError(f"no source is written in {encoding}")
    try:
        return content.decode(encoding)
    except LookupError as error:  # Python has codecs that are not of texts
        raise SyntaxError(str(error)) from error


def _cells(content: bytes) -> Iterator[str]:
    """The cells of code of a Jupyter notebook, without what is said to IPython itself."""
    notebook = json.loads(content)
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    for cell in cells if isinstance(cells, list) else ():
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            parts = source if isinstance(source, list) else [source]
            lines = "".join(part for part in parts if isinstance(part, str)).splitlines()
            if not (lines and lines[0].startswith("%%")):
                yield "\n".join("" if line.lstrip().startswith(("%", "!", "?")) else line for line in lines)


def _named(word: str, names: frozenset[str]) -> tuple[str, str] | None:
    """(model, tag), if a text is the name of a model in one of the ways to write it."""
    word = word.strip()
    scheme = next((scheme for scheme in _SCHEMES if word.startswith(scheme)), "")
    model, _, tag = word.removeprefix(scheme).partition(".")
    return (model, tag) if model in names and re.fullmatch(r"[\w.\-]*", tag) else None


def _words(kind: str, text: str, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and content of every text in a file of configuration that is the name of a model."""
    if kind == "YAML":
        # Composed and not constructed: tags (`!include`, `!!python/object`) are looked at and not obeyed.
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            yield from ((line, word) for line, word in _scalars(document) if _named(word, names) is not None)
        return
    parsed = toml(text) if kind == "TOML" else json.loads(text)
    named = [word for word in _texts(parsed) if _named(word, names) is not None]
    lines = _lines(text) if named else {}
    yield from ((lines.get(word, 1), word) for word in named)


def _lines(text: str) -> dict[str, int]:
    """The first line of each text in TOML or JSON as it is written there; once through the file, however many."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        for token in _TOKEN.finditer(line):
            found.setdefault(next(part for part in token.groups() if part is not None), number)
    return found


def _scalars(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    pending, seen = [node], set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, yaml.ScalarNode):
            yield current.start_mark.line + 1, str(current.value)
        elif isinstance(current, yaml.SequenceNode):
            pending.extend(reversed(current.value))
        elif isinstance(current, yaml.MappingNode):
            pending.extend(part for pair in reversed(current.value) for part in reversed(pair))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


class _Python:
    """One file of Python."""

    def __init__(self, file: Path, names: frozenset[str], found: Uses) -> None:
        self._file, self._names, self._found = file, names, found
        self._creators: dict[str, bool] = {}
        """Local names of functions that take a model's name; whether they are timm's."""
        self._functions: dict[str, str] = {}
        """Local names of timm's functions named after models, and what they are called there."""
        self._modules: set[str] = set()
        """Local names of timm and modules of it."""
        self._understood: set[int] = set()
        """Mentions of functions that were looked at as calls."""

    def read(self, text: str) -> None:
        """Enter what the file uses.

        Raises:
            SyntaxError: It is no Python.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escapes
            tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._modules |= {alias.asname or "timm" for alias in node.names if alias.name.split(".")[0] == "timm"}
            elif isinstance(node, ast.ImportFrom):
                self._import_from(node)
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                self._call(node)
            elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in called:
                self._mention(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(_SCHEMES):
                use = _named(node.value, self._names)
                if use is not None:
                    self._use(*use, node)

    def _import_from(self, node: ast.ImportFrom) -> None:
        from_timm = node.level == 0 and (node.module or "").split(".")[0] == "timm"
        for alias in node.names:
            local = alias.asname or alias.name
            if alias.name == _CREATOR:
                self._creators[local] = from_timm
            elif not from_timm:
                continue
            elif alias.name == "*":
                self._creators[_CREATOR] = True
                self._functions |= {name: name for name in self._names}
            elif alias.name in self._names:
                self._functions[local] = alias.name
            else:
                self._modules.add(local)

    def _call(self, node: ast.Call) -> None:
        function = node.func
        if self._is_partial(function) and node.args:
            inner = node.args[0]
            self._understood.add(id(inner))
            self._call(ast.Call(func=inner, args=node.args[1:], keywords=node.keywords, lineno=node.lineno))
            return
        if isinstance(function, ast.Name) and function.id == "getattr" and self._gets_creator(node):
            self._not_understood(node, f"`{ast.unparse(node)[:60]}` is handed on, with which model only running tells")
        if isinstance(function, ast.Name):
            if function.id in self._functions:
                self._use(self._functions[function.id], "", node)
            elif function.id in self._creators:
                self._argument(node, is_timms=self._creators[function.id])
        elif isinstance(function, ast.Attribute):
            is_timms = _root(function) in self._modules
            if function.attr == _CREATOR:
                self._argument(node, is_timms=is_timms)
            elif is_timms and function.attr in self._names:
                self._use(function.attr, "", node)
            elif function.attr == "load" and _is_timm_on_the_hub(node):
                self._argument(node, is_timms=True, place=1)

    def _is_partial(self, function: ast.expr) -> bool:
        """Whether it is `functools.partial`, by the name that everybody calls it."""
        return (function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)) == "partial"

    def _gets_creator(self, node: ast.Call) -> bool:
        module, *named = [*node.args, None, None][:2]
        is_named = isinstance(named[0], ast.Constant) and named[0].value == _CREATOR
        return is_named and isinstance(module, ast.Name) and module.id in self._modules

    def _mention(self, node: ast.Name | ast.Attribute) -> None:
        """List timm's function where it is not called, for whoever gets it may call it with any name."""
        if isinstance(node, ast.Name):
            is_timms = isinstance(node.ctx, ast.Load) and self._creators.get(node.id, False)
        else:
            is_timms = node.attr == _CREATOR and _root(node) in self._modules
        if is_timms and id(node) not in self._understood:
            self._not_understood(node, f"`{ast.unparse(node)[:60]}` is handed on, with which model only running tells")

    def _argument(self, node: ast.Call, *, is_timms: bool, place: int = 0) -> None:
        """Enter what the call names; somebody else's function of that name may well take something else."""
        given = node.args[place] if len(node.args) > place else None
        for keyword in node.keywords:
            if given is None and keyword.arg in _NAME_ARGUMENTS:
                given = keyword.value
        if given is None or isinstance(given, ast.Starred):
            if is_timms:
                self._not_understood(node, f"`{ast.unparse(node)[:80]}` does not say which model")
            return
        for word in _literals(given):
            use = None if word is None else _named(word, self._names)
            if use is not None and word is not None:
                if not word.startswith(_SCHEMES):  # which counts wherever it stands
                    self._use(*use, node)
            elif not is_timms:
                continue
            elif word is None:
                what = "an f-string" if isinstance(given, ast.JoinedStr) else f"`{ast.unparse(given)[:60]}`"
                self._not_understood(node, f"the model's name is {what}, which only running it would tell")
            else:
                self._not_understood(node, f"{word!r} is a model of neither release")

    def _use(self, model: str, tag: str, node: ast.expr) -> None:
        self._found.found.append(Use(model, tag, self._file, node.lineno))

    def _not_understood(self, node: ast.expr, why: str) -> None:
        self._found.not_understood.append(NotUnderstood(self._file, node.lineno, why))


def _literals(node: ast.expr) -> Iterator[str | None]:
    """The texts that an expression can be; None stands for what only running it would tell."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=first, orelse=second):
            yield from (*_literals(first), *_literals(second))
        case ast.BoolOp(values=values):
            for value in values:
                yield from _literals(value)
        case _:
            yield None


def _root(node: ast.Attribute) -> str | None:
    """`timm` of `timm.models.resnet`."""
    inner = node.value
    while isinstance(inner, ast.Attribute):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) else None


def _is_timm_on_the_hub(node: ast.Call) -> bool:
    repository = node.args[0] if node.args else None
    return (
        isinstance(repository, ast.Constant)
        and isinstance(repository.value, str)
        and repository.value.partition(":")[0] in ("huggingface/pytorch-image-models", "rwightman/pytorch-image-models")
    )
