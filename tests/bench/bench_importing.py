"""The import worker beside plain copying, extraction and a bare header parse, all in one run.

    python -m tests.bench.bench_importing [--rounds 3] [--mib 1024] [--json FILE]

Real: the worker as a process of its own, its database, its object store with every file synced,
validation and the commands at the end. The yardstick of an archive extracts and hashes it in one
pass, without syncing (G8); that of plain files hashes, writes and syncs each in one pass (G9).
Beside both, `cp` and then `sha256sum` of the same bytes. Not measured here: the upload.
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
from tests.rig.large_import import MIB, safetensors_of
from tests.rig.servers import PostgresServer
from tests.rig.waiting import eventually
from workers.importing.safetensors_header import read_header

HEADER_TENSORS = 10_000
HEADER_FILES = 20


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


def write_plain_case(folder: Path, *, files: int, size: int) -> int:
    """The same as plain files in a directory."""
    folder.mkdir()
    for name, data in tiny_llama().items():
        (folder / name).write_bytes(data)
    for number in range(files):
        with (folder / f"spare-{number}.safetensors").open("wb") as file:
            for piece in safetensors_of(size):
                file.write(piece)
    return sum(path.stat().st_size for path in folder.iterdir())


def hash_write_and_sync(source: Path, folder: Path) -> float:
    """Seconds that the yardstick takes for every file of a directory."""
    out = folder / "yardstick"
    out.mkdir()
    begin = time.perf_counter()
    for path in source.iterdir():
        digest = hashlib.sha256()
        with path.open("rb") as file, (out / path.name).open("wb", buffering=0) as target:
            while piece := file.read(4 * MIB):
                target.write(piece)
                digest.update(piece)
            os.fsync(target.fileno())
    seconds = time.perf_counter() - begin
    shutil.rmtree(out)
    return seconds


def copy_then_hash(source: Path, folder: Path) -> float:
    """Seconds of `cp` and then `sha256sum` over what lies at a path."""
    out = folder / "copy"
    begin = time.perf_counter()
    subprocess.run(["cp", "-r", str(source), str(out)], check=True)
    files = [str(p) for p in out.iterdir()] if out.is_dir() else [str(out)]
    subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    shutil.rmtree(out) if out.is_dir() else out.unlink()
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
            "LOGGIA_IMPORT_ROOTS": site.settings.import_roots,
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


def import_once(site: Site, source: Path) -> float:
    """Seconds from the job's appearance to the recorded result."""
    begin = time.perf_counter()
    if source.is_dir():
        model_id = site.request_from_path(source)
    else:
        model_id = submit(site, source)
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
    cases: dict[str, dict[str, int]] = {
        "one plain file": {"files": 1, "size": mib * MIB},
        "2000 plain files": {"files": 2000, "size": mib * MIB // 8000},
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
            import_roots=str(folder),
        )
        site = stack.enter_context(open_site(settings))
        process_id = stack.enter_context(worker(site))
        for name, case in cases.items():
            plain = "compression" not in case
            source = folder / ("case" if plain else "case.zip")
            total = write_plain_case(source, **case) if plain else write_case(source, **case)
            yardstick = hash_write_and_sync if plain else extract_and_hash
            rows = [
                (
                    yardstick(source, folder),
                    copy_then_hash(source, folder),
                    import_once(site, source),
                )
                for _ in range(rounds)
            ]
            results[name] = {
                "mib": round(total / MIB),
                "yardstick_mib_s": speed(total, [row[0] for row in rows]),
                "cp_sha256sum_mib_s": speed(total, [row[1] for row in rows]),
                "import_mib_s": speed(total, [row[2] for row in rows]),
                "ratio": round(statistics.median(row[0] / row[2] for row in rows), 2),
                "ratio_to_cp_sha256sum": round(statistics.median(r[1] / r[2] for r in rows), 2),
                "ratios": [round(row[0] / row[2], 2) for row in rows],
                "worker_peak_mib": round(peak_mib(process_id)),
            }
            print(name, results[name], f"load {os.getloadavg()[0]:.1f}", flush=True)
            shutil.rmtree(source) if plain else source.unlink()
        shutil.rmtree(folder / "data", ignore_errors=True)
    return results


def speed(size: int, seconds: list[float]) -> int:
    """MiB a second in the median round."""
    return round(size / MIB / statistics.median(seconds))


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
    result: dict[str, object] = {
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
