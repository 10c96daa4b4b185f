"""This module is Ray: a cluster that is started or joined, what is sent to it, and what it says when something is lost.

Whatever is said of Ray here was read in its documentation (docs.ray.io: ray.init, streaming generators, exceptions,
runtime environments) and tried with version 2.60.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conformance.record import printable
from conformance.run.local import processors
from conformance.run.remote import Facts, Order, Refused, Stopped, decided, facts

if TYPE_CHECKING:
    from types import ModuleType

LOCAL = "local"
"""The word for a cluster of this machine alone, that begins and ends with the audit."""
_IN_FLIGHT = 64
"""Chunks that are handed to Ray at least, so that a cluster that can grow sees that there is work."""
_PATIENCE = 10.0
"""Seconds for a connection."""
_PATIENCE_WITH_A_NODE = 300.0
"""Seconds for a machine to say what it has; its first process starts then."""
_BETWEEN_LOOKS = 0.2
_BETWEEN_CENSUSES = 5.0
_TOKEN = (".ray", "auth_token")
"""Where it lies below the home directory."""
_TEMPORARY = "timm-ray-"
_LONGEST_ROOT = 25


class NoCluster(Exception):
    """There is no cluster that could decide this. Its text is one sentence."""


class Lost(Exception):
    """A chunk's process is no more. Its text says how, and names no machine: equal runs give equal records."""

    def __init__(self, how: str, *, is_of_memory: bool = False) -> None:
        super().__init__(how)
        self.is_of_memory = is_of_memory


class Cluster:
    """A cluster of Ray that this process has joined, whose machines decide as this one does."""

    def __init__(self, ray: ModuleType, most: int | None) -> None:
        self._ray = ray
        cpus = int(ray.cluster_resources().get("CPU", 0))
        self.processes = min(cpus or _IN_FLIGHT, most or sys.maxsize)
        """How many chunks it decides at a time, as far as is known now."""
        self.window = min(max(_IN_FLIGHT, 2 * cpus), most or sys.maxsize)
        """How many chunks it is handed at a time."""
        # Lost chunks are looked into here: Ray would decide again what has come already.
        self._decided = ray.remote(num_cpus=1, max_retries=0)(decided)
        self._largest = max((node["Resources"].get("memory", 0.0) for node in self._nodes()), default=0.0)
        self._counted = (0.0, 0)

    def check(self, *, with_timm: bool) -> None:
        """Compare the machines that are there with this one, and their own timm if that is audited.

        Raises:
            NoCluster: One lacks the suite or has another, or another torch or timm.
        """
        ray, here = self._ray, facts()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = ray.remote(num_cpus=0, max_retries=2)(facts)
        answers = [
            (
                node["NodeManagerHostname"],
                asked.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(),
            )
            for node in self._nodes()
            if node["Resources"].get("CPU")
        ]
        for name, answer in answers:
            try:
                there = ray.get(answer, timeout=_PATIENCE_WITH_A_NODE)
            except ray.exceptions.RayError as error:
                raise NoCluster(
                    f"{name} of the cluster cannot run timm-conformance {here.suite} ({_last_line(error)}); "
                    "install the same there as here"
                ) from error
            _compare(name, here, there, with_timm=with_timm)

    def in_words(self) -> str:
        """How many machines it has now."""
        if time.monotonic() - self._counted[0] > _BETWEEN_CENSUSES:
            self._counted = (time.monotonic(), len(self._nodes()))
        count = self._counted[1]
        return f"{count} node{'s' if count != 1 else ''}"

    def keep(self, content: bytes) -> object:
        """Put bytes where every machine finds them."""
        return self._ray.put(content)

    def send(self, order: Order, archive: object | None, memory: float) -> Any:
        """Have a chunk decided, by a machine with as many bytes of memory left as it is expected to need."""
        needed = int(min(memory, self._largest)) or None
        return self._decided.options(num_returns="streaming", memory=needed).remote(order, archive)

    def ready(self, streams: list[Any]) -> list[Any]:
        """Those of which something came, or that ended, after a moment."""
        found, _ = self._ray.wait(streams, num_returns=len(streams), timeout=_BETWEEN_LOOKS)
        return list(found)

    def next_of(self, stream: Any) -> bytes | None:
        """What came: whole lines; None at the end.

        Raises:
            Lost: Its process or machine is no more.
            Refused: It cannot be decided there.
        """
        errors = self._ray.exceptions
        try:
            reference = next(stream, None)
            return None if reference is None else bytes(self._ray.get(reference))
        except errors.RayTaskError as error:
            if isinstance(error.cause, Stopped):
                raise Lost(str(error.cause)) from None
            if isinstance(error.cause, Refused):
                raise Refused(str(error.cause)) from None
            raise Refused(f"a machine of the cluster could not decide a chunk ({_last_line(error)})") from error
        except errors.OutOfMemoryError:
            raise Lost("the memory of its machine ran out", is_of_memory=True) from None
        except (errors.NodeDiedError, errors.LocalRayletDiedError):
            raise Lost("its machine was lost") from None
        except errors.RuntimeEnvSetupError as error:
            raise NoCluster(f"the cluster could not take the modules of --import ({_last_line(error)})") from error
        except errors.RayError:
            raise Lost("its process was killed") from None

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]


