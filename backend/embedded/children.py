"""One child process of the supervisor: started, watched, restarted, stopped."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from backend.embedded.errors import EmbeddedError
from backend.embedded.joined_log import JoinedLog
from backend.embedded.postgres import Account
from backend.infra.processes import (
    RUN_ID_VARIABLE,
    ProcessRecord,
    death_signal,
    group_members,
)
from backend.infra.readiness import READY_FILE_VARIABLE, is_announced

#: A child that ran this long had started well; its next crash counts as the first.
_SETTLED_SECONDS = 60
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
#: A child that ends this often without ever having been ready keeps the platform from starting.
_FUTILE_STARTS = 3
_READY_POLL_SECONDS = 0.05
_LONGEST_LINE_BYTES = 64 * 1024
#: A dead child's output is read this long: a grandchild may hold the pipe open for ever.
_LAST_WORDS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Child:
    """What to run, how to know that it is ready, and how to stop it.

    `ready` is asked in a thread again and again; without one the child announces itself (see
    `backend.infra.readiness`). `stage` orders the shutdown: the lowest stops first. `death` is
    the signal it gets when the supervisor dies without a word.
    """

    name: str
    command: tuple[str, ...]
    stage: int
    stop_seconds: float
    ready: Callable[[], bool] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death: signal.Signals = signal.SIGTERM
    account: Account | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        return self.name.replace(" ", "-")


class RunningChild:
    """A child under supervision; `run()` keeps it alive until `stop()`."""

    def __init__(self, child: Child, *, run_directory: Path, run_id: str, log: JoinedLog) -> None:
        self.child = child
        self.ready = asyncio.Event()
        self._run_id = run_id
        self._log = log
        self._record_file = run_directory / "children" / f"{child.file_name}.json"
        self._ready_file = run_directory / "ready" / child.file_name
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._was_ready = False

    async def run(self) -> None:
        """Start the child, and start it again whenever it ends, with growing pauses.

        Returns after `stop()`. Raises EmbeddedError if it never becomes ready.
        """
        failures = 0
        while not self._stopping.is_set():
            started = time.monotonic()
            status = await self._run_once()
            if self._stopping.is_set():
                return
            failures = 1 if time.monotonic() - started > _SETTLED_SECONDS else failures + 1
            if not self._was_ready and failures >= _FUTILE_STARTS:
                raise EmbeddedError(
                    f"{self.child.name} {status} and never became ready",
                    "its last lines above say why",
                )
            delay = min(_LONGEST_DELAY_SECONDS, _FIRST_DELAY_SECONDS * 2 ** (failures - 1))
            self._log.say(
                f"{self.child.name} {status}; starting it again in {delay:g} s", level="warning"
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the child and everything in its process group; kill what does not end in time.

        `hurry` ends the patience at once.
        """
        self._stopping.set()
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.child.stop_signal)
            ended = asyncio.create_task(process.wait())
            hurried = asyncio.create_task(hurry.wait())
            await asyncio.wait(
                {ended, hurried},
                timeout=self.child.stop_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            hurried.cancel()
            if not ended.done():
                why = (
                    "was killed at once"
                    if hurry.is_set()
                    else f"did not stop within {self.child.stop_seconds:g} s: killed"
                )
                self._log.say(f"{self.child.name} {why}", level="warning")
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
            await ended
        await asyncio.to_thread(self._sweep, ProcessRecord.read(self._record_file))

    async def _run_once(self) -> str:
        """One life of the child; returns how it ended, as a phrase."""
        self._ready_file.parent.mkdir(parents=True, exist_ok=True)
        self._ready_file.unlink(missing_ok=True)
        try:
            process = await self._spawn()
        except OSError as error:
            return f"could not be started ({error.strerror})"
        with contextlib.suppress(psutil.Error):
            ProcessRecord.of(process.pid, self._run_id).write(self._record_file)
        record = ProcessRecord.read(self._record_file)
        reading = asyncio.create_task(self._read_output(process))
        waiting = asyncio.create_task(self._await_readiness())
        try:
            status = await process.wait()
        finally:
            waiting.cancel()
            self.ready.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reading, _LAST_WORDS_SECONDS)
        if not self._stopping.is_set():
            await asyncio.to_thread(self._sweep, record)
        return _ending(status)

    async def _spawn(self) -> asyncio.subprocess.Process:
        """Start it in a process group of its own, so that Ctrl-C reaches the supervisor alone."""
        account = self.child.account
        self._process = await asyncio.create_subprocess_exec(
            *self.child.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/" if account else None,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            start_new_session=True,
            # Runs after the change of user, which would undo it.
            preexec_fn=death_signal(self.child.death),
            env={
                **os.environ,
                **self.child.environment,
                RUN_ID_VARIABLE: self._run_id,
                READY_FILE_VARIABLE: str(self._ready_file),
                "LOGGIA_LOG_FORMAT": "json",
                "PYTHONUNBUFFERED": "1",
            },
        )
        return self._process

    async def _await_readiness(self) -> None:
        started = time.monotonic()
        probe = self.child.ready
        while True:
            if probe is None:
                answer = is_announced(self._ready_file)
            else:
                answer = await asyncio.to_thread(probe)
            if answer:
                break
            await asyncio.sleep(_READY_POLL_SECONDS)
        again = " again" if self._was_ready else ""
        self._was_ready = True
        self.ready.set()
        self._log.say(f"{self.child.name} is ready{again} ({time.monotonic() - started:.1f} s)")

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for in _spawn
        rest = b""
        while chunk := await process.stdout.read(_LONGEST_LINE_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._log.child(self.child.name, line.decode(errors="replace"))
        if rest:
            self._log.child(self.child.name, rest.decode(errors="replace"))

    def _sweep(self, record: ProcessRecord | None) -> None:
        """Kill what the ended child left in its process group, and forget the child."""
        if record is not None and record.run_id == self._run_id:
            for process in group_members(record):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self._record_file.unlink(missing_ok=True)
        self._ready_file.unlink(missing_ok=True)


def python_role(*arguments: str) -> tuple[str, ...]:
    """The command line that runs a role in this interpreter."""
    # -P: a folder named `backend` where the command was given is not ours.
    return (sys.executable, "-P", "-m", "backend.cli", *arguments)


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by {signal.Signals(-status).name}"
