"""Virtual environments of engines, made on first need and kept in the user's cache.

An environment counts only once its stamp is written, which happens last: whatever a killed
installation left behind is cleared by the next one. One maker at a time; the others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec

from backend.domain.engine_options import Option, Quantization
from backend.infra.processes import death_signal
from workers.serving.engine import Environment, EnvironmentSpec

Report = Callable[[int, str], None]
Abandoned = Callable[[], bool]

_STAMP = "loggia.json"
_TAIL_LINES = 40
_POLL_SECONDS = 0.5
# A step of an installation that says nothing for this long has hung.
_SILENCE_SECONDS = 1800
_COLLECTED_PERCENT = 70
_REMEDIES = (
    (
        "No space left on device",
        "Free disk space in LOGGIA_CACHE_DIR and in the folder for temporary files, then redeploy.",
    ),
    (
        "No matching distribution",
        (
            "Name an index that has it (for the CPU: with CPU builds of torch) in "
            "LOGGIA_ENGINE_PIP_ARGUMENTS, restart the deploy worker, then redeploy."
        ),
    ),
    (
        "ResolutionImpossible",
        "Name an index with fitting builds in LOGGIA_ENGINE_PIP_ARGUMENTS, then redeploy.",
    ),
)
_DEFAULT_REMEDY = (
    "Check the network and LOGGIA_ENGINE_PIP_ARGUMENTS; `loggia doctor` tells more. Then redeploy."
)


class EnvironmentFailed(Exception):
    """An environment could not be made; `log_tail` holds the installer's last lines."""

    def __init__(self, reason: str, *, remedy: str, log_tail: list[str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.log_tail = log_tail


class Abandonment(Exception):
    """The work was given up because its result is no longer wanted."""


class _Stamp(msgspec.Struct):
    name: str
    version: str
    options: dict[str, Option] = {}
    quantizations: dict[str, Quantization] = {}
    # Of the probe that said these; where it is another's, the engine is asked again.
    probe_sha256: str = ""


class _Facts(msgspec.Struct):
    options: dict[str, Option] = {}
    quantizations: dict[str, Quantization] = {}


class EngineEnvironments:
    """The environments below one cache folder."""

    def __init__(self, cache: Path, *, pip_arguments: str = "") -> None:
        self._root = cache / "engines"
        self._pip_arguments = shlex.split(pip_arguments)

    def find(self, spec: EnvironmentSpec) -> Environment | None:
        """The environment if it is complete; what it said may be an older probe's."""
        stamp = self._stamp(spec)
        return self._environment(spec, stamp) if stamp is not None else None

    def _stamp(self, spec: EnvironmentSpec) -> _Stamp | None:
        folder = self._root / spec.label
        try:
            stamp = msgspec.json.decode((folder / _STAMP).read_bytes(), type=_Stamp)
        except (OSError, msgspec.MsgspecError):
            return None
        known = (stamp.name, stamp.version) == (spec.name, spec.version)
        return stamp if known and (folder / "bin" / "python").exists() else None

    def _environment(self, spec: EnvironmentSpec, stamp: _Stamp) -> Environment:
        python = self._root / spec.label / "bin" / "python"
        return Environment(python, stamp.version, stamp.options, stamp.quantizations)

    def installed(self) -> list[dict[str, str]]:
        """Name and version of what is installed completely, each once."""
        found = set()
        for path in self._root.glob(f"*/{_STAMP}"):
            with suppress(OSError, msgspec.MsgspecError):
                stamp = msgspec.json.decode(path.read_bytes(), type=_Stamp)
                found.add((stamp.name, stamp.version))
        return [{"name": name, "version": version} for name, version in sorted(found)]

    def ensure(self, spec: EnvironmentSpec, report: Report, abandoned: Abandoned) -> Environment:
        """The environment, made now if need be; `report` gets percent and a line.

        Raises `EnvironmentFailed` and `Abandonment`.
        """
        if (found := self._fresh(spec)) is not None:
            return found
        self._root.mkdir(parents=True, exist_ok=True)
        with self._locked(spec, report, abandoned) as lock:
            if (found := self._fresh(spec)) is not None:
                return found
            run = _Installation(spec, lock, report, abandoned)
            if self.find(spec) is None:
                self._make(spec, run, report)
            self._ask(spec, run, report)
        found = self.find(spec)
        if found is None:
            raise EnvironmentFailed(
                f"{spec.label} vanished while it was made.",
                remedy="See whether something clears LOGGIA_CACHE_DIR, then redeploy.",
                log_tail=[],
            )
        report(100, f"{spec.label} is ready")
        return found

    def _fresh(self, spec: EnvironmentSpec) -> Environment | None:
        stamp = self._stamp(spec)
        if stamp is None or stamp.probe_sha256 != _digest(spec.probe):
            return None
        return self._environment(spec, stamp)

    @contextmanager
    def _locked(
        self, spec: EnvironmentSpec, report: Report, abandoned: Abandoned
    ) -> Iterator[IO[str]]:
        with (self._root / f"{spec.label}.lock").open("a") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if abandoned():
                        raise Abandonment from None
                    report(0, f"waiting for another process that installs {spec.label}")
                    time.sleep(_POLL_SECONDS)
            yield lock

    def _make(self, spec: EnvironmentSpec, run: _Installation, report: Report) -> None:
        folder = self._root / spec.label
        python = str(folder / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        report(0, f"making the environment {spec.label}")
        # Cleared without asking what is in it: without a stamp it is somebody's half work.
        run([sys.executable, "-m", "venv", "--clear", str(folder)])
        run([*pip, "install", "--upgrade", "pip", *self._pip_arguments])
        run([*pip, "install", *spec.requirements, *self._pip_arguments])
        if spec.removals:
            run([*pip, "uninstall", "--yes", *spec.removals])

    def _ask(self, spec: EnvironmentSpec, run: _Installation, report: Report) -> None:
        """Proves the installation and notes what the engine says about itself."""
        folder = self._root / spec.label
        report(95, f"checking {spec.label}")
        output = run([str(folder / "bin" / "python"), "-c", spec.probe])
        try:
            facts = msgspec.json.decode(output[-1], type=_Facts)
        except (IndexError, msgspec.MsgspecError) as error:
            raise EnvironmentFailed(
                f"{spec.label} was installed but does not describe its options.",
                remedy="Remove its folder from LOGGIA_CACHE_DIR, then redeploy.",
                log_tail=output,
            ) from error
        stamp = _Stamp(
            spec.name, spec.version, facts.options, facts.quantizations, _digest(spec.probe)
        )
        staged = folder / f".{_STAMP}"
        staged.write_bytes(msgspec.json.encode(stamp))
        staged.replace(folder / _STAMP)


def _digest(probe: str) -> str:
    return hashlib.sha256(probe.encode()).hexdigest()


class _Installation:
    """Runs the steps of one installation and turns their output into progress."""

    def __init__(
        self, spec: EnvironmentSpec, lock: IO[str], report: Report, abandoned: Abandoned
    ) -> None:
        self._spec = spec
        self._lock = lock
        self._report = report
        self._abandoned = abandoned
        self._collected = 0

    def __call__(self, arguments: list[str]) -> list[str]:
        """Runs one step; returns its last lines."""
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
            start_new_session=True,
            # Should we die, the step dies with us; until it has, it keeps the lock.
            preexec_fn=death_signal(signal.SIGKILL),
            pass_fds=(self._lock.fileno(),),
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        try:
            self._follow(lines, tail)
            status = process.wait(timeout=60)
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
        if status != 0:
            raise _failure(self._spec, arguments, status, list(tail))
        return list(tail)

    def _follow(self, lines: queue.Queue[str | None], tail: deque[str]) -> None:
        silent_since = time.monotonic()
        while True:
            try:
                line = lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._abandoned():
                    raise Abandonment from None
                if time.monotonic() - silent_since > _SILENCE_SECONDS:
                    raise EnvironmentFailed(
                        f"Installing {self._spec.label} said nothing for "
                        f"{_SILENCE_SECONDS // 60} minutes.",
                        remedy=_DEFAULT_REMEDY,
                        log_tail=list(tail),
                    ) from None
                continue
            if line is None:
                return
            silent_since = time.monotonic()
            if line:
                tail.append(line)
                self._progress(line)

    def _progress(self, line: str) -> None:
        words = line.strip()
        if words.startswith("Collecting "):
            self._collected += 1
        elif words.startswith("Installing collected packages"):
            self._report(75, f"unpacking {self._spec.label}")
            return
        elif words.startswith("Successfully installed"):
            self._report(90, f"{self._spec.label} is installed")
            return
        elif not words.startswith("Downloading "):
            return
        share = min(1.0, self._collected / self._spec.package_count)
        self._report(round(_COLLECTED_PERCENT * share), words[:200])


def _pump(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    with suppress(ValueError):  # closed while it was read
        for line in stream or ():
            lines.put(line.rstrip())
    lines.put(None)


def _failure(
    spec: EnvironmentSpec, arguments: list[str], status: int, tail: list[str]
) -> EnvironmentFailed:
    text = "\n".join(tail)
    remedy = next((words for sign, words in _REMEDIES if sign in text), _DEFAULT_REMEDY)
    step = "pip" if "pip" in arguments else "Python"
    return EnvironmentFailed(
        f"{step} could not install {spec.label} (exit status {status}).",
        remedy=remedy,
        log_tail=tail,
    )
