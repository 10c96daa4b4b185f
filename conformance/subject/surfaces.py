"""This module asks timm what it says of a model besides what the model computes, in whatever words its release has."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import timm
import torch

from conformance.release import Pretrained, Registry, Surface
from conformance.subject.names import names
from conformance.subject.refusals import said
from conformance.subject.subject import Subject

WEIGHTS = ("url", "file", "hf_hub_id", "hf_hub_filename")
SIZES = ("test_input_size", "test_crop_pct", "min_input_size", "fixed_input_size")
HEAD = ("num_classes", "label_offset", "first_conv", "classifier", "pool_size")

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LONGEST_DEFAULT = 200


def registry() -> Registry:
    """The names of the timm of this process."""
    places: tuple[Any, ...] = (timm.models, getattr(timm.models, "_registry", None))
    ask = next((place.get_deprecated_models for place in places if hasattr(place, "get_deprecated_models")), dict)
    return Registry(version=timm.__version__, models=tuple(names()), deprecated=dict(ask()))


def surface_of(name: str) -> Surface:
    """What timm says of the model called `name`, which is built without weights."""
    subject = Subject(name)
    try:
        model = subject.as_built
        default_tag, pretrained = _pretrained(name, model)
        return Surface(
            model=name,
            default_tag=default_tag,
            pretrained=pretrained,
            state={
                key: f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
                for key, tensor in model.state_dict().items()
                if isinstance(tensor, torch.Tensor)
            },
            constructor=dict(_defaults(type(model))),
        )
    except Exception as error:  # noqa: BLE001  # the boundary: what a model raises is what is known of it
        default_tag, pretrained = _pretrained(name, None)
        return Surface(model=name, default_tag=default_tag, pretrained=pretrained, problem=said(error))
    finally:
        subject.close()


def _pretrained(name: str, model: torch.nn.Module | None) -> tuple[str | None, dict[str, Pretrained]]:
    """The default tag, and every declared set of weights by tag."""
    alone = getattr(model, "default_cfg", None)
    nameless = ("", {"": _declared(alone)}) if alone else (None, {})
    if "include_tags" not in inspect.signature(timm.list_models).parameters:
        return nameless  # before timm 0.8 a model has one set of weights, which has no name
    configuration = timm.models.get_pretrained_cfg
    found = {}
    for full in timm.list_models(name, include_tags=True):
        tag = full.partition(".")[2]
        try:
            found[tag] = _declared(configuration(full))
        except RuntimeError:  # timm's word for a tag that it lists and does not know
            continue
    try:
        default = configuration(name)
    except RuntimeError:
        default = None
    if default is None:  # a model of one's own, as a rule, that declares nothing to timm
        return (None, found) if found else nameless
    tag = getattr(default, "tag", None) or ""
    return tag, found | {tag: _declared(default)}


def _declared(configuration: Any) -> Pretrained:
    fields = asdict(configuration) if is_dataclass(configuration) else dict(configuration or {})  # type: ignore[arg-type]
    if not fields:
        return Pretrained()
    return Pretrained(
        weights=_chosen(fields, WEIGHTS),
        preprocessing=_resolved(fields) | _chosen(fields, SIZES),
        head=_chosen(fields, HEAD),
    )


def _resolved(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What images are made into for the model, as timm itself resolves it."""
    resolve: Callable[..., dict[str, Any]] = vars(timm.data)["resolve_data_config"]
    parameters = inspect.signature(resolve).parameters
    keyword = next(word for word in ("pretrained_cfg", "default_cfg") if word in parameters)
    given = {key: value for key, value in fields.items() if value is not None}
    return {key: _plain(value) for key, value in resolve({}, **{keyword: given}).items()}


def _chosen(fields: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: _plain(fields[key]) for key in keys if fields.get(key) not in (None, "", False)}


def _plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _defaults(kind: type) -> Iterable[tuple[str, str]]:
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return
    for parameter in parameters:
        if parameter.default is not inspect.Parameter.empty:
            yield parameter.name, _ADDRESS.sub("", repr(parameter.default))[:_LONGEST_DEFAULT]
