"""The import worker beside plain extraction and a bare header parse, all in one run.

    python -m tests.bench.bench_importing [--rounds 3] [--mib 1024] [--json FILE]

Real: the worker as a process of its own, its database, its object store with every file synced,
validation and the commands at the end. The yardstick extracts the same zip archive and hashes it
in one pass, without syncing and without a database. Not measured here: the upload.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from backend.application.commands import CommandContext
from backend.domain.model import ImportRequest
from backend.infra.settings import Settings
from backend.infra.uploads import Part, part_path
from tests.builders.models import tiny_llama
from tests.importing.workplace import Site, open_site
from tests.rig.servers import PostgresServer
from tests.rig.waiting import eventually
from workers.importing.safetensors_header import read_header

MIB = 1 << 20
BLOCK = 16 * MIB
HEADER_TENSORS = 10_000
HEADER_FILES = 20


def safetensors_of(size: int) -> Iterator[bytes]:
    """A valid file with one tensor of random bytes, piece by piece."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    yield struct.pack("<Q", len(header)) + header
    block = os.urandom(min(BLOCK, size))
    for at in range(0, size, len(block)):
        # Turned by one byte each time, so that no two pieces are alike.
        turn = (at // len(block)) % len(block)
        yield (block[turn:] + block[:turn])[: size - at]


def write_case(path: Path, *, files: int, size: int, compression: int) -> int:
    """A tiny model with many more weights beside it; returns the bytes of content."""
    total = 0
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, data in tiny_llama().items():
            archive.writestr(name, data)
            total += len(data)
        for number in range(files):
            with archive.open(f"spare-{number}.safetensors", "w", force_zip64=True) as member:
                for piece in safetensors_of(size):
                    member.write(piece)
                    total += len(piece)
    return total


def extract_and_hash(archive: Path, folder: Path) -> float:
    """Seconds that the yardstick takes."""
    out = folder / "yardstick"
    begin = time.perf_counter()
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            digest = hashlib.sha256()
            with file.open(member) as source, out.open("wb", buffering=0) as target:
                while piece := source.read(4 * MIB):
                    target.write(piece)
                    digest.update(piece)
    seconds = time.perf_counter() - begin
    out.unlink()
    return seconds


@contextmanager
def worker(site: Site) -> Iterator[int]:
    """The worker's process; gives its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.importing.worker_process"],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("LOGGIA_")},
            "LOGGIA_DATA_DIR": str(site.settings.data_dir),
            "LOGGIA_POSTGRES_DSN": site.settings.dsn,
            "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        },
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def submit(site: Site, archive: Path) -> UUID:
    """An upload of one part, linked into the store instead of copied."""
    upload_id, size = uuid4(), archive.stat().st_size
    site.uploads.create(
        upload_id, owner="bench", file_name=archive.name, size_bytes=size, expiry_hours=1
    )
    part = site.store.local_path(part_path(upload_id, 0))
    assert part is not None
    part.parent.mkdir(parents=True)
    part.hardlink_to(archive)
    site.uploads.add_part(upload_id, Part(0, size), expiry_hours=1)
    return site.models.request_import(
        CommandContext("bench"),
        ImportRequest(file_name=f"{uuid4().hex}.zip", upload_id=upload_id, size_bytes=size),
        complete=True,
    ).id


def import_once(site: Site, archive: Path) -> float:
    """Seconds from the job's appearance to the recorded result."""
    model_id = submit(site, archive)
    begin = time.perf_counter()
    site.enqueue(model_id)
    eventually(lambda: site.job(model_id)["state"] == "done", "imported", seconds=600, every=0.005)
    seconds = time.perf_counter() - begin
    site.delete(model_id)
    eventually(lambda: site.residue() == {}, "removed again", seconds=60)
    return seconds


def peak_mib(process_id: int) -> float:
    """The most memory that the process ever had resident."""
    text = Path(f"/proc/{process_id}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


def measure_imports(rounds: int, mib: int) -> dict[str, object]:
    """Each case in turn, yardstick and subject alternating."""
    cases = {
        "one file, stored": {"files": 1, "size": mib * MIB, "compression": zipfile.ZIP_STORED},
        "8 shards, stored": {"files": 8, "size": mib * MIB // 8, "compression": zipfile.ZIP_STORED},
        "2000 files, stored": {
            "files": 2000, "size": mib * MIB // 8000, "compression": zipfile.ZIP_STORED,
        },
        "8 shards, deflated": {
            "files": 8, "size": mib * MIB // 32, "compression": zipfile.ZIP_DEFLATED,
        },
    }  # fmt: skip
    results: dict[str, object] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loggia-bench-")))
        server = PostgresServer()
        stack.callback(server.remove)
        server.start()
        settings = Settings(
            _env_file=None,
            data_dir=folder / "data",
            postgres_dsn=server.database(),
            kafka_bootstrap_servers="127.0.0.1:1",
        )
        site = stack.enter_context(open_site(settings))
        process_id = stack.enter_context(worker(site))
        for name, case in cases.items():
            archive = folder / "case.zip"
            total = write_case(archive, **case)
            pairs = [
                (extract_and_hash(archive, folder), import_once(site, archive))
                for _ in range(rounds)
            ]
            results[name] = {
                "mib": round(total / MIB),
                "yardstick_mib_s": round(total / MIB / statistics.median(y for y, _ in pairs)),
                "import_mib_s": round(total / MIB / statistics.median(i for _, i in pairs)),
                "ratio": round(statistics.median(y / i for y, i in pairs), 2),
                "ratios": [round(y / i, 2) for y, i in pairs],
                "worker_peak_mib": round(peak_mib(process_id)),
            }
            print(name, results[name], f"load {os.getloadavg()[0]:.1f}", flush=True)
            archive.unlink()
        shutil.rmtree(folder / "data", ignore_errors=True)
    return results


def milliseconds(work: Callable[[], object]) -> float:
    """The mean over some repetitions."""
    begin = time.perf_counter()
    for _ in range(HEADER_FILES):
        work()
    return (time.perf_counter() - begin) / HEADER_FILES * 1000


def measure_headers(rounds: int) -> dict[str, object]:
    """The complete check of a header beside parsing it and looking at nothing but order."""
    header = json.dumps(
        {
            f"model.layers.{i}.w": {
                "dtype": "BF16", "shape": [1024], "data_offsets": [i * 2048, (i + 1) * 2048],
            }
            for i in range(HEADER_TENSORS)
        }
    ).encode()  # fmt: skip
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        path = Path(file.name)
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + HEADER_TENSORS * 2048)
        file.flush()

        def bare() -> None:
            with path.open("rb") as source:
                length = struct.unpack("<Q", source.read(8))[0]
                end = 0
                for tensor in sorted(
                    json.loads(source.read(length)).values(), key=lambda t: t["data_offsets"]
                ):
                    assert tensor["data_offsets"][0] == end
                    end = tensor["data_offsets"][1]

        def checked() -> None:
            with path.open("rb") as source:
                read_header(source, path.stat().st_size, "bench")

        pairs = [(milliseconds(bare), milliseconds(checked)) for _ in range(rounds)]
    result = {
        "bare_ms": round(statistics.median(b for b, _ in pairs), 1),
        "checked_ms": round(statistics.median(c for _, c in pairs), 1),
        "times_bare": round(statistics.median(c / b for b, c in pairs), 2),
    }
    print(f"header of {HEADER_TENSORS} tensors", result, flush=True)
    return result


def main() -> None:
    """Measures and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = {
        "load_average": os.getloadavg()[0],
        "headers": measure_headers(arguments.rounds),
        "imports": measure_imports(arguments.rounds, arguments.mib),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
