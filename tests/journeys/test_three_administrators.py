"""Three administrators import at once: nothing is lost, mixed up or left behind."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.builders.models import tiny_llama
from tests.journeys.archives import tiny_llama_archive
from tests.rig.client import Administrator
from tests.rig.command_line import loggia
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually

PASSWORD = "three of a kind beat two pairs"
BLOCK = 1 << 20


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[RunningPlatform]:
    """With a folder of its own for temporary files, and one to import from."""
    for folder in ("temporary", "models"):
        (tmp_path / folder).mkdir()
    running = RunningPlatform(
        {
            "TMPDIR": str(tmp_path / "temporary"),
            "LOGGIA_IMPORT_ROOTS": str(tmp_path / "models"),
        }
    )
    try:
        running.start()
        yield running
    finally:
        running.remove()


class Remains:
    """What a platform has on its disk and in its tables."""

    def __init__(self, platform: RunningPlatform, temporary: Path) -> None:
        self._objects = platform.data_dir / "objects"
        self._temporary = temporary
        password = (platform.data_dir / "postgres.password").read_text().strip()
        port = platform.environment["LOGGIA_POSTGRES_PORT"]
        self._dsn = f"postgresql://loggia:{password}@127.0.0.1:{port}/loggia"

    def objects(self, folder: str) -> list[str]:
        return sorted(p.name for p in (self._objects / folder).rglob("*") if p.is_file())

    def temporary(self) -> set[str]:
        return {str(path.relative_to(self._temporary)) for path in self._temporary.rglob("*")}

    def rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self._dsn, row_factory=dict_row) as connection:
            return connection.execute(query.encode()).fetchall()


def unpacked(archive: bytes) -> dict[str, str]:
    """Every file of an archive with its digest."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: hashlib.sha256(file.read(name)).hexdigest() for name in file.namelist()}


def begin(admin: Administrator, file_name: str, archive: bytes) -> tuple[str, str]:
    upload_id = admin.begin_upload(file_name, len(archive))
    body = {"source": "upload", "kind": "base", "uploadId": upload_id}
    return upload_id, str(admin.command("POST", "/api/imports", body)["id"])


def who_cancels(admin: Administrator) -> str:
    """Once in the middle of the upload and once in the middle of the import; then goes on."""
    archive = tiny_llama_archive(padding_bytes=40_000_000, seed=1)
    upload_id, model_id = begin(admin, "given-up.zip", archive)
    assert admin.send(upload_id, 0, archive[: 5 * BLOCK]).status_code == 204
    admin.command("POST", f"/api/models/{model_id}/import/cancel")
    assert admin.model(model_id)["state"] == "import_failed"
    admin.command("DELETE", f"/api/models/{model_id}")

    upload_id, model_id = begin(admin, "cancelled.zip", archive)
    admin.send_rest(upload_id, archive)
    admin.command("POST", f"/api/models/{model_id}/import/cancel")
    assert admin.model(model_id)["state"] == "import_failed"
    # The archive had come: it needs no second upload.
    admin.command("POST", f"/api/models/{model_id}/import/retry")
    return model_id


def who_closes_the_laptop(admin: Administrator, url: str, archive: bytes) -> str:
    """The connection breaks, the session is gone, and another program goes on from the offset."""
    upload_id, model_id = begin(admin, "laptop.zip", archive)

    def until_it_closes() -> Iterator[bytes]:
        for start in range(0, 7 * BLOCK, BLOCK):
            yield archive[start : start + BLOCK]
        raise InterruptedError("the lid closes")

    tus = {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(len(archive)),
    }
    with pytest.raises(InterruptedError):
        admin.http.patch(
            f"/api/uploads/{upload_id}", content=until_it_closes(), headers=admin.headers(**tus)
        )
    admin.http.close()

    again = Administrator(url, "bob", PASSWORD)
    arrived = eventually(lambda: again.received(upload_id), "what arrived was kept")
    assert 0 < arrived <= 7 * BLOCK
    assert again.model(model_id)["state"] == "importing"
    again.send_rest(upload_id, archive)
    return model_id


