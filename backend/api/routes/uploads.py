"""Resumable uploads: the tus protocol 1.0 with creation, checksum, termination and expiration."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode, b64encode
from contextlib import closing
from datetime import UTC
from email.utils import format_datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from litestar import Request, Response, delete, head, patch, post, route
from litestar.di import NamedDependency
from litestar.enums import HttpMethod
from litestar.params import FromPath
from psycopg.rows import DictRow

from backend.api.identity import Identity
from backend.api.problems import ApiError
from backend.api.receiving import Checksum, ConnectionLost, Receiver, blocks, gone
from backend.api.services import Services
from backend.domain.values import name_from_file
from backend.infra.postgres import connect, lock_number, try_lock
from backend.infra.stored_bytes import stored_bytes
from backend.infra.uploads import Upload

PATH = "/api/uploads"
VERSION = "1.0.0"
MEDIA_TYPE = "application/offset+octet-stream"
_EXTENSIONS = "creation,creation-with-upload,checksum,termination,expiration"
_ALGORITHMS = ("sha1", "sha256")
_MAX_FILE_NAME = 255
_QUOTA_LOCK = "upload quota"

TusRequest = Request[Identity, Any, Any]


@route(PATH, http_method=[HttpMethod.OPTIONS], operation_id="readUploadOptions", status_code=204)
async def read_upload_options(services: NamedDependency[Services]) -> Response[None]:
    """What this server can do with uploads."""
    return _answer(
        204,
        {
            "Tus-Version": VERSION,
            "Tus-Extension": _EXTENSIONS,
            "Tus-Max-Size": str(services.settings.upload_limit_bytes),
            "Tus-Checksum-Algorithm": ",".join(_ALGORITHMS),
        },
    )


@post(PATH, operation_id="createUpload", status_code=201, request_max_body_size=None)
async def create_upload(request: TusRequest, services: NamedDependency[Services]) -> Response[None]:
    """Announces a file by Upload-Length and Upload-Metadata; may bring its first bytes along."""
    _check_version(request)
    size = _number(request, "upload-length")
    file_name = _file_name(request.headers.get("upload-metadata", ""))
    name_from_file(file_name)
    limit = services.settings.upload_limit_bytes
    if size > limit:
        raise ApiError(
            413,
            "too-large",
            f"The file has {size} bytes; one upload may have {limit}.",
            remedy="Make the archive smaller, or ask an administrator to raise "
            "LOGGIA_UPLOAD_LIMIT_BYTES.",
            field="Upload-Length",
        )
    upload = await services.files.run(
        lambda: _create_within_quota(services, request.user.actor, file_name, size)
    )
    headers = {"Location": f"{PATH}/{upload.id}"}
    if request.headers.get("content-type", "").startswith(MEDIA_TYPE):
        upload = await _append(request, services, upload, offset=0)
    return _answer(201, {**headers, **_progress(upload)})


@head(PATH + "/{upload_id:uuid}", operation_id="readUpload")
async def read_upload(
    request: TusRequest, upload_id: FromPath[UUID], services: NamedDependency[Services]
) -> Response[None]:
    """How far an upload has come."""
    _check_version(request)
    upload = await _own_upload(services, request.user, upload_id)
    await services.command_if_any(lambda: services.upload_end.announce(upload))
    name = b64encode(upload.file_name.encode()).decode()
    return _answer(
        200,
        {
            **_progress(upload),
            "Upload-Length": str(upload.size_bytes),
            "Upload-Metadata": f"filename {name}",
        },
    )


@patch(
    PATH + "/{upload_id:uuid}",
    operation_id="appendUpload",
    status_code=204,
    request_max_body_size=None,
)
async def append_upload(
    request: TusRequest, upload_id: FromPath[UUID], services: NamedDependency[Services]
) -> Response[None]:
    """Appends the body at Upload-Offset."""
    _check_version(request)
    if request.headers.get("content-type") != MEDIA_TYPE:
        raise ApiError(
            415,
            "unsupported-media-type",
            "The bytes of an upload must come as application/offset+octet-stream.",
            remedy=f"Send 'Content-Type: {MEDIA_TYPE}'.",
        )
    offset = _number(request, "upload-offset")
    upload = await _own_upload(services, request.user, upload_id)
    upload = await _append(request, services, upload, offset=offset)
    return _answer(204, _progress(upload))


@delete(PATH + "/{upload_id:uuid}", operation_id="terminateUpload", status_code=204)
async def terminate_upload(
    request: TusRequest, upload_id: FromPath[UUID], services: NamedDependency[Services]
) -> Response[None]:
    """Gives an upload up and removes its bytes. A complete one belongs to its import by then."""
    _check_version(request)
    upload = await _own_upload(services, request.user, upload_id)
    if upload.complete and upload.model_id is not None:
        raise ApiError(
            409,
            "not-allowed",
            "The upload is complete and being imported.",
            remedy="Cancel the import instead.",
        )

    def end() -> None:
        with closing(_locked(services, upload_id)):
            services.upload_end.give_up(upload, actor=request.user.actor)

    await services.files.run(end)
    return _answer(204, {})


async def _append(
    request: TusRequest, services: Services, upload: Upload, *, offset: int
) -> Upload:
    checksum = _checksum(request)
    lock = await services.files.run(lambda: _locked(services, upload.id))
    try:
        # What was known before the lock may be old: another request has just ended.
        current = await services.files.run(lambda: services.uploads.get(upload.id))
        if current is None:
            raise gone(upload.id)
        if offset != current.offset_bytes:
            raise ApiError(
                409,
                "wrong-offset",
                f"The upload stands at byte {current.offset_bytes}, not at {offset}.",
                remedy="Ask for the offset with HEAD and go on from there.",
                field="Upload-Offset",
                headers=_progress(current),
            )
        receiver = Receiver(services, current, checksum, lambda: _check_lock(lock))
        stopping = services.is_stopping
        current = await receiver.append(blocks(request.receive, stopping))
    except ConnectionLost:
        raise ApiError(
            503 if services.is_stopping() else 400,
            "interrupted",
            "The request ended before all its bytes had arrived.",
            remedy="Ask for the offset with HEAD and go on from there.",
            headers={"Retry-After": "1", "Tus-Resumable": VERSION},
        ) from None
    finally:
        await services.files.run(lock.close)
    await services.command_if_any(lambda: services.upload_end.announce(current))
    return current


def _refuse_above_store(services: Services, size: int) -> None:
    """An import hardly ever stores less than its archive has: better said before it is sent."""
    limit = services.settings.object_store_quota_bytes
    if limit is None:
        return
    free = max(0, limit - stored_bytes(services.pool))
    if size > free:
        raise ApiError(
            413,
            "store-quota",
            f"The file has {size} bytes, and only {free} of the {limit} bytes for the models' "
            "files are free.",
            remedy="Delete models that nobody needs, or ask an administrator to raise "
            "LOGGIA_OBJECT_STORE_QUOTA_BYTES.",
            field="Upload-Length",
        )


def _create_within_quota(services: Services, owner: str, file_name: str, size: int) -> Upload:
    _refuse_above_store(services, size)
    quota = services.settings.upload_quota_bytes
    with services.pool.connection() as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(_QUOTA_LOCK),))
        free = quota - services.uploads.reserved_bytes()
        if size > free:
            raise ApiError(
                413,
                "quota",
                f"The file has {size} bytes, and only {max(0, free)} of the quota of {quota} "
                "bytes for uploads are free.",
                remedy="Finish, cancel or delete other imports first, or ask an administrator "
                "to raise LOGGIA_UPLOAD_QUOTA_BYTES.",
                field="Upload-Length",
            )
        return services.uploads.create(
            uuid4(),
            owner=owner,
            file_name=file_name,
            size_bytes=size,
            expiry_hours=services.settings.upload_expiry_hours,
        )


async def _own_upload(services: Services, identity: Identity, upload_id: UUID) -> Upload:
    upload = await services.query(lambda: services.uploads.get(upload_id))
    if upload is None or upload.owner != identity.actor:
        raise gone(upload_id)
    return upload


def _locked(services: Services, upload_id: UUID) -> psycopg.Connection[DictRow]:
    """A connection that holds the upload's lock until it is closed, or the process dies."""
    connection = connect(services.settings.dsn)
    if not try_lock(connection, f"upload {upload_id}"):
        connection.close()
        raise ApiError(
            423,
            "locked",
            "Another request is sending bytes of this upload.",
            remedy="Wait until it ends, then ask for the offset with HEAD and go on from there.",
            headers={"Retry-After": "1"},
        )
    return connection


