"""Engines as processes of this machine.

An engine outlives the worker that started it: it has a session of its own, writes its log to a
file itself, and is found again by its run record, or, where the worker died before writing that,
by the replica's id in its environment. Nothing is signalled that does not prove to be ours.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import psutil
from psycopg import Cursor
from psycopg.rows import DictRow

from backend.domain.configuration import Scaling
from backend.infra.processes import (
    REPLICA_VARIABLE,
    ProcessRecord,
    engine_members,
    leads_session,
    start_of,
)
from workers.serving.engine import Command, Engine
from workers.serving.engine_log import EngineLog
from workers.serving.launchers.bounds import Bounds
from workers.serving.launchers.gpus import Gpus
from workers.serving.launchers.launcher import (
    STOP_SECONDS,
    NoPlace,
    Order,
    Place,
    Sighting,
    Wanted,
)
from workers.serving.launchers.room import Machine, room_here
from workers.serving.preparation import Needs

# Below the range from which kernels take ports for outgoing connections, which could otherwise
# occupy the port while the engine is still loading.
_PORTS = range(20_000, 30_000)
_PORT_ATTEMPTS = 200
_FOLLOWER_SECONDS = 2.0
_KILL_SECONDS = 5.0
_KEPT_FOLDERS = 100
# Of the cgroup in which a container's processes are, by version.
_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# Engines inherit these and nothing else: no database address, no key, no cloud credential.
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "USER", "LOGNAME")
_INHERITED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "VLLM_", "XDG_")


class RunRecord(msgspec.Struct, frozen=True):
    """What is written about a started engine, for whoever has to find it again.

    `start` is "" where an older release wrote it.
    """

    pid: int
    create_time: float
    replica_id: UUID
    deployment_id: UUID
    model_id: UUID
    revision: int
    port: int
    start: str = ""


class LocalProcesses:
    """Starts, finds and stops engines on this machine, as a `Launcher`."""

    needs = Needs()
    ends_with_platform = True

    def __init__(
        self, data: Path, *, gpus: Gpus | None = None, limits: Bounds | None = None
    ) -> None:
        # Engines are processes of one machine and one data directory.
        self.server = f"{socket.gethostname()}:{data}"
        self.gpus = gpus or Gpus()
        self.limits = limits or Bounds()
        self._records = data / "run" / "engines"
        self._folders = data / "engines"
        self._children: dict[UUID, subprocess.Popen[bytes]] = {}

    def machine(self) -> Machine:
        """What this machine has to give."""
        return Machine(memory_gib(), tuple(self.gpus.all()))

    def bounds(self, scaling: Scaling) -> tuple[int, int]:
        """Those of the configuration: a replica is one process."""
        return scaling.min_replicas, scaling.max_replicas

    def place(self, wanted: Wanted, cursor: Cursor[DictRow]) -> Place:
        """Memory or GPUs that nobody was promised, and a loopback port. Raises `NoPlace`."""
        room = room_here(self.server, self.machine(), wanted, cursor)
        return Place(
            self.server, f"http://127.0.0.1:{self.free_port()}", room.memory_gib, room.shares
        )

    def free_port(self, taken: Collection[int] = ()) -> int:
        """A loopback port that nobody listens on. Raises `NoPlace`."""
        reserved = {record.port for record in self.records()} | set(taken)
        for port in random.sample(_PORTS, _PORT_ATTEMPTS):
            if port in reserved:
                continue
            with socket.socket() as probe, suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
        raise NoPlace(
            f"The engine cannot listen: no free port between {_PORTS.start} and {_PORTS.stop}.",
            remedy="Stop other engines, then redeploy.",
        )

    def start(self, order: Order) -> str:
        """Starts the engine in its own environment. Raises `DomainError` and `OSError`."""
        wanted = order.wanted
        environment, launch = order.prepared.here(
            replica_id=wanted.replica_id,
            port=urlsplit(order.place.endpoint).port or 0,
            configuration=wanted.configuration,
            gpu_memory_share=_share(order.place),
        )
        command = order.prepared.engine.command(environment, launch)
        self.run(
            replace(command, environment={**command.environment, **_visible(order.place)}),
            replica_id=wanted.replica_id,
            deployment_id=wanted.deployment_id,
            model_id=wanted.model_id,
            revision=wanted.revision,
            port=launch.port,
            memory_gib=order.place.memory_gib,
        )
        return environment.version

    def run(
        self,
        command: Command,
        *,
        replica_id: UUID,
        deployment_id: UUID,
        model_id: UUID,
        revision: int,
        port: int,
        memory_gib: float = 0.0,
    ) -> None:
        """Starts the process, unless it runs already. Raises `OSError`."""
        if self.find(replica_id).running:
            return
        # A worker that died before it wrote the record has left the engine behind.
        pid = self._orphan(replica_id) or self._spawn(command, replica_id, memory_gib)
        self._write(
            RunRecord(
                pid=pid,
                create_time=_create_time(pid),
                replica_id=replica_id,
                deployment_id=deployment_id,
                model_id=model_id,
                revision=revision,
                port=port,
                start=start_of(pid),
            )
        )

    def devices(self, order: Order) -> list[str]:
        """Those that it was promised."""
        return order.place.device_names()

    def find(self, replica_id: UUID, *, search: bool = False) -> Sighting:
        """Whether the engine runs. `search` also looks for one whose record was never written."""
        child = self._children.get(replica_id)
        if child is not None:
            status = child.poll()
            return Sighting(True, status is None, status)
        record = self._read(self._record_path(replica_id))
        if record is not None:
            return Sighting(True, _recorded(record).process() is not None)
        found = search and bool(_members(replica_id, None))
        return Sighting(found, found)

    def stop(self, replica_id: UUID, *, seconds: float = STOP_SECONDS) -> None:
        """Ends the engine and everything it started; returns when all of it is gone."""
        record = self._read(self._record_path(replica_id))
        members = _members(replica_id, record)
        leaders = [process for process in members if leads_session(process)]
        # The leader ends its own; what it leaves behind is asked afterwards, and not for long.
        _terminate(leaders or members)
        psutil.wait_procs(leaders or members, timeout=seconds)
        left = _members(replica_id, record)
        _terminate(left)
        psutil.wait_procs(left, timeout=min(seconds, _FOLLOWER_SECONDS))
        left = _members(replica_id, record)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=_KILL_SECONDS)
        child = self._children.pop(replica_id, None)
        if child is not None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(timeout=_KILL_SECONDS)
        self.limits.release(replica_id)
        self._record_path(replica_id).unlink(missing_ok=True)

    def speaks(self, engine: Engine) -> Engine:
        """As it is."""
        return engine

    def leaving(self, server: str) -> str | None:  # noqa: ARG002
        """A worker's own machine is never drained: stopping the worker does that."""
        return None

    def records(self) -> Iterator[RunRecord]:
        """Every engine that was started here and not yet cleared away."""
        for path in self._records.glob("*.json"):
            record = self._read(path)
            if record is not None:
                yield record

    def log(self, replica_id: UUID) -> EngineLog:
        """The engine's output; it stays after the engine has gone."""
        return EngineLog(self._folders / str(replica_id) / "log")

    def clear_old_folders(self) -> None:
        """Removes the logs of engines long gone, but for the newest hundred."""
        running = {str(record.replica_id) for record in self.records()}
        folders = [f for f in self._folders.glob("*-*-*-*-*") if f.name not in running]
        folders.sort(key=lambda f: f.stat().st_mtime, reverse=True)
        for folder in folders[_KEPT_FOLDERS:]:
            shutil.rmtree(folder, ignore_errors=True)

    def _orphan(self, replica_id: UUID) -> int | None:
        members = _members(replica_id, None)
        leader = next((process for process in members if leads_session(process)), None)
        if leader is None and members:
            self.stop(replica_id)
        return leader.pid if leader else None

    def _spawn(self, command: Command, replica_id: UUID, memory_gib: float) -> int:
        folder = self._folders / str(replica_id)
        folder.mkdir(parents=True, exist_ok=True)
        program = command.arguments[0]
        if shutil.which(program) is None:  # the shell that becomes it would say so too late
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        arguments, bounded = self.limits.enclosed(command.arguments, replica_id, memory_gib)
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={
                    **inherited,
                    **command.environment,
                    **bounded,
                    REPLICA_VARIABLE: str(replica_id),
                },
                start_new_session=True,
            )
        self._children[replica_id] = process
        return process.pid

    def _record_path(self, replica_id: UUID) -> Path:
        return self._records / f"{replica_id}.json"

    def _write(self, record: RunRecord) -> None:
        path = self._record_path(record.replica_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}")
        staged.write_bytes(msgspec.json.encode(record))
        staged.replace(path)

    @staticmethod
    def _read(path: Path) -> RunRecord | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=RunRecord)
        except (OSError, msgspec.MsgspecError):
            return None


def memory_gib() -> float:
    """The memory that processes here may use: the machine's, or less where a cgroup says so."""
    total = psutil.virtual_memory().total
    for path in _MEMORY_LIMITS:
        with suppress(OSError, ValueError):
            total = min(total, int(path.read_text()))
    return round(total / 1024**3, 1)


def _visible(place: Place) -> dict[str, str]:
    """The variables by which an engine sees its GPUs and no others."""
    indexes = ",".join(str(share.index) for share in place.devices)
    return {"CUDA_VISIBLE_DEVICES": indexes, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def _share(place: Place) -> float | None:
    """The part of its GPUs' memory that a replica may fill; None for all of it."""
    if not place.devices or any(share.exclusive for share in place.devices):
        return None
    return min(share.memory_gib / share.total_gib for share in place.devices)


def _recorded(record: RunRecord) -> ProcessRecord:
    return ProcessRecord(record.pid, record.create_time, start=record.start)


def _create_time(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:  # it has ended already; the record will say 'gone' soon enough
        return time.time()


def _members(replica_id: UUID, record: RunRecord | None) -> list[psutil.Process]:
    return engine_members(str(replica_id), _recorded(record) if record else None)


def _terminate(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
