"""Bytes from a request into parts of an upload, with flat memory."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from litestar.types import Receive

from backend.api.problems import ApiError
from backend.api.services import Services
from backend.infra.object_store import StagedFile
from backend.infra.telemetry import Telemetry
from backend.infra.uploads import Part, Upload, part_path, staging

PART_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
_IDLE_SECONDS = 60.0
_TICK_SECONDS = 0.5
_CLAIM_CHECK_SECONDS = 1.0
CHECKSUM_MISMATCH = 460  # the tus protocol's own status


class ConnectionLost(Exception):
    """The request ended before its body did."""


@dataclass(frozen=True)
class Checksum:
    """What the client announced for the bytes of one request."""

    algorithm: str
    digest: bytes


async def blocks(receive: Receive, stopping: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The body in blocks of about 1 MiB. Raises `ConnectionLost`, with the last block given out.

    A client that sends nothing for a minute counts as gone; so does every client when the
    process is told to stop.
    """
    held: list[bytes] = []
    size = 0
    lost = False
    more = True
    while more:
        message = await _next_message(receive, stopping)
        if message is None or message["type"] == "http.disconnect":
            lost = True
            break
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
        held.append(chunk)
        size += len(chunk)
        if size >= _BLOCK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)
    if lost:
        raise ConnectionLost


async def _next_message(receive: Receive, stopping: Callable[[], bool]) -> Any | None:
    deadline = time.monotonic() + _IDLE_SECONDS
    while not stopping():
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                return await receive()
        except TimeoutError:
            if time.monotonic() > deadline:
                return None
    return None


class Receiver:
    """Appends the body of one request to an upload. The caller holds the upload's lock.

    Without a checksum a part is committed each 64 MiB and at the end, also where the connection
    breaks. With one, everything becomes one part, or nothing does.
    """

    def __init__(
        self,
        services: Services,
        upload: Upload,
        checksum: Checksum | None,
        still_locked: Callable[[], None],
    ) -> None:
        self._services = services
        self._upload = upload
        self._checksum = checksum
        self._still_locked = still_locked
        self._hash = hashlib.new(checksum.algorithm) if checksum else None
        self._staged: StagedFile | None = None
        self._staged_bytes = 0
        self._arrived = upload.offset_bytes
        self._model_id = upload.model_id
        self._claim_checked = time.monotonic()

    async def append(self, body: AsyncIterator[bytes]) -> Upload:
        """Stores the body; returns the upload as it is then.

        Raises `ApiError` (413 beyond the announced size, 460 for a wrong checksum) and
        `ConnectionLost` after it has kept what arrived.
        """
        writing: Awaitable[None] | None = None
        try:
            try:
                async for block in body:
                    if writing is not None:
                        await writing  # one block is written while the next one arrives
                    self._refuse_excess(len(block))
                    writing = asyncio.ensure_future(
                        self._services.files.run(partial(self._write, block))
                    )
                    if self._checksum is None and self._staged_bytes + len(block) >= PART_BYTES:
                        await writing
                        writing = None
                        await self._commit()
                    await self._report(len(block))
            except ConnectionLost:
                if writing is not None:
                    await writing
                if self._checksum is None:
                    await self._commit()
                raise
            if writing is not None:
                await writing
            self._verify()
            await self._commit()
        except BaseException:
            if self._staged is not None:
                self._staged.discard()
                self._staged = None
            raise
        return self._upload

    def _refuse_excess(self, size: int) -> None:
        arriving = self._upload.offset_bytes + self._staged_bytes + size
        if arriving > self._upload.size_bytes:
            raise ApiError(
                413,
                "too-many-bytes",
                f"The upload was announced with {self._upload.size_bytes} bytes, "
                "and more are arriving.",
                remedy="Start a new upload with the right Upload-Length.",
            )

    def _write(self, block: bytes) -> None:
        if self._staged is None:
            self._staged = self._services.object_store.stage(staging(self._upload.id))
        self._staged.write(block)
        self._staged_bytes += len(block)
        if self._hash is not None:
            self._hash.update(block)

    def _verify(self) -> None:
        if self._checksum is None or self._hash is None:
            return
        if not hmac.compare_digest(self._hash.digest(), self._checksum.digest):
            raise ApiError(
                CHECKSUM_MISMATCH,
                "checksum-mismatch",
                f"The bytes that arrived do not have the announced {self._checksum.algorithm} "
                "checksum; nothing of them was kept.",
                remedy="Send them again from the same offset.",
            )

    async def _commit(self) -> None:
        if self._staged is None:
            return
        staged, size = self._staged, self._staged_bytes
        self._staged, self._staged_bytes = None, 0
        self._upload = await self._services.files.run(lambda: self._keep(staged, size))
        self._services.metrics.uploaded_bytes.inc(size)
        self._model_id = self._upload.model_id

    def _keep(self, staged: StagedFile, size: int) -> Upload:
        try:
            self._still_locked()
        except BaseException:
            staged.discard()
            raise
        upload_id, offset = self._upload.id, self._upload.offset_bytes
        staged.commit(part_path(upload_id, offset))
        kept = self._services.uploads.add_part(
            upload_id,
            Part(offset, size),
            expiry_hours=self._services.settings.upload_expiry_hours,
        )
        if kept is None:
            self._services.object_store.delete(part_path(upload_id, offset))
            raise gone(upload_id)
        return kept

    async def _report(self, size: int) -> None:
        self._arrived += size
        now = time.monotonic()
        if self._model_id is None and now - self._claim_checked > _CLAIM_CHECK_SECONDS:
            self._claim_checked = now
            upload = await self._services.query(lambda: self._services.uploads.get(self._upload.id))
            self._model_id = upload.model_id if upload else None
        if self._model_id is not None:
            self._services.telemetry.publish(
                Telemetry(
                    model_id=self._model_id,
                    kind="upload",
                    step="upload",
                    done=self._arrived,
                    total=self._upload.size_bytes,
                )
            )


def gone(upload_id: UUID) -> ApiError:
    """The refusal for an upload that does not exist (any more)."""
    return ApiError(
        404,
        "not-found",
        f"There is no upload {upload_id}; it may have expired or been terminated.",
        remedy="Start a new upload.",
    )
