"""This module is the subject on real numbers: every claim can be decided of it as of the one without weights.

Models are built on the CPU, every parameter and persistent buffer is drawn anew by its name, and nothing is ever
copied: what a model kept from a run must not meet other weights.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import timm
import torch
from torch import nn

from conformance.engine import drawing, measure
from conformance.engine.outside import KEEPS_IMAGES, watching
from conformance.engine.state import State
from conformance.subject.build import Uninitialised, in_eval_mode, is_of_several_dtypes, named_tensors
from conformance.subject.passes import FIRST_CALL, Pass, form, is_of_attribute, tensors_of
from conformance.subject.subject import BATCH, CLASSES, Subject
from conformance.subject.twins import hold_the_same

T = TypeVar("T")

LARGEST_OF_CONSTANTS = 1e-2
"""Relative: differences that are larger are not asked whether constants kept in float32 make them."""


@dataclass(frozen=True)
class RealPass(Pass):
    """One call on real numbers. Nothing is numbered."""

    again: Callable[[bool], tuple[Any, torch.dtype]] = field(kw_only=True)
    """What the call gives with other rounding errors, and the dtype that rounds most of those it computes with. If
    asked (True), constants are other float32 numbers besides."""
    as_given: list[torch.Tensor] = field(kw_only=True)
    """Copies of the tensors that it gave, as they were then."""


class NotRepeated(Exception):
    """What ran raises when it is repeated with other rounding errors: those are ours, and no fault of the model."""


def are_equal(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> bool:
    """Whether two lists of tensors hold the same numbers; NaN is NaN."""
    return len(left) == len(right) and all(
        a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all()) for a, b in zip(left, right, strict=True)
    )


def _repeated(
    left: RealPass, right: RealPass, *, shaking: bool = False
) -> tuple[tuple[list[torch.Tensor], list[torch.Tensor]], torch.dtype]:
    """What both calls give with other rounding errors, and the dtype that rounds most of those they compute with.

    Raises:
        NotRepeated: A call raises something then.
    """
    try:
        both = left.again(shaking), right.again(shaking)
    except Exception as error:
        raise NotRepeated(f"{type(error).__name__}: {error}") from error
    coarsest = max((dtype for _, dtype in both), key=lambda dtype: torch.finfo(dtype).eps)
    return (tensors_of(both[0][0]), tensors_of(both[1][0])), coarsest


def with_output(subject: Subject, taken: Pass, output: Any) -> Pass:
    """The pass as one that gave `output`, whose tensors are among those that it gave."""
    if not isinstance(taken, RealPass):
        return replace(taken, output=output, number=subject.ledger.result(output), form=form(output))
    places = {id(tensor): place for place, tensor in enumerate(tensors_of(taken.output))}
    chosen = [places[id(tensor)] for tensor in tensors_of(output)]

    def again(shaking: bool) -> tuple[list[torch.Tensor], torch.dtype]:
        repeated, coarsest = taken.again(shaking)
        tensors = tensors_of(repeated)
        return [tensors[place] for place in chosen], coarsest

    as_given = [taken.as_given[place] for place in chosen]
    return replace(taken, output=output, again=again, as_given=as_given, form=form(output))


@contextmanager
def _by_chance_of(seed: int) -> Iterator[None]:
    """In it, the generators of Python, NumPy and torch begin at the seed; afterwards they are where they were."""
    set_back = measure.chance()
    try:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield
    finally:
        set_back()


BUILDS = 8
"""Models that are built to see whether a buffer is the same in each: one of two places falls alike in two of them."""


class RealSubject(Subject):
    """The model of `plan` with weights drawn by `seed`, computing in `dtype` on images of the size that it declares.

    `plan` is the subject without weights, which is asked for what needs none. Weights and images are drawn on the CPU,
    so that another `device` gets the same. If not `draws`, the weights are those that models begin with.
    """

    measures = True

    def __init__(
        self, plan: Subject, seed: int, dtype: torch.dtype, device: str = "cpu", *, draws: bool = True
    ) -> None:
        super().__init__(plan.name)
        self.plan, self.seed, self.dtype, self.device = plan, seed, dtype, torch.device(device)
        self._draws = draws
        self._count = itertools.count()

    @property
    def as_built(self) -> nn.Module:
        """`create_model(name)`, without weights where that can be built: for what needs none."""
        try:
            return self.plan.as_built
        except Exception:  # noqa: BLE001  # a model for real tensors only
            return self.once("as built", lambda: in_eval_mode(self._uninitialised()))

    def construct(self, make: Callable[[], T], *, spare_initialisers: bool = True) -> T:  # noqa: ARG002  # as the base
        """Run `make` as it is."""
        return make()

    def settle(self, model: nn.Module) -> nn.Module:
        """The new model in eval mode, in the subject's dtype, its weights drawn."""
        if not self._draws:
            return in_eval_mode(self._in_dtype(model))
        model = self._drawn(model)
        if any(map(drawing.has_statistics, model.modules())):
            known = self.once("statistics", self._statistics)
            with torch.no_grad():
                for _, name, tensor in named_tensors(model):
                    if name in known and known[name].shape == tensor.shape:
                        tensor.copy_(known[name])
        return in_eval_mode(model)  # last: some compute from their weights there

    def _drawn(self, model: nn.Module) -> nn.Module:
        model = self._in_dtype(model)
        constants = self.once("constants", dict[str, torch.Tensor])
        for kind, name, tensor in named_tensors(model):
            if kind == "buffer" and not drawing.is_drawn(kind, tensor):
                known = constants.setdefault(name, tensor.clone())
                is_another = known.shape == tensor.shape and not torch.equal(known, tensor)
                if is_another and name not in self.once("steady buffers", self._steady_buffers):
                    # What one build makes by chance another must not make anew: they are one model's.
                    tensor.copy_(known)
        drawing.draw_all(named_tensors(model), self.seed, known=set(), aliases=self.once("aliases", dict[str, str]))
        return model

    @property
    def builds_differ(self) -> bool:
        """Whether two models that are built alike, all chance that torch, NumPy and Python share by one seed, do not
        hold the same: one has chance of its own, and claims that build several compare different models.

        Raises:
            Exception: whatever building raises.
        """
        return self.once("builds differ", lambda: not hold_the_same(self._uninitialised(), self._uninitialised()))

    def _steady_buffers(self) -> set[str]:
        """The names of those that hold the same in each model that is built with the same arguments."""
        first = self._buffers_by_chance(0)
        for seed in range(1, BUILDS):
            other = self._buffers_by_chance(seed)
            first = {name: known for name, known in first.items() if name in other and torch.equal(known, other[name])}
        return set(first)

    def _buffers_by_chance(self, seed: int) -> dict[str, torch.Tensor]:
        """Those of a model that is built with all that is drawn being drawn by `seed`."""
        model = self._uninitialised(seed)
        return {name: tensor for kind, name, tensor in named_tensors(model) if kind == "buffer"}

    def _in_dtype(self, model: nn.Module) -> nn.Module:
        """The model on the subject's device and in its dtype; of one of several dtypes, what is in the default one."""
        replaced = {torch.float32: self.dtype, torch.complex64: self.dtype.to_complex()}
        several = is_of_several_dtypes(model)

        def placed(tensor: torch.Tensor) -> torch.Tensor:
            if several:
                return tensor.to(self.device, replaced.get(tensor.dtype, tensor.dtype))
            if tensor.is_complex():
                return tensor.to(self.device, self.dtype.to_complex())
            return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

        return model._apply(placed)  # type: ignore[no-any-return, no-untyped-call]  # torch's

    def _statistics(self) -> dict[str, torch.Tensor]:
        """By name, statistics of batch norms that are near those of the images, without which signals die away."""
        arguments: dict[str, Any] = {} if getattr(self.as_built, "num_classes", 0) else {"num_classes": CLASSES}
        model, images = in_eval_mode(self._drawn(self._uninitialised(**arguments))), self.images
        return drawing.statistics(model, lambda: model(images), self.seed)

    def settle_changed(self, model: nn.Module, known: set[int]) -> nn.Module:
        """A model that was changed: what is new in it is drawn as other weights than those of the same name before."""
        if self._draws:
            drawing.draw_all(named_tensors(in_eval_mode(model)), self.seed, known, "later ")
        return in_eval_mode(model)

    def mark(self, model: nn.Module) -> set[int]:
        """The storages of the model's tensors, to be handed to `settle_changed`."""
        return {tensor.untyped_storage()._cdata for _, _, tensor in named_tensors(model)}

    def build(self, **arguments: Any) -> nn.Module:
        """A new model on the CPU, its weights drawn."""
        if self._draws and any(map(drawing.has_statistics, self.as_built.modules())):
            self.once("statistics", self._statistics)  # before the model: two of them need twice the memory
        return self.settle(self._uninitialised(**arguments))

    def _uninitialised(self, seed: int | None = None, **arguments: Any) -> nn.Module:
        """A model whose weights are to be drawn; what it has by chance is of `seed`, and so the same in each."""
        seed = self.seed if seed is None else seed
        if not self._draws:
            with _by_chance_of(seed):
                return timm.create_model(self.name, **arguments)
        with _by_chance_of(seed), Uninitialised(seed) as building:
            model = timm.create_model(self.name, **arguments)
        if not building.left_buffers(model):
            return model
        with _by_chance_of(seed):
            return timm.create_model(self.name, **arguments)

    def another(self, dtype: torch.dtype | None = None) -> nn.Module:
        """One more headed model, of `dtype` where that is given."""
        model = self.build_headed()
        return model if dtype is None else model.to(dtype)

    @property
    def untouched(self) -> nn.Module:
        """A headed model that nobody runs or changes."""
        return self.once("untouched", self.build_headed)

    def build_headed(self, **arguments: Any) -> nn.Module:
        """A new model with a classifier: as `create_model` builds it, or with `CLASSES` where that gives none."""
        if getattr(self.as_built, "num_classes", 0):
            return self.build(**arguments)
        return self.build(num_classes=CLASSES, **arguments)

    def another_that_ran(self, dtype: torch.dtype | None = None) -> nn.Module:
        """One more headed model that has run on the images."""
        model, images = self.another(), self.images
        with torch.no_grad():
            model(images)
        return model if dtype is None else model.to(dtype)

    def _make_images(self) -> torch.Tensor:
        return drawing.images(self.seed, (BATCH, *self.input_size)).to(self.device, self.dtype)

    @property
    def images(self) -> torch.Tensor:
        """The images, each time in memory of their own."""
        return self.once("images", self._make_images).clone()

    def other_images(self, *, batch: int = BATCH, size: tuple[int, int] | None = None, seed: int = 0) -> torch.Tensor:
        """Another batch of so many images, of (height, width) in pixels or of the declared size."""
        height, width = size or self.input_size[1:]
        return drawing.images(self.seed + seed + 1, (batch, self.input_size[0], height, width)).to(
            self.device, self.dtype
        )

    def run(
        self,
        call: Callable[[], T],
        *modules: nn.Module,
        writable: Iterable[torch.Tensor] = (),
    ) -> RealPass:
        """Call, without gradients. A repetition finds what is in `writable` as it is now.

        What the call changed of what `modules` keep is told by the pass, and that a generator moved.
        """
        given = [(tensor, tensor.clone()) for tensor in writable]
        as_before = measure.chance()
        output, noticed = self._watched(call, *modules)
        if noticed and all(map(is_of_attribute, noticed)):
            # What a model keeps from its first call (LeViT's attention biases) it must not compute from the images.
            first = [tensor.clone() for tensor in tensors_of(output)]
            with torch.no_grad():
                for tensor, before in given:
                    tensor.copy_(before)
            output, noticed = self._watched(call, *modules)
            if not are_equal(first, tensors_of(output)):
                noticed.append(FIRST_CALL)
            if self.once("keeps images", self._keeps_images):
                noticed.append(KEEPS_IMAGES)
        seed = next(self._count)

        def again(shaking: bool) -> tuple[Any, torch.dtype]:
            constants = {one for module in modules for one in self._constants(module)} if shaking else set[int]()
            left = [tensor.clone() for tensor, _ in given]
            as_now = measure.chance()
            as_before()
            with torch.no_grad():
                for tensor, before in given:
                    tensor.copy_(before)
                with measure.Rounding(seed, constants) as rounding:
                    repeated = call()
                for (tensor, _), after in zip(given, left, strict=True):
                    tensor.copy_(after)
            as_now()
            return repeated, rounding.coarsest

        kept = [tensor.clone() for tensor in tensors_of(output)]
        return RealPass(output, None, tuple(noticed), again=again, as_given=kept, form=form(output))

    def _watched(self, call: Callable[[], T], *modules: nn.Module) -> tuple[T, list[str]]:
        with torch.no_grad(), watching(*modules) as noticed:
            output = call()
        return output, noticed

    def _keeps_images(self) -> bool:
        """Whether models that saw different images keep different things."""
        kept = []
        for images in (self.images, self.other_images()):
            model = self.another()
            try:
                with torch.no_grad():
                    model(images)
            except Exception:  # noqa: BLE001  # that it does not run is another claim's; here nothing is known then
                return True
            kept.append(State([model], reads_bytes=False).tensors())
        return not are_equal(*kept)

    def differentiating(self) -> AbstractContextManager[None]:
        """In it, calls are differentiated."""
        return torch.enable_grad()

    def keeping_bytes(self) -> AbstractContextManager[object]:
        """Tensors have bytes here."""
        return nullcontext()

    def entering(self) -> AbstractContextManager[object]:
        """There is nothing to enter anything into."""
        return nullcontext()

    def look(self, call: Callable[[], T]) -> T:
        """What a call gives."""
        with torch.no_grad():
            return call()

    def difference(self, left: Pass, right: Pass) -> measure.Difference:
        """How far the results of two calls are from each other.

        Raises:
            NotRepeated: A call cannot be repeated.
        """
        assert isinstance(left, RealPass)
        assert isinstance(right, RealPass)
        given = left.as_given, right.as_given
        repeated, coarsest = _repeated(left, right)
        found = measure.difference(*given, *repeated, coarsest)
        if found.is_none is False and found.error < LARGEST_OF_CONSTANTS:
            shaken, _ = _repeated(left, right, shaking=True)
            return replace(found, of_constants=max(map(measure.distance, shaken, given)))
        return found

    def _constants(self, model: nn.Module) -> set[int]:
        return measure.constants_of(model, self.once("constants", dict[str, torch.Tensor]).keys())

    def is_unchanged(self, taken: Pass) -> bool:
        """Whether what a call gave is what it was then, its tensors bit for bit."""
        assert isinstance(taken, RealPass)
        return form(taken.output) == taken.form and are_equal(tensors_of(taken.output), taken.as_given)

    @property
    def headless_forward(self) -> Pass:
        """`create_model(name, num_classes=0)(images)`."""

        def make() -> Pass:
            model, images = self.build(num_classes=0), self.images
            return self.run(lambda: model(images), model)

        return self.once("headless forward", make)
