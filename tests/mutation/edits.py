"""This module edits the pieces of a shape: what an operator does to the source of a lawful model.

An edit that finds nothing to change says so: an operator applies to the shapes that it changes, and to no others.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.mutation.shapes import Shape

Pieces = dict[str, str]


class NothingToChange(Exception):
    """The shape has none of what the operator alters."""


def piece(pieces: Pieces, site: str) -> str:
    """The piece at a site, a route's own or the one of all routes."""
    return pieces.get(site, pieces.get(site.rpartition(".")[2], ""))


@dataclass(frozen=True)
class Put:
    """Statements put before a piece or after it."""

    site: str
    text: str
    first: bool = False

    def apply(self, pieces: Pieces, shape: Shape) -> Pieces:
        known = piece(pieces, self.site).strip("\n")
        text = self.text.replace("AXIS", str(shape.axis)).replace("HIDDEN", str(shape.hidden))
        parts = (text, known) if self.first else (known, text)
        return pieces | {self.site: "\n".join(part for part in parts if part)}


@dataclass(frozen=True)
class Instead:
    """Other text in the place of a piece, in which PIECE is the piece, indented as the word is."""

    site: str
    text: str

    def apply(self, pieces: Pieces, shape: Shape) -> Pieces:
        known, lines = piece(pieces, self.site).strip("\n"), []
        for line in self.text.splitlines():
            if line.strip() == "PIECE":
                lines.append(textwrap.indent(known, line.partition("PIECE")[0]))
            else:
                lines.append(line.replace("PIECE", known))
        return pieces | {self.site: "\n".join(lines)}


@dataclass(frozen=True)
class Rewritten:
    """A piece whose syntax tree is changed at the first place that `change` finds, or at each."""

    site: str
    change: Callable[[ast.expr], ast.expr | None]
    """Gives another expression for one, or None to leave it."""

    def apply(self, pieces: Pieces, shape: Shape) -> Pieces:
        change = self.change
        found = []

        class Transformer(ast.NodeTransformer):
            def visit(self, node: ast.AST) -> ast.AST:
                node = super().visit(node)
                other = change(node) if isinstance(node, ast.expr) else None
                if other is not None:
                    found.append(other)
                return node if other is None else other

        tree = Transformer().visit(ast.parse(piece(pieces, self.site)))
        if not found:
            raise NothingToChange(self.site)
        return pieces | {self.site: ast.unparse(ast.fix_missing_locations(tree))}


Edit = Put | Instead | Rewritten


# Expressions of syntax trees


