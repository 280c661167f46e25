"""Engines as processes of this machine.

An engine outlives the worker that started it: it has a session of its own, writes its log to a
file itself, and is found again by its run record, or, where the worker died before writing that,
by the replica's id in its environment. Nothing is signalled that does not prove to be ours.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import psutil
from psycopg import Cursor
from psycopg.rows import DictRow

from backend.domain.errors import Invalid
from backend.embedded.processes import (
    REPLICA_VARIABLE,
    ProcessRecord,
    engine_members,
    leads_session,
)
from workers.serving.engine import Command
from workers.serving.engine_log import EngineLog
from workers.serving.launchers.launcher import (
    STOP_SECONDS,
    Launcher,
    NoPlace,
    Order,
    Place,
    Sighting,
    Wanted,
)
from workers.serving.preparation import Needs

# Below the range from which kernels take ports for outgoing connections, which could otherwise
# occupy the port while the engine is still loading.
_PORTS = range(20_000, 30_000)
_PORT_ATTEMPTS = 200
_FOLLOWER_SECONDS = 2.0
_KILL_SECONDS = 5.0
_KEPT_FOLDERS = 100
# Engines inherit these and nothing else: no database address, no key, no cloud credential.
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "USER", "LOGNAME")
_INHERITED_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_", "VLLM_", "XDG_")


class RunRecord(msgspec.Struct, frozen=True):
    """What is written about a started engine, for whoever has to find it again."""

    pid: int
    create_time: float
    replica_id: UUID
    deployment_id: UUID
    model_id: UUID
    revision: int
    port: int


class LocalProcesses:
    """Starts, finds and stops engines on this machine, as a `Launcher`."""

    needs = Needs()
    ends_with_platform = True

    def __init__(self, data: Path) -> None:
        # Engines are processes of one machine and one data directory.
        self.server = f"{socket.gethostname()}:{data}"
        self._records = data / "run" / "engines"
        self._folders = data / "engines"
        self._children: dict[UUID, subprocess.Popen[bytes]] = {}

    def place(self, wanted: Wanted, cursor: Cursor[DictRow]) -> Place:  # noqa: ARG002
        """A loopback port of this machine. Raises `NoPlace`."""
        return Place(self.server, f"http://127.0.0.1:{self.free_port()}")

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
        )
        self.run(
            order.prepared.engine.command(environment, launch),
            replica_id=wanted.replica_id,
            deployment_id=wanted.deployment_id,
            model_id=wanted.model_id,
            revision=wanted.revision,
            port=launch.port,
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
    ) -> None:
        """Starts the process, unless it runs already. Raises `OSError`."""
        if self.find(replica_id).running:
            return
        # A worker that died before it wrote the record has left the engine behind.
        pid = self._orphan(replica_id) or self._spawn(command, replica_id)
        self._write(
            RunRecord(
                pid=pid,
                create_time=_create_time(pid),
                replica_id=replica_id,
                deployment_id=deployment_id,
                model_id=model_id,
                revision=revision,
                port=port,
            )
        )

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
        self._record_path(replica_id).unlink(missing_ok=True)

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

    def _spawn(self, command: Command, replica_id: UUID) -> int:
        folder = self._folders / str(replica_id)
        folder.mkdir(parents=True, exist_ok=True)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
        }
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                list(command.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**inherited, **command.environment, REPLICA_VARIABLE: str(replica_id)},
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


def _recorded(record: RunRecord) -> ProcessRecord:
    return ProcessRecord(record.pid, record.create_time)


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


class LocalOnly:
    """The `Launchers` of a platform that runs engines on its own machine."""

    NAME = "local"

    def __init__(self, local: LocalProcesses) -> None:
        self._local = local

    def named(self, server: str) -> Launcher:
        """This machine. Raises `Invalid` for any other."""
        if server != self.NAME:
            raise Invalid(
                f"hardware.server: there is no server '{server[:80]}'.",
                remedy=f"Choose '{self.NAME}'.",
                field="hardware.server",
            )
        return self._local

    def at(self, server: str) -> Launcher | None:
        """This machine, for the replicas of this data directory."""
        return self._local if server == self._local.server else None

    def public_name(self, server: str) -> str:
        """This machine is called local."""
        return self.NAME if server == self._local.server else server
