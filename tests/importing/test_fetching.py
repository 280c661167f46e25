"""Imports from addresses and directories, against real servers, files and a real database."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from backend.application.commands import CommandContext
from backend.domain.model import ImportRequest
from backend.infra.settings import Settings
from backend.infra.stored_bytes import stored_bytes
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from tests.builders.models import tiny_llama, write_archive
from tests.importing.test_faults import WorkerProcess
from tests.importing.test_job import spare
from tests.importing.workplace import Site, open_site
from tests.rig.waiting import eventually
from tests.sources.answering import Answer, AnsweringServer, Asked, answer, file_server
from workers.importing.quota import Quota

PATIENTLY = Persistence(attempts=3, pause_seconds=0.01, most_pause_seconds=0.05)


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    folder = tmp_path / "roots"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path, postgres: str, roots: Path) -> Iterator[Site]:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        job_lease_seconds=2,
        fetch_allowed_networks="127.0.0.1/32",
        import_roots=str(roots),
    )
    with open_site(settings) as opened:
        yield opened


def request(site: Site, name: str, **origin: dict[str, Any]) -> UUID:
    """What a person asks for; the dispatcher makes the job."""
    (source,) = origin
    answered = site.models.request_import(
        CommandContext("user:admin"), ImportRequest(source=source, origin=origin, name=name)
    )
    site.enqueue(answered.id)
    return answered.id


def from_url(address: str, *files: dict[str, Any]) -> dict[str, Any]:
    return {"address": address, "files": list(files)}


def serve(contents: dict[str, bytes]) -> Answer:
    """A web server of files, with ranges."""

    def speak(asked: Asked, connection: Any) -> None:
        content = contents.get(asked.path)
        if content is None:
            connection.sendall(answer("404 Not Found"))
        else:
            file_server(content, cut_after=[])(asked, connection)

    return speak


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def manifest_of(site: Site, model_id: UUID) -> list[dict[str, Any]]:
    digest = site.model(model_id).latest.manifest_sha256
    with site.store.open(f"manifests/{digest}.json") as source:
        return list(json.loads(source.read())["files"])


READY = ["Created", "SourceFetched", "FilesStored", "Validated"]


def test_an_archive_at_an_address_is_imported(site: Site, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "tiny.zip", tiny_llama()).read_bytes()
    with AnsweringServer(serve({"/m/tiny.zip": archive})) as server:
        model_id = request(site, "tiny", url=from_url(f"{server.url}/m/tiny.zip"))
        site.run_one()
    assert site.event_names(model_id) == READY
    fetched = next(e for e in site.events.events.get(model_id) if "resolved" in vars(e))
    assert fetched.resolved["sha256"] == hashlib.sha256(archive).hexdigest()  # type: ignore[attr-defined]
    assert list(site.residue()) == ["blobs", "manifests"]
    fetch = [r for r in site.telemetry.readings if r.step == "fetch"]
    assert (fetch[-1].done, fetch[-1].total, fetch[-1].unit) == (len(archive),) * 2 + ("bytes",)


def test_files_at_addresses_are_imported_and_each_is_read_once(site: Site) -> None:
    files = tiny_llama()
    with AnsweringServer(serve({f"/{path}": data for path, data in files.items()})) as server:
        listed = [{"path": path, "address": f"{server.url}/{path}"} for path in files]
        listed[0]["sha256"] = hashlib.sha256(files[listed[0]["path"]]).hexdigest()
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        site.run_one()
        assert sorted(asked.path for asked in server.asked) == sorted(f"/{path}" for path in files)
    assert site.event_names(model_id) == READY
    assert {row["path"] for row in manifest_of(site, model_id)} == set(files)


def test_a_directory_index_is_imported(site: Site) -> None:
    files = tiny_llama()
    page = "".join(f'<a href="{path}">{path}</a>' for path in files).encode()
    contents = {f"/tiny/{path}": data for path, data in files.items()}
    with AnsweringServer(serve({"/tiny/": page, **contents})) as server:
        model_id = request(site, "tiny", url=from_url(f"{server.url}/tiny/"))
        site.run_one()
    assert site.event_names(model_id) == READY


def impatient(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, and a job is not tried again."""
    original = GuardedClient.__init__

    def quick(self: GuardedClient, *args: Any, **parts: Any) -> None:
        original(self, *args, **{**parts, "persistence": PATIENTLY})

    monkeypatch.setattr(GuardedClient, "__init__", quick)
    monkeypatch.setattr("workers.importing.job.MOST_ATTEMPTS", 1)


