"""Many gigabytes through the whole platform, and the memory of each process meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.builders.models import tiny_llama
from tests.rig.client import Administrator
from tests.rig.platform import RunningPlatform

MIB = 1 << 20
BLOCK = 16 * MIB
_LOOK_SECONDS = 0.1


def safetensors_of(size: int) -> Iterator[bytes]:
    """A valid file with one tensor of random bytes, piece by piece; nothing in it repeats that a
    compressing or a deduplicating disk could save."""
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    yield struct.pack("<Q", len(header)) + header
    block = os.urandom(min(BLOCK, size))
    for at in range(0, size, len(block)):
        # Turned by one byte each time, so that no two pieces are alike.
        turn = (at // len(block)) % len(block)
        yield (block[turn:] + block[:turn])[: size - at]


class LargeArchive:
    """A tar archive of a tiny model with one huge file of weights beside it, made while it is
    sent. `size` is the archive's in bytes, `digest` the huge file's when all has been read."""

    def __init__(self, weights: int) -> None:
        self._weights = weights
        self._small = _tar_of(tiny_llama())
        header = len(next(safetensors_of(weights)))
        self._member = tarfile.TarInfo("spare.safetensors")
        self._member.size = header + weights
        self._padding = -self._member.size % tarfile.BLOCKSIZE
        head = self._member.tobuf(tarfile.PAX_FORMAT)
        self.size = len(self._small) + len(head) + self._member.size + self._padding + 1024
        self.digest = hashlib.sha256()

    def pieces(self) -> Iterator[bytes]:
        """The archive's bytes; to be read once."""
        yield self._small
        yield self._member.tobuf(tarfile.PAX_FORMAT)
        for piece in safetensors_of(self._weights):
            self.digest.update(piece)
            yield piece
        yield bytes(self._padding + 1024)


def _tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        end = archive.offset
    return buffer.getvalue()[:end]


class MemoryWatch:
    """The most memory that each process of a platform has resident, in MiB, by what it is.

    `most_staged` is the most that the import kept beside the store's files, in bytes.
    """

    def __init__(self, platform: RunningPlatform) -> None:
        assert platform.process is not None
        self._root = psutil.Process(platform.process.pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._staging = platform.data_dir / "objects" / "staging"
        self.peaks: dict[str, int] = {}
        self.most_staged = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            for process in [self._root, *self._root.children(recursive=True)]:
                try:
                    name, resident = _name(process), process.memory_info().rss // MIB
                except psutil.Error:
                    continue  # it has just ended
                self.peaks[name] = max(self.peaks.get(name, 0), resident)
            self.most_staged = max(self.most_staged, _size_of(self._staging))


def _size_of(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def _name(process: psutil.Process) -> str:
    """`api`, `work import`, ... for a role, else the program's name."""
    words = process.cmdline()
    if "backend.cli" in words:
        return " ".join(words[words.index("backend.cli") + 1 :])
    return process.name()


@dataclass(frozen=True)
class LargeImport:
    """How a large import went; MiB by process."""

    bytes: int
    upload_seconds: float
    import_seconds: float
    most_staged: int
    peaks: dict[str, int]


def import_large(platform: RunningPlatform, weights: int, *, seconds: float) -> LargeImport:
    """Sends the archive over HTTP and waits until the model is ready, for so long at most."""
    admin = Administrator.of(platform)
    admin.http.timeout = seconds
    archive = LargeArchive(weights)
    with MemoryWatch(platform) as watch:
        upload_id = admin.begin_upload(f"large-{weights}.tar", archive.size)
        body = {"source": "upload", "kind": "base", "uploadId": upload_id}
        model_id = str(admin.command("POST", "/api/imports", body)["id"])
        began = time.perf_counter()
        headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(archive.size),
        }
        answer = admin.http.patch(
            f"/api/uploads/{upload_id}", content=archive.pieces(), headers=admin.headers(**headers)
        )
        assert answer.status_code == 204, answer.text
        sent = time.perf_counter()
        model = admin.wait_for_model(model_id, "ready_to_deploy", "import_failed", seconds=seconds)
        done = time.perf_counter()
    assert model["state"] == "ready_to_deploy", model["failure"]
    digest = archive.digest.hexdigest()
    blob = platform.data_dir / "objects" / "blobs" / "sha256" / digest[:2] / digest
    assert blob.stat().st_size > weights
    admin.command("DELETE", f"/api/models/{model_id}")
    return LargeImport(archive.size, sent - began, done - sent, watch.most_staged, watch.peaks)
