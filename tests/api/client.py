"""A browser's side of the API: cookies, CSRF token, and the commands tests need often."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from uuid import uuid4

import httpx


class ApiClient(httpx.Client):
    """Sends the CSRF token with every request, as the web interface does."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(base_url=url, timeout=30, trust_env=False, **options)

    def request(self, method: str, url: Any, **options: Any) -> httpx.Response:
        headers = {**dict(options.pop("headers", None) or {})}
        csrf = self.cookies.get("loggia_csrf")
        if csrf:
            headers.setdefault("X-CSRF-Token", csrf)
        return super().request(method, url, headers=headers, **options)

    def sign_in(self, username: str, password: str) -> httpx.Response:
        answer = self.post("/api/session", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        return answer

    def tus(self, method: str, url: str, **options: Any) -> httpx.Response:
        headers = {"Tus-Resumable": "1.0.0", **options.pop("headers", {})}
        return self.request(method, url, headers=headers, **options)

    def create_upload(self, size: int, file_name: str = "tiny.zip") -> httpx.Response:
        return self.tus("POST", "/api/uploads", headers=upload_headers(size, file_name))

    def append(
        self, location: str, offset: int, content: Any, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        return self.tus(
            "PATCH",
            location,
            content=content,
            headers={
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
                **(headers or {}),
            },
        )

    def upload(self, content: bytes = b"0123456789", file_name: str = "tiny.zip") -> str:
        """A complete upload's address."""
        location = self.create_upload(len(content), file_name).headers["Location"]
        assert self.append(location, 0, content).status_code == 204
        return location

    def import_model(
        self, name: str = "tiny", content: bytes = b"0123456789", **fields: Any
    ) -> str:
        """The id of a model whose archive has arrived."""
        location = self.upload(content, f"{name}.zip")
        answer = self.command(
            "POST",
            "/api/imports",
            {"uploadId": location.rpartition("/")[2], "source": "upload", **fields},
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def command(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        key: str | None = None,
        version: int | None = None,
    ) -> httpx.Response:
        headers = {"Idempotency-Key": key or str(uuid4())}
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        if body is None:
            return self.request(method, url, headers=headers)
        return self.request(method, url, headers=headers, json=body)


def upload_headers(size: int, file_name: str) -> dict[str, str]:
    name = b64encode(file_name.encode()).decode()
    return {"Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
