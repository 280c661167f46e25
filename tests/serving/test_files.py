"""A model's files as a directory, from a local store and from S3."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.infra.object_store import ObjectStore
from backend.infra.settings import Settings
from tests.rig.s3 import s3_store
from workers.serving.files import FilesUnavailable, ModelFiles

CONTENT = {"config.json": b"{}", "deep/model.safetensors": b"w" * 100_000}


@pytest.fixture
def local_store(tmp_path: Path) -> ObjectStore:
    url = (tmp_path / "objects").as_uri()
    return ObjectStore.from_settings(Settings(_env_file=None, object_store_url=url))


@pytest.fixture
def remote_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with s3_store() as server:
        for name, value in {
            "AWS_ACCESS_KEY_ID": server.key,
            "AWS_SECRET_ACCESS_KEY": server.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield ObjectStore.from_settings(
            Settings(
                _env_file=None,
                object_store_url=f"s3://{server.bucket}/loggia",
                object_store_endpoint=server.endpoint,
            )
        )


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    return found


def put(store: ObjectStore, content: dict[str, bytes], *, wrong: bytes | None = None) -> str:
    """Stores a manifest with its blobs; `wrong` is what lies under every digest instead."""
    listed = []
    for path, data in content.items():
        digest = hashlib.sha256(data).hexdigest()
        store.put(f"blobs/sha256/{digest[:2]}/{digest}", [data if wrong is None else wrong])
        listed.append({"path": path, "size": len(data), "sha256": digest})
    manifest = json.dumps({"files": listed}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    store.put(f"manifests/{digest}.json", [manifest])
    return digest


def nothing(done: int, total: int) -> None:
    """Progress that nobody watches."""


def test_every_file_is_in_its_place_and_progress_ends(store: ObjectStore, tmp_path: Path) -> None:
    files = ModelFiles(store, tmp_path / "files")
    seen: list[tuple[int, int]] = []
    folder = files.materialise(put(store, CONTENT), lambda *reading: seen.append(reading))
    assert {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    } == CONTENT
    total = sum(map(len, CONTENT.values()))
    assert seen[-1] == (total, total)


def test_revisions_of_one_version_share_the_directory(store: ObjectStore, tmp_path: Path) -> None:
    files = ModelFiles(store, tmp_path / "files")
    digest = put(store, CONTENT)
    first = files.materialise(digest, nothing)
    marker = first / "config.json"
    inode = marker.stat().st_ino
    assert files.materialise(digest, nothing) == first
    assert marker.stat().st_ino == inode


def test_a_directory_that_is_there_needs_the_object_store_no_more(
    store: ObjectStore, tmp_path: Path
) -> None:
    files = ModelFiles(store, tmp_path / "files")
    digest = put(store, CONTENT)
    first = files.materialise(digest, nothing)
    store.delete_tree("manifests")
    assert files.materialise(digest, nothing) == first


def test_local_files_take_no_second_copy(local_store: ObjectStore, tmp_path: Path) -> None:
    folder = ModelFiles(local_store, tmp_path / "files").materialise(
        put(local_store, CONTENT), nothing
    )
    assert (folder / "config.json").stat().st_nlink == 2


def test_altered_content_is_refused_and_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    files = ModelFiles(store, tmp_path / "files")
    digest = put(store, {"model.safetensors": b"weights"}, wrong=b"something else")
    with pytest.raises(FilesUnavailable, match=r"model\.safetensors"):
        files.materialise(digest, nothing)
    assert list((tmp_path / "files").iterdir()) == []


def test_a_missing_blob_is_named_with_a_remedy(store: ObjectStore, tmp_path: Path) -> None:
    digest = put(store, CONTENT)
    store.delete_tree("blobs")
    with pytest.raises(FilesUnavailable) as refused:
        ModelFiles(store, tmp_path / "files").materialise(digest, nothing)
    assert "no longer has" in refused.value.reason
    assert refused.value.remedy


@pytest.mark.parametrize("path", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_path_never_leads_outside(local_store: ObjectStore, tmp_path: Path, path: str) -> None:
    with pytest.raises(FilesUnavailable, match="unsafe path"):
        ModelFiles(local_store, tmp_path / "files").materialise(
            put(local_store, {path: b"x"}), nothing
        )
    assert not (tmp_path / "outside").exists()


def test_unused_directories_and_leftovers_go(local_store: ObjectStore, tmp_path: Path) -> None:
    files = ModelFiles(local_store, tmp_path / "files")
    used = files.materialise(put(local_store, CONTENT), nothing)
    files.materialise(put(local_store, {"config.json": b"[]"}), nothing)
    (tmp_path / "files" / ".half.1234").mkdir()
    files.remove_unused(lambda: {used.name})
    assert [entry.name for entry in (tmp_path / "files").iterdir()] == [used.name]


def test_a_directory_that_is_made_while_unused_ones_are_looked_for_stays(
    local_store: ObjectStore, tmp_path: Path
) -> None:
    files = ModelFiles(local_store, tmp_path / "files")
    files.materialise(put(local_store, CONTENT), nothing)
    digest = put(local_store, {"config.json": b"[]"})
    made: list[Path] = []

    def find_used() -> set[str]:
        made.append(files.materialise(digest, nothing))
        return set()

    files.remove_unused(find_used)
    assert list((tmp_path / "files").iterdir()) == made


def test_files_left_in_their_place_are_linked_while_they_are_what_was_imported(
    local_store: ObjectStore, tmp_path: Path
) -> None:
    roots = tmp_path / "roots"
    kept = roots / "tiny model" / "config.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"{}")
    row = {"path": "config.json", "size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    text = json.dumps({"files": [{**row, "location": kept.as_uri()}]}).encode()
    digest = hashlib.sha256(text).hexdigest()
    local_store.put(f"manifests/{digest}.json", [text])

    def directory(name: str, *roots: Path) -> Path:
        found = ModelFiles(local_store, tmp_path / name, roots)
        return found.materialise(digest, lambda done, total: None)

    assert (directory("a", roots) / "config.json").read_bytes() == b"{}"
    with pytest.raises(FilesUnavailable, match="can no longer be read"):
        directory("b")
    kept.write_bytes(b"[]")
    for name in ("a", "c"):  # also where the directory has been made before
        with pytest.raises(FilesUnavailable, match="has changed"):
            directory(name, roots)
    kept.unlink()
    with pytest.raises(FilesUnavailable) as gone:
        directory("d", roots)
    assert "LOGGIA_IMPORT_ROOTS" in gone.value.remedy
