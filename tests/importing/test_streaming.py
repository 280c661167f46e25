"""An import reads each byte once, and reads and hashes while it stores."""

from __future__ import annotations

import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.infra.object_store import ObjectStore
from backend.infra.settings import Settings
from backend.sources.path import open_below
from tests.builders.models import tiny_llama, with_spares, write_archive
from tests.importing.workplace import Site, open_site
from workers.importing.sources import directory
from workers.importing.storing import BlobWriter

MIB = 1 << 20
CHUNK = bytes(1 << 18)


class CountedFile:
    """Counts what is read of a file."""

    def __init__(self, file: Any, count: Counter[str], folder: str) -> None:
        self._file = file
        self._count = count
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> CountedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        found: bytes = self._file.read(size)
        self._count[self._folder] += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        found: int = self._file.readinto(buffer)
        self._count[self._folder] += found
        return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The bytes that were read of the store's files, by folder."""
    count: Counter[str] = Counter()
    original = ObjectStore.open

    def counted(store: ObjectStore, path: str) -> Any:
        return CountedFile(original(store, path), count, path.split("/")[0])

    monkeypatch.setattr(ObjectStore, "open", counted)
    return count


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("many", [False, True])
def test_each_byte_of_an_archive_is_read_once(
    site: Site, tmp_path: Path, read: Counter[str], compression: int, many: bool
) -> None:
    files = with_spares(3, 8)
    if many:
        files = tiny_llama() | {f"part-{n}.txt": bytes([n % 251]) * 20_000 for n in range(1000)}
    archive = write_archive(tmp_path / "m.zip", files, compression=compression)
    model_id = site.submit(archive)
    site.run_all()
    assert site.model(model_id).state == "ready_to_deploy"
    # The table of contents stands at the end of an archive and is read first, with what is
    # before it in the same piece.
    assert read["uploads"] <= archive.stat().st_size + 2 * MIB
    # Validation reads headers and small files; their digests were taken on the way.
    assert read["blobs"] <= 2 * MIB


def test_each_byte_of_a_directory_is_read_once(
    tmp_path: Path, postgres: str, read: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        directory,
        "open_below",
        lambda path, roots: CountedFile(open_below(path, roots), read, "outside"),
    )
    files = with_spares(2, 8)
    source = tmp_path / "models" / "one"
    source.mkdir(parents=True)
    for name, data in files.items():
        (source / name).write_bytes(data)
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        import_roots=str(tmp_path / "models"),
    )
    with open_site(settings) as site:
        model_id = site.request_from_path(source)
        site.run_all()
        assert site.model(model_id).state == "ready_to_deploy"
    assert read["outside"] == sum(map(len, files.values()))
    assert read["blobs"] <= 2 * MIB


class SlowDisk:
    """A staged file whose first write, or whose end, waits for something."""

    def __init__(self, staged: Any, waits_in: str, until: threading.Event) -> None:
        self._staged = staged
        self._waits_in = waits_in
        self._until = until
        self.came = False

    def __getattr__(self, name: str) -> Any:
        if name == self._waits_in and not self.came:
            self.came = True
            assert self._until.wait(20), "nothing was read while the disk was busy"
        return getattr(self._staged, name)


@pytest.mark.parametrize("busy", ["write", "commit"])
def test_reading_and_hashing_go_on_while_the_disk_is_busy(
    site: Site, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    read_on = threading.Event()
    original = ObjectStore.stage
    monkeypatch.setattr(
        ObjectStore,
        "stage",
        lambda store, folder: SlowDisk(original(store, folder), busy, read_on),
    )

    def chunks(after: int) -> Iterator[bytes]:
        for number in range(40):
            if number == after:
                # All chunks before this one have been hashed by now.
                read_on.set()
            yield CHUNK + bytes([number])

    with BlobWriter(site.store, "staging/x", lambda _: None) as writer:
        # A file that ends a batch, so that it is stored while the next one is read.
        writer.add("first", chunks(30 if busy == "write" else 41))
        writer.add("second", chunks(30))
    assert len(site.objects("blobs")) == 1
