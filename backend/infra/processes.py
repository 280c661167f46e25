"""Processes remembered across restarts: by pid and the moment of their start, never by name.

A pid alone says nothing after a crash, because the kernel hands it out again. Every record here
carries the moment too, so that nothing of anybody else's is ever signalled.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

#: A process started within this many seconds of the recorded time, with the recorded pid, is the
#: recorded one, where no more is known: creation times move with the clock when it is corrected.
CREATE_TIME_TOLERANCE_SECONDS = 2.0

#: Names, in the environment of everything a supervisor starts, the run it belongs to.
RUN_ID_VARIABLE = "LOGGIA_RUN_ID"

#: Names, in the environment of an engine, the replica that it serves.
REPLICA_VARIABLE = "LOGGIA_REPLICA_ID"

_PR_SET_PDEATHSIG = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# In /proc/PID/stat, of the fields after the name, which may hold anything: ticks since the boot.
_START_TICKS = 19


def start_of(pid: int) -> str:
    """When the process was started, by the machine's boot and not by its clock.

    "" where the process has gone, or the system does not tell.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return f"{_boot()}:{fields[_START_TICKS]}" if _boot() else ""
    except (OSError, IndexError):
        return ""


def _boot() -> str:
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One process that was started and has to be found again.

    `create_time` is in seconds since the epoch, as psutil gives it. `run_id` is the supervisor run
    that started it ("" when a worker wrote the record, as for engines). `start` is `start_of` the
    process, "" in older records.
    """

    pid: int
    create_time: float
    run_id: str = ""
    start: str = ""

    @classmethod
    def of(cls, pid: int, run_id: str = "") -> "ProcessRecord":
        """The record of a running process. Raises psutil.NoSuchProcess if it has gone already."""
        return cls(pid, psutil.Process(pid).create_time(), run_id, start_of(pid))

    @classmethod
    def read(cls, path: Path) -> "ProcessRecord | None":
        """The record in a file, or None for a file that is missing, torn or not a record."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, path: Path) -> None:
        """Write the record so that a reader sees the whole of it or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        staged.write_bytes(msgspec.json.encode(self))
        staged.replace(path)

    def process(self) -> psutil.Process | None:
        """The recorded process if it still runs, else None."""
        try:
            process = psutil.Process(self.pid)
            return (
                process if self._is(process) and process.status() != psutil.STATUS_ZOMBIE else None
            )
        except psutil.Error:
            return None

    def is_older_than_boot(self) -> bool:
        """Whether the machine was started since then."""
        if self.start and (boot := _boot()):
            return not self.start.startswith(f"{boot}:")
        return self.create_time < psutil.boot_time() - CREATE_TIME_TOLERANCE_SECONDS

    def _is(self, process: psutil.Process) -> bool:
        if self.start and (start := start_of(self.pid)):
            return start == self.start
        return abs(process.create_time() - self.create_time) < CREATE_TIME_TOLERANCE_SECONDS


def group_members(record: ProcessRecord) -> list[psutil.Process]:
    """What still runs of the recorded process and of the process group it led.

    A member is believed only if its environment names the recorded run, because a process group's
    number is handed out again as a pid's is.
    """
    found = []
    leader = record.process()
    if leader is not None:
        found.append(leader)
    if not record.run_id:
        return found
    for process in psutil.process_iter():
        try:
            if (
                process.pid != record.pid
                and os.getpgid(process.pid) == record.pid
                and process.environ().get(RUN_ID_VARIABLE) == record.run_id
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def stop_processes(
    processes: Iterable[psutil.Process], *, seconds: float, first: signal.Signals = signal.SIGTERM
) -> None:
    """Ask processes to stop, and kill what is left after `seconds`. Returns when all are gone."""
    waiting = list(processes)
    for process in waiting:
        with contextlib.suppress(psutil.Error):
            process.send_signal(first)
    _, alive = psutil.wait_procs(waiting, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=2)


def engine_members(replica_id: str, record: ProcessRecord | None) -> list[psutil.Process]:
    """Every process of an engine, also where its leader was killed and left the others behind.

    They are known by the session they were born in, and by the replica's id in the environment,
    which serves alone where no record was written; engines may overwrite it with a title.
    """
    living = [process for process in psutil.process_iter() if _is_living(process)]
    sessions = {_sid(process) for process in living if _serves(process, replica_id)}
    if record is not None and _bears_session(record):
        sessions.add(record.pid)
    return [process for process in living if _sid(process) in sessions - {None}]


def leads_session(process: psutil.Process) -> bool:
    """Whether the process is the one that its session is named after."""
    return process.pid == _sid(process)


def _bears_session(record: ProcessRecord) -> bool:
    """Whether a session with the recorded pid can only be the recorded one.

    The kernel does not hand out a pid again while a session bears it. So a stranger under the
    leader's pid means that the session has ended, and so does a start of the machine since then.
    """
    if record.is_older_than_boot():
        return False
    try:
        leader = psutil.Process(record.pid)
        return record.process() is not None or leader.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def _is_living(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _sid(process: psutil.Process) -> int | None:
    with contextlib.suppress(OSError):
        return os.getsid(process.pid)
    return None


def _serves(process: psutil.Process, replica_id: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(REPLICA_VARIABLE) == replica_id
    return False


def death_signal(number: signal.Signals) -> Callable[[], None] | None:
    """What a child runs before exec so that the kernel signals it when its parent dies.

    None where the kernel has no such service (anything but Linux); there the next start's clean-up
    does the work alone. The C library is looked up here, in the parent, because a forked child may
    not import anything safely.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def before_exec() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)

    return before_exec
