"""This module is the pytest plugin: it offers options `--timm-…`, and sleeps until the contract is collected.

It is loaded into every pytest run of an environment, so it imports nothing before the contract is asked for.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conformance.run.bench import Bench

MODULE = Path(__file__).parent.parent / "test_contract.py"
_BENCH: pytest.StashKey[Bench] = pytest.StashKey()
_UNLIMITED = "1000000"
"""Restarts of workers: more than there are cells, since every death is one cell's own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    group = parser.getgroup("timm-conformance", "what every timm model keeps of its promises")
    add = group.addoption
    add(
        "--timm-model", metavar="GLOB", action="append", default=[], help="Decide models whose names match (repeatable)"
    )
    add(
        "--timm-claim",
        metavar="ID",
        action="append",
        default=[],
        help="Decide this claim, whatever the tier (repeatable)",
    )
    add("--timm-tier", choices=("core", "full"), default="core", help="Which claims to decide (default: core)")
    add(
        "--timm-import",
        metavar="MODULE",
        action="append",
        default=[],
        help="Import a module that registers models (repeatable)",
    )
    add(
        "--timm-expectations",
        metavar="FILE",
        help="Add the expectations of a TOML file, or use none at all with 'none'",
    )
    add("--timm-shard", metavar="K/N", type=_shard, help="Decide part K of N, of about equal cost")
    add("--timm-output", metavar="PATH", type=Path, help="Write the record file of the run")
    add("--timm-resume", action="store_true", help="Go on with what PATH.partial holds of an unfinished run")
    add(
        "--timm-timeout",
        metavar="SECONDS",
        type=_positive,
        default=300.0,
        help="Time for one claim of one model (default: 300)",
    )
    add("--timm-memory", metavar="GB", type=_positive, help="Address space of a worker on top of what imports map")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def _shard(text: str) -> tuple[int, int]:
    number, of = map(int, text.split("/"))
    if not 1 <= number <= of:
        raise ValueError(text)
    return number, of


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Before xdist reads its own options, give it those that the contract needs, unless the user did."""
    option = config.option
    if getattr(option, "numprocesses", None) and not _is_worker(config) and _is_asked_for(config):
        if option.dist == "no" and not option.distload:
            option.dist = "worksteal"
        if option.maxworkerrestart is None:
            option.maxworkerrestart = _UNLIMITED
    return (yield)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Take up the controller's part if the contract is asked for and this is no worker."""
    if _is_worker(config) or not _is_asked_for(config) or config.getoption("collectonly"):
        return
    from conformance.run.controller import NAME, Controller

    config.pluginmanager.register(Controller(config, _bench(config)), NAME)


@pytest.hookimpl
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect our one module as cells."""
    if module_path != MODULE:
        return None
    from conformance.run.items import NODE, Contract

    contract: Contract = Contract.from_parent(parent, path=module_path, nodeid=NODE)
    contract.bench = _bench(parent.config)
    return contract


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """After every other plugin, put cells back in order among the places that they were given."""
    yield
    if _BENCH not in config.stash:
        return
    from conformance.run.items import ContractItem

    places = [place for place, item in enumerate(items) if isinstance(item, ContractItem)]
    cells = sorted((item for item in items if isinstance(item, ContractItem)), key=lambda cell: cell.place)
    for place, cell in zip(places, cells, strict=True):
        items[place] = cell


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """In a worker, import torch and timm before the first item: dying of that is no item's fault."""
    bench = session.config.stash.get(_BENCH, None)
    if bench is not None and bench.worker_input is not None and session.items:
        bench.prepare()


@pytest.hookimpl
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let go of the subject before tests that are not ours; the next cell of another subject does so itself."""
    bench = item.config.stash.get(_BENCH, None)
    if bench is not None and nextitem is not None and nextitem.path != MODULE:
        bench.close()


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In a worker, decide sentinels once more and leave word of them; let go of the last subject."""
    if _BENCH not in session.config.stash:
        return
    bench = session.config.stash[_BENCH]
    if _is_worker(session.config) and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        from conformance.run.bench import INPUT

        words = bench.last_words()
        session.config.workeroutput[INPUT] = None if words is None else list(words)  # type: ignore[attr-defined]  # xdist's
    bench.close()


def _bench(config: pytest.Config) -> Bench:
    from conformance.run.bench import Bench

    return config.stash.setdefault(_BENCH, Bench(config))


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _is_asked_for(config: pytest.Config) -> bool:
    """Whether the arguments name the contract. Under xdist the controller collects nothing and must know before."""
    for argument in config.args:
        name = argument.partition("::")[0]
        if config.getoption("pyargs") and name.partition(".")[0] == "conformance":
            return name in ("conformance", "conformance.test_contract")
        path = Path(config.invocation_params.dir, name)
        if path == MODULE or (path in MODULE.parents and not _is_installed_below(path)):
            return True
    return False


def _is_installed_below(directory: Path) -> bool:
    """Whether the contract lies in an environment somewhere below: pytest does not look for tests there."""
    return not {"site-packages", "dist-packages"}.isdisjoint(MODULE.relative_to(directory).parts)
