"""What an upload comes to: an import that is told of it, over the death of a server too."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from backend.api import receiving
from backend.api.services import Services
from backend.infra.settings import MIB, Settings
from tests.api.client import ApiClient
from tests.api.uploads import events_of, parts, stored, upload_id
from tests.api.worker import fail_import
from tests.rig.api_server import ADMIN_PASSWORD, ApiProcess, ApiServer
from tests.rig.waiting import eventually


def test_an_import_may_be_asked_for_before_the_last_byte(
    admin: ApiClient, services: Services
) -> None:
    location = admin.create_upload(6, "early.zip").headers["Location"]
    admin.append(location, 0, b"abc")
    answer = admin.command(
        "POST", "/api/imports", {"source": "upload", "uploadId": str(upload_id(location))}
    )
    model = answer.json()["id"]
    assert [e.type for e in events_of(services, model)] == ["ModelImportRequested"]
    admin.append(location, 3, b"def")
    events = events_of(services, model)
    assert [e.type for e in events] == ["ModelImportRequested", "ModelArchiveReceived"]
    assert events[1].actor == "user:admin"
    for _ in range(3):  # nothing that looks at the upload again says it again
        admin.tus("HEAD", location)
        services.upload_end.announce_all()
    assert len(events_of(services, model)) == 2


def test_the_model_is_told_later_what_a_dead_process_could_not_say(
    admin: ApiClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = admin.create_upload(3, "late.zip").headers["Location"]
    answer = admin.command(
        "POST", "/api/imports", {"source": "upload", "uploadId": str(upload_id(location))}
    )
    with monkeypatch.context() as patched:
        patched.setattr(services.upload_end, "announce", lambda _: None)  # dies just before it
        admin.append(location, 0, b"abc")
    assert len(events_of(services, answer.json()["id"])) == 1
    services.upload_end.announce_all()
    assert [e.type for e in events_of(services, answer.json()["id"])][-1] == "ModelArchiveReceived"


def test_giving_up_a_claimed_upload_fails_its_import(admin: ApiClient, services: Services) -> None:
    location = admin.create_upload(6).headers["Location"]
    model = admin.command(
        "POST", "/api/imports", {"source": "upload", "uploadId": str(upload_id(location))}
    ).json()["id"]
    assert admin.tus("DELETE", location).status_code == 204
    last = events_of(services, model)[-1]
    assert (last.type, last.data["reason"]) == ("ModelImportFailed", "The upload was given up.")


def test_the_upload_of_a_new_version_has_nothing_to_do_with_an_earlier_failure(
    admin: ApiClient, services: Services
) -> None:
    first = admin.upload(b"abc", "one.zip")
    model = admin.command(
        "POST", "/api/imports", {"source": "upload", "uploadId": str(upload_id(first))}
    ).json()["id"]
    fail_import(services, model)
    second = admin.create_upload(6, "two.zip").headers["Location"]
    admin.append(second, 0, b"abc")
    version = {"source": "upload", "uploadId": str(upload_id(second)), "modelId": model}
    assert admin.command("POST", "/api/imports", version).status_code == 202
    services.upload_end.announce_all()
    assert parts(services, second)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(services.upload_end, "announce", lambda _: None)  # dies just before it
        admin.append(second, 3, b"def")
    services.upload_end.announce_all()
    last = events_of(services, model)[-1]
    assert (last.type, last.data["version"]) == ("ModelArchiveReceived", "0.0.2")


def test_an_upload_goes_on_after_the_server_was_killed(settings: Settings, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 80  # 80 MiB: one part and a bit
    api = ApiProcess(settings, tmp_path / "api.log")
    try:
        api.start()
        with ApiClient(api.url) as admin:
            admin.sign_in("admin", ADMIN_PASSWORD)
            location = admin.create_upload(len(content), "big.zip").headers["Location"]
            model = admin.command(
                "POST", "/api/imports", {"source": "upload", "uploadId": str(upload_id(location))}
            ).json()["id"]
            committed = threading.Event()

            def feed() -> Iterator[bytes]:
                for start in range(0, 70 * MIB, MIB):
                    yield content[start : start + MIB]
                committed.set()
                time.sleep(30)

            def send() -> None:
                with contextlib.suppress(httpx.TransportError), ApiClient(api.url) as sender:
                    sender.sign_in("admin", ADMIN_PASSWORD)
                    sender.append(location, 0, feed())

            thread = threading.Thread(target=send, daemon=True)
            thread.start()
            assert committed.wait(60)
            eventually(
                lambda: admin.tus("HEAD", location).headers["Upload-Offset"] != "0",
                "a part is committed",
            )
            api.kill()
            api.start()
            offset = int(admin.tus("HEAD", location).headers["Upload-Offset"])
            assert receiving.PART_BYTES <= offset <= receiving.PART_BYTES + 2 * MIB
            assert admin.append(location, offset, content[offset:]).status_code == 204
        with ApiServer(settings) as server:
            arrived = hashlib.sha256(stored(server.services, location)).digest()
            types = [e.type for e in events_of(server.services, model)]
    finally:
        api.remove()
    assert arrived == hashlib.sha256(content).digest()
    assert types == ["ModelImportRequested", "ModelArchiveReceived"]


def test_memory_stays_flat(settings: Settings, tmp_path: Path) -> None:
    size = 1024 * MIB
    block = bytes(MIB)
    api = ApiProcess(settings, tmp_path / "api.log")
    peak = 0

    def feed() -> Iterator[bytes]:
        nonlocal peak
        for _ in range(size // MIB):
            yield block
            peak = max(peak, psutil.Process(api.process.pid).memory_info().rss)  # type: ignore[union-attr]

    try:
        api.start()
        with ApiClient(api.url) as admin:
            admin.timeout = 120
            admin.sign_in("admin", ADMIN_PASSWORD)
            location = admin.create_upload(size, "gib.zip").headers["Location"]
            before = psutil.Process(api.process.pid).memory_info().rss  # type: ignore[union-attr]
            assert admin.append(location, 0, feed()).status_code == 204
            assert admin.tus("HEAD", location).headers["Upload-Offset"] == str(size)
    finally:
        api.remove()
    assert peak - before < 64 * MIB
