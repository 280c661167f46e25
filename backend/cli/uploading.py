"""Uploading a file with tus 1.0: in chunks with checksums, resumed after any interruption."""

import base64
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID, uuid4

import httpx

from backend.cli.client import Api, refuse
from backend.cli.credentials import configuration_folder
from backend.cli.output import fail

_TUS = {"Tus-Resumable": "1.0.0"}
_CHUNK_BYTES = 16 * 1024**2
_CHECKSUM_MISMATCH = 460
_ATTEMPTS = 8
_LONGEST_PAUSE_SECONDS = 15.0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun, as it is remembered until it is complete.

    `import_key` makes the import that uses it happen once, even when the command is repeated.
    """

    url: str
    import_key: str

    @property
    def id(self) -> UUID:
        return UUID(self.url.rstrip("/").rpartition("/")[2])


class Uploads:
    """Uploads to one platform. What was begun is remembered per file, size and time of change."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._memory = configuration_folder() / "uploads.json"

    def begin(self, file: Path) -> Upload:
        """The file's unfinished upload if the platform still has it, else a new one."""
        known = self._remembered().get(self._key(file))
        try:
            if known is not None and self._offset(known) is not None:
                return known
            return self._create(file)
        except httpx.TransportError as error:
            self._api.unreachable(error)

    def send(self, file: Path, upload: Upload, progress: Progress) -> None:
        """Send what the platform does not have yet. `progress` is told (bytes sent, bytes)."""
        size = file.stat().st_size
        try:
            offset = self._offset(upload)
        except httpx.TransportError as error:
            self._api.unreachable(error)
        if offset is None:
            fail("the platform no longer knows this upload", "give the command again")
        failures = 0
        with file.open("rb") as stream:
            while offset < size:
                progress(offset, size)
                arrived = self._send_chunk(stream, upload, offset)
                if arrived is not None:
                    offset, failures = arrived, 0
                    continue
                failures += 1
                if failures >= _ATTEMPTS:
                    fail(
                        f"the upload stopped at {offset} of {size} bytes",
                        "give the command again: it goes on from there",
                    )
                time.sleep(min(_LONGEST_PAUSE_SECONDS, 0.5 * 2**failures))
                with contextlib.suppress(httpx.TransportError):
                    found = self._offset(upload)
                    if found is None:
                        fail("the platform gave this upload up", "give the command again")
                    offset = found
        progress(size, size)
        self.forget(file)

    def abandon(self, file: Path, upload: Upload) -> None:
        """Give an upload up, so that nothing of it remains on the platform."""
        self.forget(file)
        with contextlib.suppress(httpx.HTTPError):
            self._api.http.delete(upload.url, headers=_TUS)

    def forget(self, file: Path) -> None:
        """Remember the file's upload no longer."""
        uploads = self._remembered()
        if uploads.pop(self._key(file), None) is not None:
            self._remember(uploads)

    def _create(self, file: Path) -> Upload:
        name = base64.b64encode(file.name.encode()).decode()
        kind = base64.b64encode(b"application/octet-stream").decode()
        headers = {
            **_TUS,
            "Upload-Length": str(file.stat().st_size),
            "Upload-Metadata": f"filename {name},filetype {kind}",
        }
        response = self._api.http.post("/api/uploads", headers=headers)
        if response.is_error:
            refuse(response)
        upload = Upload(str(response.url.join(response.headers["Location"])), str(uuid4()))
        self._remember({**self._remembered(), self._key(file): upload})
        return upload

    def _offset(self, upload: Upload) -> int | None:
        """How many bytes the platform has; None when it does not know the upload (any more)."""
        response = self._api.http.head(upload.url, headers=_TUS)
        if response.is_error:
            return None
        return int(response.headers["Upload-Offset"])

    def _send_chunk(self, stream: BinaryIO, upload: Upload, offset: int) -> int | None:
        """The offset after one chunk; None for a failure that may pass."""
        stream.seek(offset)
        chunk = stream.read(_CHUNK_BYTES)
        if not chunk:
            fail("the file became shorter while it was being sent", "give the command again")
        digest = base64.b64encode(hashlib.sha256(chunk).digest()).decode()
        headers = {
            **_TUS,
            "Upload-Offset": str(offset),
            "Upload-Checksum": f"sha256 {digest}",
            "Content-Type": "application/offset+octet-stream",
        }
        try:
            response = self._api.http.patch(upload.url, content=chunk, headers=headers)
        except httpx.TransportError:
            return None
        passing = response.is_server_error or response.status_code in (
            httpx.codes.CONFLICT,
            httpx.codes.LOCKED,
            _CHECKSUM_MISMATCH,
        )
        if passing:
            return None
        if response.is_error:
            refuse(response)
        return int(response.headers["Upload-Offset"])

    def _key(self, file: Path) -> str:
        facts = file.stat()
        return f"{self._api.url}|{file.resolve()}|{facts.st_size}|{facts.st_mtime_ns}"

    def _remembered(self) -> dict[str, Upload]:
        try:
            return {
                key: Upload(**upload)
                for key, upload in json.loads(self._memory.read_text()).items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _remember(self, uploads: dict[str, Upload]) -> None:
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        staged = self._memory.with_name(f".{self._memory.name}.{os.getpid()}")
        staged.write_text(json.dumps({key: asdict(upload) for key, upload in uploads.items()}))
        staged.replace(self._memory)


@contextlib.contextmanager
def upload_bar(file: Path, *, quiet: bool) -> Any:
    """A bar on standard error; gives the function that moves it."""
    import sys

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=quiet,
    ) as bar:
        task = bar.add_task(f"upload {file.name}", total=file.stat().st_size)
        yield lambda done, total: bar.update(task, completed=done, total=total)
