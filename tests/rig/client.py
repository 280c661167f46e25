"""The HTTP API as an administrator's script uses it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import uuid4

import httpx

from tests.rig.operation_log import OperationLog
from tests.rig.platform import RunningPlatform

JSON = dict[str, Any]

PATIENCE_SECONDS = 30


class Administrator:
    """Signed in with the first password; sends commands as the SPA does."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=30)
        answer = self.http.post("/api/session", json={"username": username, "password": password})
        assert answer.status_code in {200, 201}, answer.text
        self.position = 0
        # Each command and its outcome; the marker is its chain's id, which its events carry.
        self.log = OperationLog()

    @classmethod
    def of(cls, platform: RunningPlatform) -> Administrator:
        assert platform.password is not None
        return cls(platform.url, platform.administrator, platform.password)

    def headers(self, **more: str) -> dict[str, str]:
        return {
            "X-CSRF-Token": self.http.cookies["loggia_csrf"],
            "Idempotency-Key": str(uuid4()),
            **more,
        }

    def command(self, method: str, path: str, body: JSON | None = None) -> JSON:
        """Sends a command, and repeats it under its key while the answer fails to come."""
        operation = self.log.invoke(key=str(uuid4()), marker=str(uuid4()))
        headers = self.headers(
            **{"Idempotency-Key": operation.key, "X-Correlation-Id": operation.marker}
        )
        answer = self._patiently(method, path, json=body, headers=headers)
        if 400 <= answer.status_code < 500:
            self.log.failed(operation)
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        accepted: JSON = answer.json()
        self.log.ok(operation, accepted)
        self.position = max(self.position, accepted.get("position", 0))
        return accepted

    def get(self, path: str, **query: Any) -> JSON:
        answer = self._patiently("GET", path, params={"atLeast": self.position, **query})
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        found: JSON = answer.json()
        return found

    def token(self, name: str = "journey") -> str:
        return str(self.command("POST", "/api/tokens", {"name": name})["token"])

    def begin_upload(self, file_name: str, size: int) -> str:
        metadata = f"filename {base64.b64encode(file_name.encode()).decode()}"
        answer = self._patiently(
            "POST",
            "/api/uploads",
            headers=self.headers(
                **{
                    "Tus-Resumable": "1.0.0",
                    "Upload-Length": str(size),
                    "Upload-Metadata": metadata,
                }
            ),
        )
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"].rsplit("/", 1)[-1]

    def send(self, upload_id: str, offset: int, data: bytes) -> httpx.Response:
        return self.send_pieces(upload_id, offset, [data], len(data))

    def send_pieces(
        self, upload_id: str, offset: int, pieces: Iterable[bytes], size: int
    ) -> httpx.Response:
        """One request whose body takes as long as the pieces do."""
        return self.http.patch(
            f"/api/uploads/{upload_id}",
            content=iter(pieces),
            headers=self.headers(
                **{
                    "Content-Length": str(size),
                    "Tus-Resumable": "1.0.0",
                    "Upload-Offset": str(offset),
                    "Content-Type": "application/offset+octet-stream",
                }
            ),
        )

    def received(self, upload_id: str) -> int:
        """The bytes that the server has."""
        answer = self._patiently(
            "HEAD", f"/api/uploads/{upload_id}", headers={"Tus-Resumable": "1.0.0"}
        )
        assert answer.status_code == 200, answer.text
        return int(answer.headers["Upload-Offset"])

    def send_rest(self, upload_id: str, archive: bytes, *, seconds: float = 60) -> None:
        """Sends what is missing, resuming as often as the connection breaks."""
        deadline = time.monotonic() + seconds
        while (offset := self.received(upload_id)) < len(archive):
            assert time.monotonic() < deadline, f"only {offset} of {len(archive)} bytes arrived"
            try:
                self.send(upload_id, offset, archive[offset:])
            except httpx.TransportError:
                time.sleep(0.2)

    def import_archive(self, file_name: str, archive: bytes) -> str:
        """Uploads and requests the import; returns the model's id without waiting for it."""
        upload_id = self.begin_upload(file_name, len(archive))
        model_id = str(
            self.command(
                "POST", "/api/imports", {"source": "upload", "kind": "base", "uploadId": upload_id}
            )["id"]
        )
        answer = self.send(upload_id, 0, archive)
        assert answer.status_code == 204, answer.text
        return model_id

    def model(self, model_id: str) -> JSON:
        return self.get(f"/api/models/{model_id}")

    def wait_for_model(self, model_id: str, *states: str, seconds: float = 60) -> JSON:
        return self._wait(lambda: self.model(model_id), states, seconds)

    def wait_for_deployment(self, model_id: str, *states: str, seconds: float = 240) -> JSON:
        return self._wait(lambda: self.get(f"/api/models/{model_id}/deployment"), states, seconds)

    def _patiently(self, method: str, path: str, **options: Any) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                answer = self.http.request(method, path, **options)
                if answer.status_code < 500 or time.monotonic() > deadline:
                    return answer
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    @staticmethod
    def _wait(look: Callable[[], JSON], states: tuple[str, ...], seconds: float) -> JSON:
        deadline = time.monotonic() + seconds
        while True:
            found = look()
            if found["state"] in states:
                return found
            assert time.monotonic() < deadline, f"still {found['state']}: {found}"
            time.sleep(0.2)

    def deploy(self, model_id: str, changes: JSON, reason: str = "") -> JSON:
        """Deploys or redeploys with the platform's defaults, changed as given."""
        options = self.get("/api/deploy/options", modelId=model_id)
        configuration = options["defaults"]
        for part, fields in changes.items():
            configuration[part] = {**configuration[part], **fields}
        return self.command(
            "PUT",
            f"/api/models/{model_id}/deployment",
            {
                "configuration": configuration,
                "terms": {"version": options["terms"]["version"], "accepted": True},
                "reason": reason,
            },
        )

    def events(self, **query: Any) -> list[JSON]:
        return list(self.get("/api/events", limit=200, **query)["items"])
