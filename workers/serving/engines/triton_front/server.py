"""Triton's server as a child process: started, loaded with models, unloaded and ended."""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
import site
import socket
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import aio as grpc
from tritonclient.utils import InferenceServerException

# Below the range of outgoing connections, and beside the one that replicas take theirs from.
_PORTS = range(10_000, 20_000)
_PORT_SETS = 5
_LIVE_SECONDS = 60.0
_LOAD_SECONDS = 3600.0
_UNLOAD_SECONDS = 5.0
_END_SECONDS = 10.0
_POLL_SECONDS = 0.1
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where Triton's Python backend keeps tensors)
_REGION = "loggia-triton"
_PARENT_DEATH_SIGNAL = 1


class ServerFailed(Exception):
    """Triton did not start, did not load a model, or ended."""


@dataclass(frozen=True)
class Start:
    """What Triton is started with."""

    repository: str
    arguments: tuple[str, ...] = ()
    on_gpu: bool = False


@dataclass(frozen=True)
class Ports:
    """Where Triton listens, on the loopback interface."""

    http: int
    grpc: int
    metrics: int


class TritonServer:
    """One server with the models of one repository."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._process: asyncio.subprocess.Process | None = None
        self._loaded: list[str] = []
        self.ports = Ports(0, 0, 0)
        self.client: grpc.InferenceServerClient

    async def start(self) -> None:
        """Starts the server and loads every model. Raises `ServerFailed`."""
        _clear_shared_memory()
        for attempt in range(1, _PORT_SETS + 1):
            self.ports = Ports(*_free_ports(3))
            self._process = process = await self._spawn()
            self.client = grpc.InferenceServerClient(f"127.0.0.1:{self.ports.grpc}")
            try:
                await self._until_live(process)
                break
            except ServerFailed:
                await self.client.close()
                # Most often another program has taken a port in between.
                if attempt == _PORT_SETS or not await self._a_port_is_taken():
                    raise
        for name in _model_names(Path(self._start.repository)):
            await self._load(name)

    async def until_end(self) -> None:
        """Returns never; raises `ServerFailed` when the server has ended."""
        status = await self._process.wait() if self._process else None
        raise ServerFailed(f"Triton ended with exit status {status}.")

    async def end(self) -> None:
        """Unloads the models and ends the server."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(InferenceServerException, TimeoutError):
            async with asyncio.timeout(_UNLOAD_SECONDS):
                for name in self._loaded:
                    await self.client.unload_model(name)
        await self.client.close()
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
        _clear_shared_memory(own=True)

    async def is_live(self) -> bool:
        """Whether the server answers."""
        try:
            return bool(await self.client.is_server_live(client_timeout=5.0))
        except InferenceServerException:
            return False

    async def _load(self, name: str) -> None:
        loading = asyncio.ensure_future(self.client.load_model(name, client_timeout=_LOAD_SECONDS))
        ending = asyncio.ensure_future(self.until_end())
        try:
            await asyncio.wait({loading, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                await ending
            await loading
        except InferenceServerException as error:
            raise ServerFailed(f"Triton could not load '{name}': {error.message()}") from error
        finally:
            loading.cancel()
            ending.cancel()
            with suppress(asyncio.CancelledError, ServerFailed):
                await ending
        self._loaded.append(name)
        print(f"triton_front: loaded '{name}'", flush=True)

    async def _until_live(self, process: asyncio.subprocess.Process) -> None:
        deadline = asyncio.get_running_loop().time() + _LIVE_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            if process.returncode is not None:
                raise ServerFailed(f"Triton ended with exit status {process.returncode}.")
            if await self.is_live():
                return
            await asyncio.sleep(_POLL_SECONDS)
        process.kill()
        await process.wait()
        raise ServerFailed(f"Triton did not answer within {_LIVE_SECONDS:g} s.")

    async def _a_port_is_taken(self) -> bool:
        return not all(_is_free(port) for port in (self.ports.http, self.ports.grpc))

    async def _spawn(self) -> asyncio.subprocess.Process:
        home = Path(site.getsitepackages()[0]) / "pytriton" / "tritonserver"
        libraries = [str(sysconfig.get_config_var("LIBDIR"))]
        libraries += [str(path) for path in _cuda_libraries()]
        if inherited := os.environ.get("LD_LIBRARY_PATH"):
            libraries.append(inherited)
        return await asyncio.create_subprocess_exec(
            str(home / "bin" / "tritonserver"),
            f"--model-repository={self._start.repository}",
            "--model-control-mode=explicit",
            f"--backend-directory={home / 'backends'}",
            f"--backend-config=python,shm-region-prefix-name={_REGION}-{os.getpid()}-",
            "--http-address=127.0.0.1",
            f"--http-port={self.ports.http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self.ports.grpc}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={self.ports.metrics}",
            f"--allow-gpu-metrics={'true' if self._start.on_gpu else 'false'}",
            "--exit-timeout-secs=5",
            *self._start.arguments,
            cwd=_folder_with_packages(),
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)},
            preexec_fn=_death_signal(),
        )


def pending_in(metrics: str) -> int:
    """The sum of the queues' lengths in Triton's metrics."""
    return round(
        sum(
            float(line.rpartition(" ")[2])
            for line in metrics.splitlines()
            if line.startswith("nv_inference_pending_request_count")
        )
    )


def _folder_with_packages() -> Path:
    """A working folder in which this environment's packages can be imported.

    The interpreter of Triton's Python backend ignores the environment's variables, but looks into
    its working folder first. Models may write there without harm to the packages.
    """
    folder = Path("triton").resolve()
    folder.mkdir(exist_ok=True)
    for package in Path(site.getsitepackages()[0]).iterdir():
        link = folder / package.name
        if not link.is_symlink():
            link.symlink_to(package)
    return folder


def _model_names(repository: Path) -> list[str]:
    """Every model; ensembles come last, because loading one loads what it is made of."""
    folders = [path for path in sorted(repository.iterdir()) if path.is_dir()]

    def composed(folder: Path) -> bool:
        config = folder / "config.pbtxt"
        return config.is_file() and "ensemble_scheduling" in config.read_text(errors="replace")

    return [folder.name for folder in sorted(folders, key=composed)]


def _cuda_libraries() -> list[Path]:
    """The folders of NVIDIA's libraries that pip has installed, if any."""
    return sorted((Path(site.getsitepackages()[0]) / "nvidia").glob("*/lib"))


def _free_ports(count: int) -> list[int]:
    found: list[int] = []
    for port in random.sample(_PORTS, 500):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise ServerFailed("No loopback port is free.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _clear_shared_memory(*, own: bool = False) -> None:
    """Removes what servers of fronts that have ended left behind, or this one's."""
    for path in _SHARED_MEMORY.glob(f"{_REGION}-*"):
        owner = path.name.removeprefix(f"{_REGION}-").partition("-")[0]
        mine = owner == str(os.getpid())
        if owner.isdigit() and (mine if own else not Path("/proc", owner).exists()):
            with suppress(OSError):
                path.unlink()


def _death_signal() -> Callable[[], None]:
    """Makes the child end with us, however we end. Loaded before the fork."""
    libc = ctypes.CDLL(None, use_errno=True)

    def act() -> None:
        libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    return act
