"""Imports from addresses, against real servers and a real database."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from tests.builders.models import tiny_llama, write_archive
from tests.importing.sources.asking import READY, from_url, manifest_of, refused, request, serve
from tests.importing.workplace import Site
from tests.sources.answering import AnsweringServer, Asked

PATIENTLY = Persistence(attempts=3, pause_seconds=0.01, most_pause_seconds=0.05)


def impatient(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once, and a job is not tried again."""
    original = GuardedClient.__init__

    def quick(self: GuardedClient, *args: Any, **parts: Any) -> None:
        original(self, *args, **{**parts, "persistence": PATIENTLY})

    monkeypatch.setattr(GuardedClient, "__init__", quick)
    monkeypatch.setattr("workers.importing.job.MOST_ATTEMPTS", 1)


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


def test_content_that_is_not_the_promised_one_is_refused(site: Site) -> None:
    files = {"model.gguf": b"GGUF" + bytes(1000)}
    with AnsweringServer(serve({"/model.gguf": files["model.gguf"]})) as server:
        address = f"{server.url}/model.gguf"
        promised: dict[str, Any] = {"path": "model.gguf", "address": address, "sha256": "ab" * 32}
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