def refused(site: Site, model_id: UUID) -> tuple[str, str, str]:
    site.run_one()
    failure = site.last_event(model_id)
    assert site.residue() == {}
    return failure.step, failure.reason, failure.remedy


def test_content_that_is_not_the_promised_one_is_refused(site: Site) -> None:
    files = {"model.gguf": b"GGUF" + bytes(1000)}
    with AnsweringServer(serve({"/model.gguf": files["model.gguf"]})) as server:
        address = f"{server.url}/model.gguf"
        promised = {"path": "model.gguf", "address": address, "sha256": "ab" * 32}
        step, reason, remedy = refused(
            site, request(site, "digest", url=from_url(address, promised))
        )
        assert step == "fetch"
        assert f"{'ab' * 32} was promised" in reason
        assert "Correct the digest" in remedy
        promised = {"path": "model.gguf", "address": address, "size_bytes": 10}
        _, reason, _ = refused(site, request(site, "size", url=from_url(address, promised)))
        assert "more bytes than were promised" in reason


def test_an_archive_that_is_not_the_promised_one_is_refused(site: Site, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "tiny.zip", tiny_llama()).read_bytes()
    with AnsweringServer(serve({"/tiny.zip": archive})) as server:
        address = f"{server.url}/tiny.zip"
        promised = {"path": "tiny.zip", "address": address, "sha256": "ab" * 32}
        _, reason, _ = refused(site, request(site, "tiny", url=from_url(address, promised)))
    assert "was promised" in reason


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://169.254.169.254/m.zip", "a link-local address"),
        ("http://10.0.0.1/m.gguf", "a private address"),
        ("ftp://example.org/m.zip", "'ftp:' are not opened"),
        ("file:///etc/passwd", "'file:' are not opened"),
        ("s3://bucket/../m.zip?x=y", "is not the address of an S3 prefix"),
    ],
)
def test_a_closed_address_fails_the_import_with_its_reason(
    site: Site, address: str, words: str
) -> None:
    step, reason, remedy = refused(site, request(site, "closed", url=from_url(address)))
    assert step == "fetch"
    assert words in reason
    assert remedy


def test_a_missing_file_fails_the_import_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(site, monkeypatch)
    files = tiny_llama()
    contents = {f"/{path}": data for path, data in files.items() if path != "tokenizer.json"}
    with AnsweringServer(serve(contents)) as server:
        listed = [{"path": path, "address": f"{server.url}/{path}"} for path in files]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        _, reason, remedy = refused(site, model_id)
    assert "answered 404 Not Found for /tokenizer.json" in reason
    assert remedy == "Check the address for typing errors."


