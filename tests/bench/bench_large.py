"""An import of many gigabytes through the whole platform: speed, and memory of every process (G10).

    python -m tests.bench.bench_large [--gib 10] [--json FILE]

Real: `loggia up` with every role, the upload over HTTP, the import, every file synced. The archive
is a tar made while it is sent, of random bytes. Needs twice its size on the disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path

from tests.rig.large_import import MIB, import_large
from tests.rig.platform import RunningPlatform

GIB = 1 << 30
SPARE = 5 * GIB


def main() -> None:
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=int, default=10)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 2 * arguments.gib * GIB + SPARE:
        parser.error(f"only {free // GIB} GiB are free; choose fewer with --gib, or set TMPDIR")
    platform = RunningPlatform()
    try:
        platform.start()
        done = import_large(platform, arguments.gib * GIB, seconds=200 * arguments.gib)
    finally:
        platform.remove()
    figures = {
        **dataclasses.asdict(done),
        "load_average": os.getloadavg()[0],
        "upload_mib_s": round(done.bytes / MIB / done.upload_seconds),
        "import_mib_s": round(done.bytes / MIB / done.import_seconds),
        "G10 largest process in MiB, goal <= 300": max(done.peaks.values()),
        "G10 staged bytes / largest member, goal <= 1.1": round(done.most_staged / done.bytes, 2),
    }
    for name, value in figures.items():
        print(f"{name:<50} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