def _check_lock(connection: psycopg.Connection[DictRow]) -> None:
    connection.execute("SELECT 1")


def _check_version(request: TusRequest) -> None:
    if request.headers.get("tus-resumable") != VERSION:
        raise ApiError(
            412,
            "tus-version",
            f"This server speaks version {VERSION} of the tus protocol.",
            remedy=f"Send the header 'Tus-Resumable: {VERSION}'.",
            headers={"Tus-Version": VERSION},
        )


def _number(request: TusRequest, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        title = "-".join(part.capitalize() for part in name.split("-"))
        raise ApiError(
            422,
            "invalid",
            f"The header {title} must be a number of bytes.",
            remedy=f"Send {title} with a whole number that is not negative.",
            field=title,
        )
    return int(text)


def _file_name(metadata: str) -> str:
    items = (item.strip().partition(" ") for item in metadata.split(","))
    pairs = {key: value for key, _, value in items}
    try:
        name = b64decode(pairs.get("filename", ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        name = ""
    if not 1 <= len(name) <= _MAX_FILE_NAME:
        raise ApiError(
            422,
            "invalid",
            f"Upload-Metadata must name the file, with 1 to {_MAX_FILE_NAME} characters.",
            remedy="Send 'Upload-Metadata: filename <base64 of the name>'.",
            field="Upload-Metadata",
        )
    return name


def _checksum(request: TusRequest) -> Checksum | None:
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, encoded = header.partition(" ")
    try:
        digest = b64decode(encoded, validate=True)
    except binascii.Error:
        digest = b""
    known = algorithm in _ALGORITHMS
    if not known or len(digest) != hashlib.new(algorithm).digest_size:
        raise ApiError(
            400,
            "checksum",
            "The header Upload-Checksum cannot be used.",
            remedy=f"Send one of {', '.join(_ALGORITHMS)} and the base64 of the digest.",
            field="Upload-Checksum",
        )
    return Checksum(algorithm, digest)


def _progress(upload: Upload) -> dict[str, str]:
    headers = {"Upload-Offset": str(upload.offset_bytes)}
    if not upload.complete:
        headers["Upload-Expires"] = format_datetime(upload.expires_at.astimezone(UTC), usegmt=True)
    return headers


def _answer(status: int, headers: dict[str, str]) -> Response[None]:
    return Response(None, status_code=status, headers={"Tus-Resumable": VERSION, **headers})


HANDLERS = [read_upload_options, create_upload, read_upload, append_upload, terminate_upload]