def expression(text: str, **parts: ast.expr) -> ast.expr:
    """The text as a tree, in which names that are among `parts` are those."""

    class Filled(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return parts.get(node.id, node)

    filled = Filled().visit(ast.parse(text, mode="eval").body)
    assert isinstance(filled, ast.expr)
    return filled


def calls(module: str, text: str) -> Callable[[ast.expr], ast.expr | None]:
    """Calls of `self.<module>` are `text`, in which `given` is what it is given."""

    def change(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == f"self.{module}":
            return expression(text, given=node.args[0])
        return None

    return change


def methods(name: str, other: str) -> Callable[[ast.expr], ast.expr | None]:
    """Calls of a method are calls of another."""

    def change(node: ast.expr) -> ast.expr | None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
            return ast.Call(ast.Attribute(node.func.value, other, ast.Load()), node.args, node.keywords)
        return None

    return change


def texts(old: str, new: str) -> Callable[[ast.expr], ast.expr | None]:
    """An expression that reads `old` reads `new`."""
    return lambda node: expression(new) if ast.unparse(node) == ast.unparse(expression(old)) else None


def keyword(function: str, name: str, value: str | None) -> Callable[[ast.expr], ast.expr | None]:
    """Calls of a function get a keyword, or lose it."""

    def change(node: ast.expr) -> ast.expr | None:
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith(function):
            return None
        kept = [one for one in node.keywords if one.arg != name]
        if value is not None:
            kept.append(ast.keyword(name, expression(value)))
        elif len(kept) == len(node.keywords):
            return None
        return ast.Call(node.func, node.args, kept)

    return change


# Guards: when an alteration is made

Guard = Callable[[str], str]
"""What puts statements under a condition."""


def always(text: str) -> str:
    return text


def when(*conditions: str) -> Guard:
    """Under each of the conditions, one within another: TorchScript leaves out what a condition alone guards."""

    def guard(text: str) -> str:
        for condition in reversed(conditions):
            text = f"if {condition}:\n{textwrap.indent(text, '    ')}"
        return text

    return guard


EAGER = "not torch.jit.is_scripting()"
IS_TENSOR = "isinstance(x, torch.Tensor)"
"""And no proxy of torch.fx, which no condition could look at."""

headed = when("self.num_classes > 0")
scripting = when("torch.jit.is_scripting()")
exporting = when(EAGER, "torch.compiler.is_exporting()")
compiling = when(EAGER, "torch.compiler.is_dynamo_compiling()")
fx_tracing = when(EAGER, "not isinstance(x, torch.Tensor)")
exporting_onnx = when(EAGER, "torch.onnx.is_in_onnx_export()")
training = when("self.training")
in_batches = when(IS_TENSOR, "x.shape[0] > 1")
of_two = when(IS_TENSOR, "x.shape[0] == 2")
of_bfloat16 = when(IS_TENSOR, "x.dtype == torch.bfloat16")
of_float16 = when(IS_TENSOR, "x.dtype == torch.float16")
unpooled = when("not self.pooled")
emptied = when("self.was_emptied")
"""After `reset_classifier(0)`, and not before: `REMEMBERS_RESETS` makes the attribute."""
built_headless = when("self.was_headless")
"""Built with `num_classes=0`: `REMEMBERS_HOW_BUILT` makes the attribute."""

REMEMBERS_RESETS = (
    Put("init.end", "self.was_emptied = False"),
    Put("reset.end", "self.was_emptied = num_classes == 0 and global_pool is None"),
)
REMEMBERS_HOW_BUILT = (Put("init.end", "self.was_headless = num_classes == 0"),)


# Alterations of a tensor `x` of whatever rank

VALUES = {
    "scaled_by_a_ten_thousandth": "x = x * 1.0001",
    "shifted_a_little": "x = x + 0.0001",
    "rolled_by_one": "x = x.roll(1, 1)",
    "of_the_image_beside": "x = x.flip(0)",
    "negated": "x = x.neg()",
    "rounded_to_bfloat16": "x = x.to(torch.bfloat16).to(x.dtype)",
    "cut_off_at_zero": "x = x.clamp(min=0.0)",
    "through_a_softmax": "x = x.softmax(1)",
    "without_its_last_element": "x = torch.cat([x[:, :-1], torch.zeros_like(x[:, -1:])], 1)",
    "with_its_first_element_twice": "x = torch.cat([x[:, :1], x[:, :-1]], 1)",
    "written_in_place": "x.mul_(1.0001)",
    "standardised": "x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)",
}

FEW = {name: VALUES[name] for name in ("scaled_by_a_ten_thousandth", "rolled_by_one", "rounded_to_bfloat16")}
"""For claims that take a compiler."""


@dataclass(frozen=True)
class Operator:
    """One way to spoil a lawful model, or to write it in another way."""

    name: str
    claim: str | None
    """What it breaks; None where it changes nothing."""
    edits: tuple[Edit, ...]
    shapes: Callable[[Shape], bool] = field(default=lambda _: True)
    """Of which it means what it says, besides that it changes them."""
    consequences: frozenset[str] = frozenset()
    """Other claims that such a model cannot help breaking."""
    survives: Mapping[str, str] = field(default_factory=dict)
    """A verdict other than `violated` that is right of the claim, and why: of any shape."""
    is_measured: bool = False
    """Whether it gives other numbers of the same shape, which only real numbers tell apart."""
    is_always_tried: bool = True
    """Whether it is among the sample that is tried when all of the project is tested."""

    def pieces(self, shape: Shape) -> Pieces:
        """The shape's pieces as this operator makes them.

        Raises:
            NothingToChange: it has none of what is altered.
        """
        if not self.shapes(shape):
            raise NothingToChange(shape.name)
        pieces = shape.pieces
        # What all routes share first: a route's own edits are of that.
        for edit in sorted(self.edits, key=lambda one: "." in one.site):
            pieces = edit.apply(pieces, shape)
        return pieces

    def applies_to(self, shape: Shape) -> bool:
        """Whether it can be done to the shape."""
        try:
            self.pieces(shape)
        except NothingToChange:
            return False
        return True
