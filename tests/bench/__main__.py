"""Runs every benchmark, each beside its yardsticks in the same run.

    python -m tests.bench [NAME...] [--out FOLDER]

Each benchmark is a module `bench_NAME` with a command line of its own, and writes its figures as
JSON. Nothing here judges: the figures are ratios to a yardstick, for people to read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every benchmark there is."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def main() -> int:
    """Runs the chosen benchmarks one after the other; the exit status says if all ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in arguments.names or names():
        print(f"\n== {name} (load average {os.getloadavg()[0]:.1f})", flush=True)
        command = [sys.executable, "-m", f"tests.bench.bench_{name}"]
        command += ["--json", str(arguments.out / f"{name}.json")]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"did not run to the end: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