def who_retries(admin: Administrator, folder: Path, files: dict[str, bytes]) -> str:
    """The import fails for a file that is missing; it is put there, and the import goes on."""
    folder.mkdir()
    for name, data in files.items():
        if name != "tokenizer.json":
            (folder / name).write_bytes(data)
    body = {"source": "path", "path": str(folder), "mode": "copy", "name": "from-a-path"}
    model_id = str(admin.command("POST", "/api/imports", body)["id"])
    model = admin.wait_for_model(model_id, "import_failed", "ready_to_deploy")
    assert model["failure"]["reason"] == "There is no tokenizer.json."
    (folder / "tokenizer.json").write_bytes(files["tokenizer.json"])
    admin.command("POST", f"/api/models/{model_id}/import/retry")
    return model_id


@pytest.mark.journey
@pytest.mark.timeout(300)
def test_one_cancels_one_closes_the_laptop_and_one_retries(
    platform: RunningPlatform, tmp_path: Path
) -> None:
    alice = Administrator.of(platform)
    for name in ("bob", "carol"):
        body = {"username": name, "password": PASSWORD, "role": "admin"}
        alice.command("POST", "/api/users", body)
    bob = Administrator(platform.url, "bob", PASSWORD)
    carol = Administrator(platform.url, "carol", PASSWORD)
    remains = Remains(platform, tmp_path / "temporary")
    temporary = remains.temporary()
    assert [remains.objects(folder) for folder in ("", "staging")] == [[], []]

    laptop = tiny_llama_archive(padding_bytes=20_000_000, seed=2)
    path_files = {**tiny_llama(seed=3), "notes.txt": b"from a path"}
    with ThreadPoolExecutor(3) as people:
        tasks = [
            people.submit(who_cancels, alice),
            people.submit(who_closes_the_laptop, bob, platform.url, laptop),
            people.submit(who_retries, carol, tmp_path / "models" / "carol", path_files),
        ]
        cancelled, resumed, retried = [task.result(timeout=200) for task in tasks]

    wanted = {
        cancelled: unpacked(tiny_llama_archive(padding_bytes=40_000_000, seed=1)),
        resumed: unpacked(laptop),
        retried: {name: hashlib.sha256(data).hexdigest() for name, data in path_files.items()},
    }
    for model_id, files in wanted.items():
        model = alice.wait_for_model(model_id, "ready_to_deploy", seconds=60)
        listed: Any = alice.get(f"/api/models/{model_id}/files")
        assert {file["path"]: file["sha256"] for file in listed} == files, model["name"]
    actors = {
        model_id: {event["actor"] for event in alice.events(modelId=model_id)}
        for model_id in wanted
    }
    assert actors == {
        cancelled: {"user:admin", "worker:import"},
        resumed: {"user:bob", "worker:import"},
        retried: {"user:carol", "worker:import"},
    }

    eventually(
        lambda: not remains.rows("SELECT 1 FROM loggia.jobs WHERE state IN ('queued', 'running')"),
        "every job is over",
    )
    digests = {digest for files in wanted.values() for digest in files.values()}
    assert set(remains.objects("blobs")) == digests
    assert len(remains.objects("manifests")) == 3
    assert remains.objects("uploads") == remains.objects("staging") == []
    assert remains.rows("SELECT id FROM loggia.uploads") == []
    assert remains.rows("SELECT id FROM loggia.dead_letters") == []
    names = remains.rows("SELECT name_key FROM loggia.model_names ORDER BY 1")
    assert [row["name_key"] for row in names] == ["cancelled", "from-a-path", "laptop"]
    with_files = remains.rows("SELECT model_id FROM loggia.jobs WHERE journal ? 'files'")
    assert sorted(str(row["model_id"]) for row in with_files) == sorted(wanted)
    assert remains.temporary() == temporary

    settings = {k: v for k, v in platform.environment.items() if k.startswith("LOGGIA_")}
    checked = loggia("objects", "check", "--older-than", "0", "--json", environment=settings)
    assert (json.loads(checked.stdout), checked.returncode) == ([], 0), checked.stderr