@contextmanager
def joined(
    address: str, workers: int | Literal["auto"], imports: Sequence[str], *, with_timm: bool = True
) -> Iterator[Cluster]:
    """A cluster of this machine's own, with so many processes, or the one at an address; it is left at the end.

    `with_timm` says whether the timm of the environments is audited, which must be the same then.

    Raises:
        NoCluster: There is none, Ray is not installed, or a machine decides by something else.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    _authenticate(address)
    try:
        import ray
    except ImportError:
        raise NoCluster("--cluster needs Ray; pip install 'timm-conformance[ray]'") from None
    sources = [source for name in imports if (source := _source(name)) is not None]
    environment: dict[str, Any] = {"py_modules": sources} if sources else {}
    options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    with ExitStack() as stack:
        if address == LOCAL:
            directory = stack.enter_context(_temporary())
            options |= {
                "num_cpus": processors() if workers == "auto" else workers,
                "include_dashboard": False,
                "_temp_dir": directory,
                "runtime_env": environment | {"env_vars": {"TMPDIR": directory}},
            }
        else:
            _refuse_unreachable(address)
            options |= {"runtime_env": environment}
        stack.callback(ray.shutdown)
        try:
            with _quiet():
                ray.init(address=address, **options)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise NoCluster(f"--cluster {address!r} cannot be had ({_last_line(error)})") from error
        cluster = Cluster(ray, None if address == LOCAL or workers == "auto" else workers)
        cluster.check(with_timm=with_timm)
        yield cluster


def _authenticate(address: str) -> None:
    """See to it that nobody else gives work to a cluster of ours, and that others take ours if we have their token.

    Ray asks for tokens by default where it finds one, but does not show its own by default when it joins (2.60).
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    if address == LOCAL:  # else it would write one into the home directory
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    elif not ({"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() or Path.home().joinpath(*_TOKEN).exists()):
        return
    os.environ["RAY_AUTH_MODE"] = "token"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Ray's native code writes on standard error from people: of what fails it raises besides."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _refuse_unreachable(address: str) -> None:
    """Say at once what Ray would say after minutes."""
    if address.startswith("ray://"):
        raise NoCluster(
            f"--cluster {address!r} is an address of Ray Client, which cannot carry this; "
            "start the audit on a machine of the cluster, with the HOST:PORT of its head or auto"
        )
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 2**16):
        raise NoCluster(f"--cluster {address!r} is no address; give HOST:PORT of the head, auto, or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except OSError as error:
        raise NoCluster(
            f"--cluster {address!r} does not answer ({error.strerror or error}); see that `ray start --head` runs there"
        ) from error


def _source(name: str) -> str | None:
    """Where the package or module of that name lies, unless it is installed: then machines must have it themselves."""
    top = name.partition(".")[0]
    spec = PathFinder.find_spec(top, [*sys.path, str(Path.cwd())])
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    installed = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if any(Path(places[0]).is_relative_to(directory) for directory in installed):
        return None
    return places[0]


@contextmanager
def _temporary() -> Iterator[str]:
    """A directory for all that Ray and its processes write. Those of audits that were killed are removed.

    Sockets lie in it, whose paths have 107 bytes at most, and Ray's own part of them is long.
    """
    root = Path(tempfile.gettempdir())
    if len(os.fsencode(root)) > _LONGEST_ROOT:
        root = Path("/tmp")  # noqa: S108  # where Ray itself goes; mkdtemp takes no directory of others
    for left in root.glob(f"{_TEMPORARY}*-*"):
        process = left.name.removeprefix(_TEMPORARY).partition("-")[0]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(left, ignore_errors=True)
    directory = tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-", dir=root)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _compare(name: str, here: Facts, there: Facts, *, with_timm: bool) -> None:
    for fact in Facts.__struct_fields__:
        ours, theirs = getattr(here, fact), getattr(there, fact)
        if ours != theirs and (fact != "timm" or with_timm):
            what = "other files of timm-conformance" if fact == "code" else fact
            raise NoCluster(f"{name} of the cluster has {what} {theirs}, and here is {ours}; have the same everywhere")


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return printable(lines[-1])[:300] if lines else type(error).__name__
