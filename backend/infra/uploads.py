"""What is known of each upload, and its bytes as one file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, cast
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.infra.object_store import ObjectStore
from backend.infra.parts import PlacedPart, open_parts
from backend.infra.postgres import Pool

# Where the bytes of all uploads lie.
UPLOADS = "uploads"


@dataclass(frozen=True)
class Part:
    """A piece of an upload in the object store; offset and size in bytes."""

    offset: int
    size: int


@dataclass(frozen=True)
class Upload:
    """An upload under way or complete; sizes in bytes."""

    id: UUID
    owner: str
    file_name: str
    size_bytes: int
    offset_bytes: int
    parts: tuple[Part, ...]
    model_id: UUID | None
    model_version: str | None
    expires_at: datetime
    completed_at: datetime | None

    @property
    def complete(self) -> bool:
        """Whether all bytes have arrived."""
        return self.completed_at is not None


def part_path(upload_id: UUID, offset: int) -> str:
    """Where a part lies in the object store."""
    return f"{folder(upload_id)}/{offset:020d}"


def folder(upload_id: UUID) -> str:
    """Where all parts of an upload lie."""
    return f"{UPLOADS}/{upload_id}"


def staging(upload_id: UUID) -> str:
    """Where a part lies until it is whole; goes with the rest of the upload."""
    return f"{folder(upload_id)}/staging"


class Uploads:
    """The table of uploads."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def create(
        self, upload_id: UUID, *, owner: str, file_name: str, size_bytes: int, expiry_hours: int
    ) -> Upload:
        """A new upload without bytes."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "INSERT INTO loggia.uploads (id, owner, file_name, size_bytes, expires_at, "
                "completed_at) VALUES (%s, %s, %s, %s, now() + make_interval(hours => %s), "
                "CASE WHEN %s = 0 THEN now() END) RETURNING *",
                (upload_id, owner, file_name, size_bytes, expiry_hours, size_bytes),
            ).fetchone()
        return _upload(cast("DictRow", row))

    def get(self, upload_id: UUID) -> Upload | None:
        """The upload, or None where there is none or it has expired."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT * FROM loggia.uploads WHERE id = %s "
                "AND (completed_at IS NOT NULL OR expires_at > now())",
                (upload_id,),
            ).fetchone()
        return _upload(row) if row else None

    def add_part(self, upload_id: UUID, part: Part, *, expiry_hours: int) -> Upload | None:
        """Records a part that lies in the object store.

        Returns None where the upload is gone or the part does not begin at its offset: then
        somebody else has written meanwhile, and the part must be removed.
        """
        with self._pool.connection() as connection:
            row = connection.execute(
                "UPDATE loggia.uploads SET parts = parts || %(part)s, "
                "offset_bytes = offset_bytes + %(size)s, "
                "expires_at = now() + make_interval(hours => %(hours)s), "
                "completed_at = CASE WHEN offset_bytes + %(size)s = size_bytes THEN now() END "
                "WHERE id = %(id)s AND offset_bytes = %(offset)s "
                "AND offset_bytes + %(size)s <= size_bytes RETURNING *",
                {
                    "part": Jsonb([{"offset": part.offset, "size": part.size}]),
                    "size": part.size,
                    "offset": part.offset,
                    "hours": expiry_hours,
                    "id": upload_id,
                },
            ).fetchone()
        return _upload(row) if row else None

    def reserved_bytes(self) -> int:
        """What all uploads together may come to take."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT COALESCE(sum(size_bytes), 0)::bigint AS total FROM loggia.uploads "
                "WHERE completed_at IS NOT NULL OR expires_at > now()"
            ).fetchone()
        return int(row["total"]) if row else 0

    def delete(self, upload_id: UUID) -> None:
        """Forgets the upload; its parts are removed by the caller."""
        with self._pool.connection() as connection:
            connection.execute("DELETE FROM loggia.uploads WHERE id = %s", (upload_id,))

    def expired(self, limit: int = 100) -> list[Upload]:
        """Unfinished uploads whose time is over."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT * FROM loggia.uploads WHERE completed_at IS NULL AND expires_at <= now() "
                "ORDER BY expires_at LIMIT %s",
                (limit,),
            ).fetchall()
        return [_upload(row) for row in rows]

    def expired_archives(self, limit: int = 100) -> list[Upload]:
        """Complete uploads whose time is over; they are still needed while an import uses them."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT * FROM loggia.uploads WHERE completed_at IS NOT NULL "
                "AND expires_at <= now() ORDER BY expires_at LIMIT %s",
                (limit,),
            ).fetchall()
        return [_upload(row) for row in rows]

    def of_model(self, model_id: UUID) -> list[UUID]:
        """Every upload that belongs to a model, expired ones too."""
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT id FROM loggia.uploads WHERE model_id = %s", (model_id,)
            ).fetchall()
        return [row["id"] for row in rows]


def _upload(row: dict[str, Any]) -> Upload:
    return Upload(
        id=row["id"],
        owner=row["owner"],
        file_name=row["file_name"],
        size_bytes=row["size_bytes"],
        offset_bytes=row["offset_bytes"],
        parts=tuple(Part(part["offset"], part["size"]) for part in row["parts"]),
        model_id=row["model_id"],
        model_version=row["model_version"],
        expires_at=row["expires_at"],
        completed_at=row["completed_at"],
    )


def open_upload(store: ObjectStore, upload: Upload) -> BinaryIO:
    """The upload's bytes as one seekable file, read from its parts without a copy."""
    parts = [PlacedPart(part_path(upload.id, p.offset), p.offset, p.size) for p in upload.parts]
    return open_parts(store, parts)
