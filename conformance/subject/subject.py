"""This module is the subject: one name of `timm.list_models()`, what is built of it and traced, each once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, TypeVar

import timm
import torch

from conformance.engine import script
from conformance.engine.ledger import Ledger
from conformance.engine.operands import Strayed
from conformance.engine.outside import differentiating, keeping_bytes, looking, recording
from conformance.engine.shapes import Shapes
from conformance.subject.build import (
    BulkOnMeta,
    copy_of,
    has_spared_buffers,
    in_eval_mode,
    move_to_meta,
    name_chance,
    name_leaves,
)
from conformance.subject.names import source
from conformance.subject.passes import Pass, form, handed_on, run, tensors_of

T = TypeVar("T")

BATCH = 2
"""Images in a batch: with one, a swapped batch dimension would go unseen."""
CLASSES = 13
"""What a model that defaults to no classes is given: without a classifier its claims would hold vacuously."""
OTHER_CLASSES = 7
"""What a classifier is reset to; no timm model has so few or such a width."""


class NoImages(Exception):  # a fact about a model, not a fault of the program
    """The model takes something else than images."""


class Subject:
    """One model under test. Everything is built when first asked for and kept; a failure is kept and raised again."""

    measures = False
    """Whether it computes on real numbers: see `conformance.subject.real`."""
    dtype = torch.float32
    """Of the images, and of the weights of a model in one dtype."""

    def __init__(self, name: str, shapes: Shapes | None = None, *, input_size: tuple[int, ...] | None = None) -> None:
        self.name = name
        self.ledger = Ledger(shapes)
        self._input_size = input_size
        self._kept: dict[str, Any] = {}
        self._failed: dict[str, Exception] = {}
        self.given_to_head: list[Pass] = []
        """The features as `forward_head` left what it was given, of each call."""
        # Threads of torch's own that spin after they helped with a constant look like threads that work for the model.
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        self._dtype = torch.get_default_dtype()
        self._device = torch.get_default_device()

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once under the name `what`.

        Raises:
            Exception: what `make` raised, the same one each time.
        """
        if what in self._failed:
            raise self._failed[what]
        if what not in self._kept:
            try:
                self._kept[what] = make()
            except Exception as error:
                self._failed[what] = error
                raise
        return self._kept[what]  # type: ignore[no-any-return]  # what make gave

    # Models

    def construct(self, make: Callable[[], T], *, spare_initialisers: bool = True) -> T:
        """Run `make` as models are built: weights on the meta device, every operation entered into the ledger.

        Raises:
            Strayed: Real tensors may go another way.
        """
        return self._constructed(make, BulkOnMeta(self.ledger, spare_initialisers=spare_initialisers))

    def _constructed(self, make: Callable[[], T], on_meta: AbstractContextManager[Any]) -> T:
        with recording(self.ledger) as noted, on_meta:
            made = make()
        if noted.strays is not None:
            raise Strayed(noted.strays)
        return made

    def settle(self, model: torch.nn.Module) -> torch.nn.Module:
        """The new model in eval mode, wholly on the meta device, its leaves named."""
        move_to_meta(model, self.ledger)
        name_leaves(model, self.ledger)
        name_chance(model, self.ledger)
        return self.construct(lambda: in_eval_mode(model))

    def mark(self, model: torch.nn.Module) -> Any:  # noqa: ARG002  # what matters here is all that is known
        """What `settle_changed` needs to know of the model before it is changed."""
        return len(self.ledger)

    def settle_changed(self, model: torch.nn.Module, known_before: Any) -> torch.nn.Module:
        """A model that was changed, likewise; weights of before hold what they held or what was written to them.

        Only memory that was not known is named, as other weights than those of the same name before: `known_before` is
        what `mark` gave.
        """
        move_to_meta(model, self.ledger)
        name_leaves(model, self.ledger, known_before=known_before)
        return self.construct(lambda: in_eval_mode(model))

    @property
    def forward_again(self) -> Pass:
        """`model(images)` once more."""
        model, images = self.headed, self.images
        return self.once("forward again", lambda: self.run(lambda: model(images), model))

    def build(self, **arguments: Any) -> torch.nn.Module:
        """A new model in eval mode on the meta device, its leaves named. Nothing is shared with earlier ones.

        Raises:
            Exception: whatever `timm.create_model` raises.
        """
        try:
            made = self.construct(lambda: timm.create_model(self.name, **arguments))
            if has_spared_buffers(made, self.ledger):
                made = self.construct(lambda: timm.create_model(self.name, **arguments), spare_initialisers=False)
        except RuntimeError as error:
            if "meta" not in str(error):
                raise
            # Weights and constants are mixed while it is built (rotary embeddings with learnt frequencies).
            made = self._constructed(lambda: timm.create_model(self.name, **arguments), torch.device("meta"))
        return self.settle(made)

    def build_headed(self, **arguments: Any) -> torch.nn.Module:
        """A new model with a classifier: as `create_model` builds it, or with `CLASSES` where that gives none."""
        if getattr(self.as_built, "num_classes", 0):
            return self.build(**arguments)
        return self.build(num_classes=CLASSES, **arguments)

    def another(self, dtype: torch.dtype | None = None) -> torch.nn.Module:
        """One more headed model that has not run, of `dtype` where that is given."""
        model = copy_of(self.untouched, self.ledger, dtype)
        if model is not None:
            return model
        model = self.build_headed()
        return model if dtype is None else model.to(dtype)

    @property
    def as_built(self) -> torch.nn.Module:
        """`create_model(name)`."""
        return self.once("as built", self.build)

    @property
    def untouched(self) -> torch.nn.Module:
        """A headed model that nobody runs or changes: as built, or with `CLASSES` classes where that gives none."""
        if getattr(self.as_built, "num_classes", 0):
            return self.as_built
        return self.once("untouched", self.build_headed)

    @property
    def headed(self) -> torch.nn.Module:
        """The headed model whose passes are compared."""
        return self.once("headed", self.another)

    def another_that_ran(self, dtype: torch.dtype | None = None) -> torch.nn.Module:
        """One more headed model that has run on the images, of `dtype` where that is given.

        Raises:
            Exception: whatever running it raises.
        """
        self.forward  # noqa: B018  # a copy of a model that ran is one that ran
        model = copy_of(self.headed, self.ledger, dtype)
        if model is not None:
            return model
        model, images = self.another(), self.images
        self.run(lambda: model(images), model)
        return model if dtype is None else model.to(dtype)

    def spare(self) -> torch.nn.Module:
        """A second headed model, which resets may change.

        It has run, as models have whose heads are replaced: what it kept must not outlive a reset.

        Raises:
            Exception: whatever running it raises.
        """
        return self.once("spare", self.another_that_ran)

    @property
    def classes(self) -> int:
        """How many classes the headed model has; what it gives counts where it was asked for some and says none."""
        said = int(getattr(self.headed, "num_classes", 0) or 0)
        if said:
            return said
        try:
            widths = {tensor.shape[-1] for tensor in tensors_of(self.logits.output)}
        except Exception:  # noqa: BLE001  # an encoder, or a head whose failure is another claim's
            return 0
        return CLASSES if widths == {CLASSES} else 0

    @property
    def source(self) -> str | None:
        """Where the function that is registered under the name is; None where Python cannot say."""
        try:
            return source(self.name)
        except Exception:  # noqa: BLE001  # whatever a function of the user's own answers
            return None

    @property
    def default_cfg(self) -> Any:
        """What timm says of the model's weights and input: a mapping."""
        return self.as_built.default_cfg

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) in pixels: what was asked for, or what the model's default_cfg declares.

        Raises:
            NoImages: It declares something else.
        """
        declared = self._input_size or self.default_cfg["input_size"]
        try:
            channels, height, width = map(int, declared)
        except (TypeError, ValueError) as error:
            raise NoImages(
                f"default_cfg declares the input {declared!r}, and images of (channels, height, width) are what is run"
            ) from error
        return (channels, height, width)

    @property
    def images(self) -> torch.Tensor:
        """The input of every pass: of the subject's dtype, (BATCH, *input_size), on the meta device.

        Each time another tensor with the same memory: what a model does to the one it is given (`transpose_`, `.data`)
        must not reach the next pass.
        """
        return self.once("images", self._make_images).detach()

    def _make_images(self) -> torch.Tensor:
        images = torch.empty((BATCH, *self.input_size), device="meta")
        self.ledger.name_leaf("input", [("images", images, None)])
        return images

    def other_images(
        self,
        *,
        batch: int = BATCH,
        size: tuple[int, int] | None = None,
        seed: int = 0,  # noqa: ARG002  # of real images
    ) -> torch.Tensor:
        """Another batch of so many images, of (height, width) in pixels or of the declared size.

        On real numbers the seed says which; without, all are meant.
        """
        height, width = size or self.input_size[1:]
        name = f"{batch} images of {height} by {width}"

        def make() -> torch.Tensor:
            images = torch.empty((batch, self.input_size[0], height, width), device="meta")
            self.ledger.name_leaf("input", [(name, images, None)])
            return images

        return self.once(name, make).detach()

    # Passes of the headed model

    def earlier_passes(self) -> list[Pass]:
        """What was run, or is run now, before `forward`: features and head, where they run."""
        found = []
        for name in ("features", "pre_logits", "logits"):
            with contextlib.suppress(Exception):  # that it fails is another claim's
                found.append(getattr(self, name))
        return found

    def run(self, call: Callable[[], Any], *modules: torch.nn.Module, writable: Iterable[torch.Tensor] = ()) -> Pass:
        """Record one call: see `conformance.subject.passes.run`."""
        return run(self.ledger, call, *modules, writable=writable)

    def differentiating(self) -> AbstractContextManager[None]:
        """In it, calls are differentiated and nothing can be proved."""
        return differentiating(self.ledger)

    def keeping_bytes(self) -> AbstractContextManager[object]:
        """In it, constants that are made from Python data keep their bytes; nothing is recorded."""
        return keeping_bytes()

    def entering(self) -> AbstractContextManager[object]:
        """In it, what is computed is entered into the ledger."""
        return recording(self.ledger)

    def look(self, call: Callable[[], T]) -> T:
        """What a call gives, where only shapes and dtypes are asked for: nothing can be proved from it."""
        with looking(self.ledger):
            return call()

    def is_unchanged(self, taken: Pass) -> bool:
        """Whether what a call gave is what it was then, its tensors as far as numbers tell."""
        has_its_form = form(taken.output) == taken.form
        return has_its_form and (taken.number is None or self.ledger.result(taken.output) == taken.number)

    @property
    def features(self) -> Pass:
        """`forward_features(images)`."""
        model, images = self.headed, self.images
        return self.once("features", lambda: self.run(lambda: model.forward_features(images), model))  # type: ignore[operator]

    @property
    def pre_logits(self) -> Pass:
        """`forward_head(features, pre_logits=True)`."""
        return self.once("pre_logits", lambda: self._run_head(pre_logits=True))

    @property
    def logits(self) -> Pass:
        """`forward_head(features)`."""
        return self.once("logits", self._run_head)

    def _run_head(self, **arguments: bool) -> Pass:
        model, features = self.headed, self.features
        written = () if self.is_unchanged(features) else ("an earlier call of forward_head wrote to the features",)
        given: list[Any] = []

        def call() -> Any:
            given[:] = [handed_on(features.output)]
            return model.forward_head(given[0], **arguments)  # type: ignore[operator]  # timm's models have it

        taken = self.run(call, model, writable=tensors_of(features.output))
        self.given_to_head.append(replace(features, output=given[0]))
        return replace(taken, unprovable=(*features.unprovable, *written, *taken.unprovable))

    @property
    def forward(self) -> Pass:
        """`model(images)`."""
        model, images = self.headed, self.images
        return self.once("forward", lambda: self.run(lambda: model(images), model))

    def output(self, name: str) -> Pass:
        """What releases are compared by: `features`, `pre_logits`, or `logits`: those that `model(images)` gives."""
        taken: Pass = self.forward if name == "logits" else getattr(self, name)
        return taken

    @property
    def headless_forward(self) -> Pass:
        """`create_model(name, num_classes=0)(images)`."""

        def make() -> Pass:
            model = self.as_built if getattr(self.as_built, "num_classes", None) == 0 else self.build(num_classes=0)
            images = self.images
            return self.run(lambda: model(images), model)

        return self.once("headless forward", make)

    def close(self) -> None:
        """Let go of everything built and clear what TorchScript keeps for the process."""
        self._kept.clear()
        self._failed.clear()
        self.given_to_head.clear()
        self.ledger = Ledger()
        script.forget_everything()
        torch.set_num_threads(self._threads)
        torch.set_default_dtype(self._dtype)
        if torch.get_default_device() != self._device:
            torch.set_default_device(None if self._device.type == "cpu" else self._device)
