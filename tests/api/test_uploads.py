"""Resumable uploads: the tus protocol, and that nothing wrong is kept."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from backend.api.services import Services
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.api.uploads import parts, stored, upload_id
from tests.rig.api_server import ADMIN_PASSWORD, ApiServer
from tests.rig.waiting import eventually


def _staged(settings: Settings) -> list[Path]:
    """Files that are not yet whole, wherever they lie."""
    objects = settings.data / "objects"
    return [path for path in objects.glob("**/staging/**/*") if path.is_file()]


def _checksum(algorithm: str, content: bytes) -> dict[str, str]:
    digest = b64encode(hashlib.new(algorithm, content).digest()).decode()
    return {"Upload-Checksum": f"{algorithm} {digest}"}


def test_the_server_says_what_it_can(admin: ApiClient) -> None:
    answer = admin.options("/api/uploads")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert set(answer.headers["Tus-Extension"].split(",")) == {
        "creation", "creation-with-upload", "checksum", "termination", "expiration",
    }  # fmt: skip
    assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"


def test_bytes_arrive_in_pieces(admin: ApiClient, services: Services) -> None:
    created = admin.create_upload(6, "qwen.zip")
    assert created.status_code == 201
    location = created.headers["Location"]
    assert admin.append(location, 0, b"abc").headers["Upload-Offset"] == "3"
    head = admin.tus("HEAD", location)
    assert head.headers["Upload-Offset"] == "3"
    assert head.headers["Upload-Length"] == "6"
    assert head.headers["Cache-Control"] == "no-store"
    assert head.headers["Upload-Expires"].endswith("GMT")
    assert admin.append(location, 3, b"def").status_code == 204
    assert stored(services, location) == b"abcdef"
    upload = services.uploads.get(upload_id(location))
    assert upload is not None
    assert upload.complete


def test_creation_may_bring_the_first_bytes(admin: ApiClient, services: Services) -> None:
    answer = admin.tus(
        "POST",
        "/api/uploads",
        content=b"abc",
        headers={
            "Upload-Length": "3",
            "Upload-Metadata": f"filename {b64encode(b'a.zip').decode()}",
            "Content-Type": "application/offset+octet-stream",
        },
    )
    assert answer.status_code == 201
    assert answer.headers["Upload-Offset"] == "3"
    assert stored(services, answer.headers["Location"]) == b"abc"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_right_checksum_is_accepted(admin: ApiClient, services: Services, algorithm: str) -> None:
    location = admin.create_upload(3).headers["Location"]
    answer = admin.append(location, 0, b"abc", _checksum(algorithm, b"abc"))
    assert answer.status_code == 204
    assert stored(services, location) == b"abc"


def test_a_wrong_checksum_leaves_nothing(
    admin: ApiClient, services: Services, settings: Settings
) -> None:
    location = admin.create_upload(6).headers["Location"]
    admin.append(location, 0, b"abc")
    answer = admin.append(location, 3, b"dXf", _checksum("sha256", b"def"))
    assert answer.status_code == 460
    assert answer.json()["detail"].startswith("The bytes that arrived do not have the announced")
    assert answer.json()["remedy"] == "Send them again from the same offset."
    assert admin.tus("HEAD", location).headers["Upload-Offset"] == "3"
    assert len(parts(services, location)) == 1
    assert _staged(settings) == []
    assert admin.append(location, 3, b"def", _checksum("sha256", b"def")).status_code == 204
    assert stored(services, location) == b"abcdef"


def test_an_unknown_checksum_is_refused(admin: ApiClient) -> None:
    location = admin.create_upload(3).headers["Location"]
    for header in ("md5 xxxx", "sha256", "sha256 !!!", "sha1 AAAA"):
        answer = admin.append(location, 0, b"abc", {"Upload-Checksum": header})
        assert answer.status_code == 400, header
        assert "sha1, sha256" in answer.json()["remedy"]


def test_a_wrong_offset_is_refused_with_the_right_one(admin: ApiClient) -> None:
    location = admin.create_upload(6).headers["Location"]
    admin.append(location, 0, b"abc")
    answer = admin.append(location, 1, b"xx")
    assert answer.status_code == 409
    assert answer.headers["Upload-Offset"] == "3"


def test_more_bytes_than_announced_are_refused(admin: ApiClient, services: Services) -> None:
    location = admin.create_upload(3).headers["Location"]
    answer = admin.append(location, 0, b"abcd")
    assert answer.status_code == 413
    assert not parts(services, location)


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({}, "Upload-Length"),
        ({"Upload-Length": "-1"}, "Upload-Length"),
        ({"Upload-Length": "1e3"}, "Upload-Length"),
        ({"Upload-Length": "3"}, "Upload-Metadata"),
        ({"Upload-Length": "3", "Upload-Metadata": "filename %%%"}, "Upload-Metadata"),
    ],
)
def test_a_malformed_announcement_is_refused(
    admin: ApiClient, headers: dict[str, str], field: str
) -> None:
    answer = admin.tus("POST", "/api/uploads", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("file_name", "detail"),
    [
        ("model.rar", "'model.rar' is not an archive or a model file that Loggia imports."),
        ("a b.zip", "The model name 'a b' contains a space."),
        ("x" * 65 + ".zip", "The model name has 65 characters; allowed are 1 to 64."),
    ],
)
def test_a_name_that_cannot_become_a_model_is_refused_before_any_byte(
    admin: ApiClient, file_name: str, detail: str
) -> None:
    answer = admin.create_upload(10, file_name)
    assert answer.status_code == 422
    assert answer.json()["detail"] == detail
    assert answer.json()["remedy"]


def test_the_protocol_version_is_required(admin: ApiClient) -> None:
    answer = admin.post("/api/uploads", headers={"Upload-Length": "3"})
    assert answer.status_code == 412
    assert answer.headers["Tus-Version"] == "1.0.0"


def test_termination_removes_everything(admin: ApiClient, services: Services) -> None:
    location = admin.create_upload(6).headers["Location"]
    admin.append(location, 0, b"abc")
    assert admin.tus("DELETE", location).status_code == 204
    assert not parts(services, location)
    assert admin.tus("HEAD", location).status_code == 404
    assert admin.append(location, 3, b"def").status_code == 404


def test_somebody_elses_upload_is_not_there(
    admin: ApiClient, client_as: Callable[[str], ApiClient]
) -> None:
    location = admin.create_upload(6).headers["Location"]
    other = client_as("operator")
    assert other.tus("HEAD", location).status_code == 404
    assert other.append(location, 0, b"abc").status_code == 404
    assert other.tus("DELETE", location).status_code == 404
    answer = other.command(
        "POST", "/api/imports", {"source": "upload", "uploadId": str(upload_id(location))}
    )
    assert answer.status_code == 404


def test_the_quota_counts_what_is_announced(settings: Settings) -> None:
    small = settings.model_copy(update={"upload_quota_bytes": 100})
    with ApiServer(small) as server, ApiClient(server.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        location = admin.create_upload(60).headers["Location"]
        refused = admin.create_upload(41)
        assert refused.status_code == 413
        assert refused.json()["detail"] == (
            "The file has 41 bytes, and only 40 of the quota of 100 bytes for uploads are free."
        )
        assert "LOGGIA_UPLOAD_QUOTA_BYTES" in refused.json()["remedy"]
        admin.tus("DELETE", location)
        assert admin.create_upload(41).status_code == 201


def test_a_file_for_which_the_store_has_no_room_is_refused_before_it_is_sent(
    settings: Settings,
) -> None:
    small = settings.model_copy(update={"object_store_quota_bytes": 1000})
    with ApiServer(small) as server, ApiClient(server.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        with server.services.pool.connection() as connection:
            # What an import has stored stands in its journal, here the same content twice.
            journal = Jsonb({"files": {"a": ["0" * 64, 700], "b": ["0" * 64, 700]}})
            connection.execute(
                "INSERT INTO loggia.jobs (id, kind, model_id, payload, journal, state) "
                "VALUES (gen_random_uuid(), 'import', gen_random_uuid(), '{}', %s, 'done')",
                (journal,),
            )
        refused = admin.create_upload(301)
        assert refused.status_code == 413
        assert "only 300 of the 1000 bytes for the models' files" in refused.json()["detail"]
        assert "LOGGIA_OBJECT_STORE_QUOTA_BYTES" in refused.json()["remedy"]
        assert admin.create_upload(300).status_code == 201


def test_a_file_beyond_the_limit_is_refused(settings: Settings) -> None:
    small = settings.model_copy(update={"upload_limit_bytes": 100})
    with ApiServer(small) as server, ApiClient(server.url) as admin:
        admin.sign_in("admin", ADMIN_PASSWORD)
        answer = admin.create_upload(101)
        assert answer.status_code == 413
        assert "one upload may have 100" in answer.json()["detail"]


def test_an_expired_upload_is_gone(admin: ApiClient, services: Services) -> None:
    location = admin.create_upload(6).headers["Location"]
    admin.append(location, 0, b"abc")
    with services.pool.connection() as connection:
        connection.execute("UPDATE loggia.uploads SET expires_at = now() - interval '1 second'")
    assert admin.tus("HEAD", location).status_code == 404
    assert admin.append(location, 3, b"def").status_code == 404
    assert services.uploads.reserved_bytes() == 0


def test_only_one_request_at_a_time_appends(
    admin: ApiClient, server: ApiServer, services: Services
) -> None:
    location = admin.create_upload(6).headers["Location"]
    started, release = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield b"abc"
        started.set()
        release.wait(20)
        yield b"def"

    answers: list[int] = []

    def send() -> None:
        with ApiClient(server.url) as first:
            first.sign_in("admin", ADMIN_PASSWORD)
            answers.append(first.append(location, 0, slowly()).status_code)

    sender = threading.Thread(target=send)
    sender.start()
    assert started.wait(20)
    eventually(lambda: _locks(services), "the first request holds the lock")
    second = admin.append(location, 0, b"xyzxyz")
    assert second.status_code == 423
    assert "Another request" in second.json()["detail"]
    release.set()
    sender.join(20)
    assert answers == [204]


def test_what_arrived_before_the_connection_broke_is_kept(
    admin: ApiClient, services: Services, server: ApiServer
) -> None:
    location = admin.create_upload(1000).headers["Location"]
    _send_partly(server.url, admin, location, b"a" * 300)
    offset = eventually(
        lambda: int(admin.tus("HEAD", location).headers["Upload-Offset"]), "bytes were kept"
    )
    assert offset == 300
    assert admin.append(location, 300, b"b" * 700).status_code == 204
    assert stored(services, location) == b"a" * 300 + b"b" * 700


def test_nothing_is_kept_of_a_broken_request_with_a_checksum(
    admin: ApiClient, services: Services, server: ApiServer, settings: Settings
) -> None:
    location = admin.create_upload(1000).headers["Location"]
    _send_partly(
        server.url, admin, location, b"a" * 300, "Upload-Checksum: sha1 " + "A" * 27 + "=\r\n"
    )
    eventually(lambda: _staged(settings) == [], "nothing is staged")
    assert eventually(
        lambda: admin.append(location, 0, b"b" * 1000).status_code == 204, "it begins again"
    )
    assert stored(services, location) == b"b" * 1000


def _locks(services: Services) -> int:
    with services.pool.connection() as connection:
        row = connection.execute(
            "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    return row["held"] if row else 0


def _send_partly(
    url: str, client: ApiClient, location: str, content: bytes, extra: str = ""
) -> None:
    """Announces 1000 bytes, sends these, and breaks the connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    head = (
        f"PATCH {location} HTTP/1.1\r\nHost: {host}\r\nTus-Resumable: 1.0.0\r\n"
        f"Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n{extra}"
        f"Content-Length: 1000\r\nCookie: {cookies}\r\n"
        f"X-CSRF-Token: {client.cookies['loggia_csrf']}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + content)
        time.sleep(0.3)  # so that it is under way when it breaks
