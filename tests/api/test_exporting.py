"""The bytes of an export: flat memory, large files, and nothing that differs from the import."""

from __future__ import annotations

import hashlib
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from backend.api.exporting import FileChanged, archive, content_disposition
from backend.infra.object_store import ObjectStore
from backend.infra.settings import MIB, Settings
from backend.readmodels.exports import Export
from backend.readmodels.manifests import ManifestEntry


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.from_settings(Settings(_env_file=None, data_dir=tmp_path / "data"))


def large(folder: Path, size: int) -> ManifestEntry:
    """A file that lies where it was imported from."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(size)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(MIB):
            digest.update(chunk)
    return ManifestEntry(path.name, size, digest.hexdigest(), path.as_uri())


def test_memory_does_not_grow_with_the_model(store: ObjectStore, tmp_path: Path) -> None:
    entry = large(tmp_path / "roots", 256 * MIB)
    export = Export("m", "0.0.1", [entry], b"{}")
    tracemalloc.start()
    try:
        sent = sum(len(chunk) for chunk in archive(export, store, [tmp_path]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent > entry.size
    assert peak < 16 * MIB


def test_a_large_file_gets_the_form_for_large_files(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = large(tmp_path / "roots", 3 * MIB)
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", MIB)
    made = tmp_path / "made.zip"
    made.write_bytes(b"".join(archive(Export("m", "1.0.0", [entry], b"{}"), store, [tmp_path])))
    monkeypatch.undo()
    with zipfile.ZipFile(made) as found:
        assert found.testzip() is None
        assert found.getinfo(entry.path).file_size == entry.size
        assert found.getinfo(entry.path).extract_version == 45


def test_a_file_that_changed_breaks_the_export_off(store: ObjectStore, tmp_path: Path) -> None:
    entry = large(tmp_path / "roots", MIB)
    (tmp_path / "roots" / entry.path).write_bytes(b"x" * MIB)
    with pytest.raises(FileChanged, match=entry.path):
        list(archive(Export("m", "0.0.1", [entry], b"{}"), store, [tmp_path]))


def test_the_same_export_is_the_same_file(store: ObjectStore, tmp_path: Path) -> None:
    export = Export("m", "0.0.1", [large(tmp_path / "roots", MIB)], b"{}")
    first, second = (b"".join(archive(export, store, [tmp_path])) for _ in range(2))
    assert first == second


def test_names_in_any_script_are_kept() -> None:
    header = content_disposition("小模型-7B")
    assert header == (
        "attachment; filename=\"___-7B.zip\"; filename*=UTF-8''%E5%B0%8F%E6%A8%A1%E5%9E%8B-7B.zip"
    )
