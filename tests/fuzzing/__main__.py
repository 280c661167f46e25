"""`python -m tests.fuzzing --minutes N [--target NAME ...] [--seed N]`: so long for each parser."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzzing.targets import TARGETS
from tests.fuzzing.worker import CASE_SECONDS, HEADER, SHARED_BYTES, keep


def _number_and_case(shared: Path) -> tuple[int, bytes]:
    raw = shared.read_bytes()
    number, length = HEADER.unpack_from(raw)
    return number, raw[HEADER.size : HEADER.size + length]


def fuzz(target: str, seconds: float, seed: int) -> bool:
    """Whether the parser held. A case that kills its process or stops it is kept, too."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(SHARED_BYTES)
        shared = Path(file.name)
        command = [sys.executable, "-m", "tests.fuzzing.worker"]
        with subprocess.Popen([*command, target, str(seed), str(seconds), str(shared)]) as child:
            last, since = -1, time.monotonic()
            while child.poll() is None:
                time.sleep(0.5)
                number = _number_and_case(shared)[0]
                if number != last:
                    last, since = number, time.monotonic()
                elif time.monotonic() - since > 12 * CASE_SECONDS:
                    child.kill()  # not even a signal reaches it
        if child.returncode in {0, 1}:
            return child.returncode == 0
        case = keep(target, _number_and_case(shared)[1])
        print(f"{target}: ended with {child.returncode}, kept as {case.name}")
        return False


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1, help="for each parser")
    parser.add_argument("--target", nargs="+", choices=sorted(TARGETS), default=sorted(TARGETS))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    held = [fuzz(target, asked.minutes * 60, asked.seed) for target in asked.target]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
