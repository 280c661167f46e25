"""One target's long run, in a process of its own: `__main__` starts it and watches it.

The case that runs stands in a shared file (its number, its length, its bytes), so that it
outlives a crash of the process.
"""

from __future__ import annotations

import gc
import mmap
import random
import re
import resource
import signal
import struct
import sys
import time
import traceback
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import psutil

from tests.fuzzing.mutations import MOST_BYTES, mutate
from tests.fuzzing.targets import CORPUS, REFUSALS, TARGETS, Target

HEADER = struct.Struct("<QI")
SHARED_BYTES = HEADER.size + MOST_BYTES
CASE_SECONDS = 5
_ADDRESS_SPACE = 3 << 30
# What one case may take at once, and what all of them may leave behind.
_PEAK_BYTES = 200 << 20
_GROWTH_BYTES = 48 << 20
_WARM_CASES = 5_000
_MOST_KEPT = 2_000
_NAMES = re.compile(r"'[^']*'|\d+")


class Hang(Exception):
    """A case took too long."""


def keep(target: str, data: bytes) -> Path:
    """Puts a case that broke a parser into the corpus."""
    path = CORPUS / target / f"found-{sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


class Run:
    """Mutates, runs, and follows whatever answer is new."""

    def __init__(self, target: Target, seed: int, shared: mmap.mmap) -> None:
        self._target = target
        self._random = random.Random(seed)
        self._shared = shared
        self._pool = target.cases()
        self._seen: set[str] = set()
        self._process = psutil.Process()
        self.cases = 0
        self.faults: set[str] = set()

    def go_on(self, until: float) -> None:
        """Runs until then, in monotonic seconds."""
        warm = None
        while time.monotonic() < until:
            self._one(mutate(self._random.choice(self._pool), self._pool, self._random))
            if self.cases == _WARM_CASES:
                gc.collect()
                warm = self._process.memory_info().rss
        gc.collect()
        grown = self._process.memory_info().rss - (warm or 0)
        if warm is not None and grown > _GROWTH_BYTES:
            self._report(f"memory grew by {grown >> 20} MiB over {self.cases} cases", None)

    def _one(self, data: bytes) -> None:
        self.cases += 1
        self._shared[: HEADER.size + len(data)] = HEADER.pack(self.cases, len(data)) + data
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(CASE_SECONDS)
        try:
            self._target.run(data)
            answer = "read"
        except REFUSALS as refusal:
            answer = f"{getattr(refusal, 'code', '')} {_NAMES.sub('', str(refusal))}"
        except Hang:
            answer = f"not done within {CASE_SECONDS} seconds"
            if answer not in self.faults:
                self._report(answer, data)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            answer = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
            if answer not in self.faults:
                self._report(answer, data)
                traceback.print_exc()
        finally:
            signal.alarm(0)
        taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) << 10
        if taken > _PEAK_BYTES:
            self._report(f"one case took {taken >> 20} MiB", data)
        if answer not in self._seen and len(self._pool) < _MOST_KEPT:
            self._seen.add(answer)
            self._pool.append(data)

    def _report(self, fault: str, data: bytes | None) -> None:
        self.faults.add(fault)
        where = f", kept as {keep(self._target.name, data).name}" if data is not None else ""
        print(f"{self._target.name}: {fault}{where}", flush=True)


def _hang(*_: object) -> NoReturn:
    raise Hang


def main(name: str, seed: int, seconds: float, shared: Path) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, _hang)
    with shared.open("r+b") as file, mmap.mmap(file.fileno(), SHARED_BYTES) as view:
        run = Run(TARGETS[name], seed, view)
        run.go_on(time.monotonic() + seconds)
    print(f"{name}: {run.cases} cases, {len(run.faults)} faults", flush=True)
    return 1 if run.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])))