def test_a_failed_fetch_can_be_retried(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(site, monkeypatch)
    files = tiny_llama()
    contents: dict[str, bytes] = {}
    with AnsweringServer(serve(contents)) as server:
        listed = [{"path": path, "address": f"{server.url}/{path}"} for path in files]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        refused(site, model_id)
        contents.update({f"/{path}": data for path, data in files.items()})
        site.retry(model_id)
        site.run_one()
    assert site.model(model_id).state == "ready_to_deploy"


def test_too_many_names_and_hostile_ones_are_refused(site: Site) -> None:
    with AnsweringServer(serve({})) as server:
        for number, (path, words) in enumerate(
            [
                ("../../etc/passwd", "leads out of"),
                ("/etc/passwd", "absolute path"),
                ("a\\b", "backslash"),
                ("A/B", "differ only in case"),
            ]
        ):
            listed = [{"path": p, "address": f"{server.url}/x"} for p in ("a/b", path)]
            model_id = request(site, f"n{number}", url=from_url(f"{server.url}/", *listed))
            _, reason, _ = refused(site, model_id)
            assert words in reason
        assert server.asked == []


def test_a_directory_is_copied(site: Site, roots: Path) -> None:
    files = tiny_llama()
    written(roots / "tiny", files)
    model_id = request(site, "tiny", path={"path": "tiny", "mode": "copy"})
    site.run_one()
    assert site.event_names(model_id) == READY
    assert len(site.objects("blobs")) == len(files)
    assert all("location" not in row for row in manifest_of(site, model_id))


def test_a_directory_stays_where_it_is_when_it_is_referenced(site: Site, roots: Path) -> None:
    files = tiny_llama()
    folder = written(roots / "tiny model", files)
    model_id = request(site, "tiny", path={"path": str(folder), "mode": "reference"})
    site.run_one()
    assert site.event_names(model_id) == READY
    assert site.objects("blobs") == []
    rows = {row["path"]: row for row in manifest_of(site, model_id)}
    assert rows == {
        path: {
            "path": path,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "location": (folder / path).as_uri(),
        }
        for path, data in files.items()
    }
    site.delete(model_id)
    site.run_all()
    assert (folder / "config.json").exists()
    assert site.residue() == {}


def _leaves_it(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to("/etc")


def _holds_a_link_out(folder: Path) -> None:
    written(folder, tiny_llama())
    (folder / "passwd.json").symlink_to("/etc/passwd")


def _holds_a_pipe(folder: Path) -> None:
    written(folder, tiny_llama())
    os.mkfifo(folder / "pipe")


def _is_gone(folder: Path) -> None:
    folder.rmdir()


@pytest.mark.parametrize(
    ("path", "make", "words"),
    [
        ("m", _is_gone, "does not exist"),
        ("m", _leaves_it, "does not lie below a directory"),
        ("m", _holds_a_link_out, "passwd.json is a link that leads out"),
        ("m", _holds_a_pipe, "pipe is not a regular file"),
        ("m", lambda _: None, "holds no files"),
        ("m", lambda folder: written(folder, {"a.txt": b"x"}), "holds neither a config.json"),
        ("/etc", lambda _: None, "does not lie below a directory"),
        ("../roots2", lambda _: None, "does not lie below a directory"),
        ("m/../../..", lambda _: None, "does not lie below a directory"),
    ],
)
def test_a_path_that_will_not_do_is_refused_with_its_reason(
    site: Site, roots: Path, path: str, make: Callable[[Path], Any], words: str
) -> None:
    (roots / "m").mkdir()
    make(roots / "m")
    step, reason, remedy = refused(
        site, request(site, "m", path={"path": path, "mode": "reference"})
    )
    assert step == "fetch"
    assert words in reason
    assert remedy


def test_links_to_files_inside_the_roots_are_followed(site: Site, roots: Path) -> None:
    blobs = written(roots / "blobs", tiny_llama())
    (roots / "snapshot").mkdir()
    for path in blobs.iterdir():
        (roots / "snapshot" / path.name).symlink_to(f"../blobs/{path.name}")
    model_id = request(site, "tiny", path={"path": "snapshot", "mode": "copy"})
    site.run_one()
    assert site.model(model_id).state == "ready_to_deploy"


def test_a_folder_swapped_for_a_link_is_not_followed(
    site: Site, roots: Path, tmp_path: Path
) -> None:
    folder = written(roots / "tiny", tiny_llama())
    secret = written(tmp_path / "secret", tiny_llama())

    def swap(reading: Any) -> None:
        if reading.step == "fetch" and folder.is_dir() and not folder.is_symlink():
            folder.rename(roots / "moved")
            folder.symlink_to(secret)

    site.telemetry.watch = swap
    model_id = request(site, "tiny", path={"path": "tiny", "mode": "copy"})
    _, reason, _ = refused(site, model_id)
    assert "cannot be read" in reason


def test_an_import_above_the_quota_is_refused_and_leaves_nothing(
    site: Site, tmp_path: Path
) -> None:
    files = tiny_llama()
    size = sum(map(len, files.values()))
    place = site.place
    quota = Quota(site.pool, site.store, size + 1000)
    site.place = type(place)(**{**vars(place), "quota": quota})
    first = site.submit(write_archive(tmp_path / "first.zip", files))
    site.run_one()
    assert site.model(first).state == "ready_to_deploy"
    assert stored_bytes(site.pool) == size
    more = site.submit(write_archive(tmp_path / "more.zip", {**files, "x.txt": bytes(5000)}))
    site.run_one()
    failure = site.last_event(more)
    assert f"{size + 1000} are allowed" in failure.reason
    assert "LOGGIA_OBJECT_STORE_QUOTA_BYTES" in failure.remedy
    assert stored_bytes(site.pool) == size
    assert len(site.objects("blobs")) == len(files)
    site.delete(first)
    site.run_all()
    site.retry(more)
    site.run_all()
    assert site.model(more).state == "import_failed"
    stored = write_archive(tmp_path / "again.zip", files, compression=zipfile.ZIP_STORED)
    again = site.submit(stored)
    site.run_one()
    assert site.model(again).state == "ready_to_deploy"


@pytest.fixture
def other(site: Site, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(**environment: str) -> WorkerProcess:
        settings = {"LOGGIA_FETCH_ALLOWED_NETWORKS": "127.0.0.1/32", **environment}
        started.append(WorkerProcess(site, tmp_path / f"worker-{len(started)}.log", **settings))
        return started[-1]

    yield start
    for process in started:
        process.close()


BIG = 150
# Chunks are of at most 64 KiB: the worker dies behind the first 64 MiB, before the end.
BEHIND_THE_FIRST_PART = 2000


def ranges(server: AnsweringServer, path: str) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked if asked.path == path]


def test_a_killed_fetch_goes_on_at_the_file_and_near_the_byte_where_it_was(
    site: Site, other: Callable[..., WorkerProcess]
) -> None:
    files = {**tiny_llama(), "spare.safetensors": spare(1, BIG)}
    with AnsweringServer(serve({f"/{path}": data for path, data in files.items()})) as server:
        listed = [{"path": path, "address": f"{server.url}/{path}"} for path in files]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        worker = other(LOGGIA_FAILPOINTS=f"import.fetched={BEHIND_THE_FIRST_PART}")
        assert worker.died() == -signal.SIGKILL
        eventually(site.run_one, "the lease ends and the job is taken over")
        assert site.event_names(model_id) == READY
        first, second = ranges(server, "/spare.safetensors")
    assert first is None
    assert second is not None
    assert 64 << 20 <= int(second.removeprefix("bytes=").rstrip("-")) < 65 << 20
    rows = {row["path"]: row["sha256"] for row in manifest_of(site, model_id)}
    assert rows["spare.safetensors"] == hashlib.sha256(files["spare.safetensors"]).hexdigest()
    assert list(site.residue()) == ["blobs", "manifests"]


def test_a_killed_download_of_an_archive_goes_on_behind_its_last_part(
    site: Site, tmp_path: Path, other: Callable[..., WorkerProcess]
) -> None:
    files = {**tiny_llama(), "spare.safetensors": spare(1, BIG)}
    archive = write_archive(tmp_path / "m.zip", files, compression=zipfile.ZIP_STORED).read_bytes()
    with AnsweringServer(serve({"/m.zip": archive})) as server:
        model_id = request(site, "tiny", url=from_url(f"{server.url}/m.zip"))
        worker = other(LOGGIA_FAILPOINTS=f"import.fetched={BEHIND_THE_FIRST_PART}")
        assert worker.died() == -signal.SIGKILL
        eventually(site.run_one, "the lease ends and the job is taken over")
        assert site.event_names(model_id) == READY
        first, second = ranges(server, "/m.zip")
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").rstrip("-")) >= 64 << 20
    assert list(site.residue()) == ["blobs", "manifests"]


def test_a_file_that_changed_between_two_workers_is_fetched_anew(
    site: Site, other: Callable[..., WorkerProcess]
) -> None:
    contents = {f"/{path}": data for path, data in tiny_llama().items()}
    contents["/spare.safetensors"] = spare(1, BIG)
    etag = ['"v1"']

    def speak(asked: Asked, connection: Any) -> None:
        file_server(contents[asked.path], cut_after=[], etag=etag[0])(asked, connection)

    with AnsweringServer(speak) as server:
        listed = [{"path": p[1:], "address": f"{server.url}{p}"} for p in contents]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        worker = other(LOGGIA_FAILPOINTS=f"import.fetched={BEHIND_THE_FIRST_PART}")
        assert worker.died() == -signal.SIGKILL
        etag[0], contents["/spare.safetensors"] = '"v2"', spare(2, BIG)
        eventually(site.run_one, "the lease ends and the job is taken over")
    rows = {row["path"]: row["sha256"] for row in manifest_of(site, model_id)}
    assert rows["spare.safetensors"] == hashlib.sha256(contents["/spare.safetensors"]).hexdigest()


@pytest.mark.parametrize("failpoint", ["import.fetch-recorded", "import.files-recorded"])
def test_a_worker_killed_behind_its_fetch_is_resumed(
    site: Site, other: Callable[..., WorkerProcess], failpoint: str
) -> None:
    files = tiny_llama()
    with AnsweringServer(serve({f"/{path}": data for path, data in files.items()})) as server:
        listed = [{"path": path, "address": f"{server.url}/{path}"} for path in files]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        assert other(LOGGIA_FAILPOINTS=failpoint).died() == -signal.SIGKILL
        eventually(site.run_one, "the lease ends and the job is taken over")
        assert len(server.asked) == len(files)
    assert site.event_names(model_id) == READY


def test_a_cancelled_fetch_stops_and_leaves_nothing(site: Site) -> None:
    waiting = threading.Event()

    def stall(asked: Asked, connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nGGUF")
        if not waiting.is_set():
            waiting.set()
            site.cancel(model_id)
        server.ended.wait(60)

    with AnsweringServer(stall) as server:
        model_id = request(site, "slow", url=from_url(f"{server.url}/slow.gguf"))
        site.run_all()
    assert site.event_names(model_id)[-1] == "ImportCancelled"
    assert site.job(model_id)["state"] == "cancelled"
    assert site.residue() == {}
