"""`LOGGIA_DATA_DIR/run`: who runs on this data folder, and what an earlier run left behind.

    run/supervisor.lock     held (flock) by the one supervisor; its text is that one's pid
    run/children/NAME.json  {pid, create_time, run_id, start} of each child
    run/ready/NAME          exists while a child is ready
    run/engines/ID.json     {pid, create_time, start} of each replica's engine, by the deploy worker

Everything here describes processes, so that all of it may be deleted while nothing runs.
"""

import fcntl
import os
import signal
from pathlib import Path
from typing import TextIO

import psutil

from backend.embedded.errors import EmbeddedError
from backend.infra.processes import (
    ProcessRecord,
    engine_members,
    group_members,
    stop_processes,
)

#: Long enough for PostgreSQL's fast shutdown, and for roles that finish what they write.
_LEFTOVER_SECONDS = 8
_ENGINE_SECONDS = 2


class RunDirectory:
    """The run folder of one data folder."""

    def __init__(self, data_directory: Path) -> None:
        self.path = data_directory / "run"
        self._lock_file = self.path / "supervisor.lock"
        self._lock: TextIO | None = None

    def acquire(self) -> None:
        """Become the one supervisor here. Raises EmbeddedError if there is one already.

        The kernel gives the lock back when this process ends, however it ends.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = self._lock_file.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise EmbeddedError(
                f"Loggia is already running on {self.path.parent}{_by(self.supervisor())}",
                "use that one, stop it with `loggia down`, or name another LOGGIA_DATA_DIR",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file

    def release(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def supervisor(self) -> int | None:
        """The pid of the supervisor that holds the lock, or None when there is none."""
        try:
            with self._lock_file.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = file.read().strip()
                    return int(text) if text.isdigit() else None
        except FileNotFoundError:
            pass
        return None

    def stop_leftovers(self) -> list[str]:
        """Stop the children of a supervisor that died; returns their names. Needs the lock.

        Engines stay: the deploy worker adopts those it finds running.
        """
        left: dict[str, list[psutil.Process]] = {}
        files = sorted((self.path / "children").glob("*.json"))
        for file in files:
            record = ProcessRecord.read(file)
            if record is not None and (members := group_members(record)):
                left[file.stem] = members
        servers = left.pop("postgres", [])
        stop_processes(
            [process for members in left.values() for process in members],
            seconds=_LEFTOVER_SECONDS,
        )
        # Last, because the others may still write. SIGINT is its fast shutdown.
        stop_processes(servers, seconds=_LEFTOVER_SECONDS, first=signal.SIGINT)
        for file in (*files, *(self.path / "ready").glob("*")):
            file.unlink(missing_ok=True)
        return [*left, *(["postgres"] if servers else [])]

    def stop_engines(self) -> int:
        """Stop every recorded engine, also one that has lost its leader; returns how many ran."""
        running = []
        for file in (self.path / "engines").glob("*.json"):
            record = ProcessRecord.read(file)
            if record is None:
                continue
            if members := engine_members(file.stem, record):
                running.append(members)
            file.unlink(missing_ok=True)
        stop_processes([each for members in running for each in members], seconds=_ENGINE_SECONDS)
        return len(running)


def _by(pid: int | None) -> str:
    return f" (pid {pid})" if pid else ""
