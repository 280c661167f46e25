"""What the import job reads from: an upload, or a source that is fetched first or meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import UUID

from backend.domain.version import Version
from backend.infra.connections import ConnectionStore
from backend.infra.failpoints import failpoint
from backend.infra.uploads import Uploads, open_upload
from backend.sources.errors import ContentChanged
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub
from workers.importing.archive import Archive, Entry, open_archive
from workers.importing.connections import named_connection
from workers.importing.names import NameRegister, is_leftover, member_path, shown
from workers.importing.refusals import ImportRefused
from workers.importing.sources import Ongoing, Source, SourceFile
from workers.importing.sources.directory import DirectorySource
from workers.importing.sources.download import Download, wrong_digest
from workers.importing.sources.huggingface import HuggingFaceSource
from workers.importing.sources.url import UrlSource
from workers.importing.storing import StoredFile

_READ_BYTES = 1 << 20


class Readable(Protocol):
    """Files to be stored, in order. `step` names what reading them is for a person."""

    @property
    def total_bytes(self) -> int | None:
        """As an archive's; None while some file's size is not known."""

    @property
    def consumed(self) -> int | None:
        """As an archive's."""

    @property
    def leftovers(self) -> Sequence[str]:
        """As an archive's."""

    def entries(self) -> Iterator[Entry]:
        """The files, each to be read before the next one."""

    @property
    def step(self) -> str:
        """`extract` or `fetch`."""

    @property
    def resolved(self) -> dict[str, str] | None:
        """What was really fetched; None for an upload."""

    def check(self, stored: StoredFile) -> None:
        """Compares a file with what was promised of it. Raises `ImportRefused`."""

    def location(self, path: str) -> str | None:
        """Where a file stays that is not to be copied."""

    def kept(self, path: str, place: str, size: int) -> None:
        """Notes how much of a file has come so far, and where it lies meanwhile."""


class Extracted:
    """An archive that lies in the object store, of an upload or of an address."""

    step = "extract"

    def __init__(self, archive: Archive, resolved: dict[str, str] | None = None) -> None:
        self._archive = archive
        self.resolved = resolved
        self.total_bytes = archive.total_bytes

    @property
    def consumed(self) -> int | None:
        """How many of the archive's own bytes have been read, where the files are unknown."""
        return self._archive.consumed

    @property
    def leftovers(self) -> Sequence[str]:
        """What an operating system left in the archive."""
        return self._archive.leftovers

    def entries(self) -> Iterator[Entry]:
        """The files in the archive's order."""
        return self._archive.entries()

    def check(self, stored: StoredFile) -> None:
        """An archive's own checksums are checked while it is read."""

    def location(self, path: str) -> str | None:
        """Files of archives are always copied."""

    def kept(self, path: str, place: str, size: int) -> None:
        """The archive is there: what was unpacked is soon unpacked again."""


class Fetched:
    """Files that are fetched one by one while they are stored."""

    step = "fetch"
    consumed = None

    def __init__(self, source: Source, ongoing: Ongoing) -> None:
        """Raises `ImportRefused` where a name or the whole is more than what is allowed."""
        self.resolved: dict[str, str] | None = source.resolved
        self._ongoing = ongoing
        self.leftovers: list[str] = []
        self._files: dict[str, SourceFile] = {}
        self._total_bytes: int | None = None
        names = NameRegister()
        for file in source.files():
            path = member_path(file.path, max_depth=ongoing.limits.max_depth)
            if is_leftover(path):
                self.leftovers.append(path)
            else:
                names.add(path)
                self._files[path] = file
        self._refuse_many()

    @property
    def total_bytes(self) -> int | None:
        """All files together; None while some file's size is not known."""
        if self._total_bytes is None:
            sizes = [file.size for file in self._files.values()]
            self._total_bytes = None if None in sizes else sum(size or 0 for size in sizes)
        return self._total_bytes

    def entries(self) -> Iterator[Entry]:
        """The files in the source's order."""
        for path, file in self._files.items():
            yield _Entry(path, file, self._ongoing)

    def check(self, stored: StoredFile) -> None:
        """Compares a file's digest and size with the promised ones. Raises `ImportRefused`."""
        file = self._files[stored.path]
        if file.sha256 is not None and file.sha256 != stored.sha256:
            raise wrong_digest(stored.path, file.sha256, stored.sha256)
        if file.size is not None and file.size != stored.size:
            raise ImportRefused(
                "wrong_size",
                f"{shown(stored.path)} has {stored.size} bytes; {file.size} were promised.",
                "Correct the size, or retry when the file is whole.",
                step=self.step,
            )

    def location(self, path: str) -> str | None:
        """Where a file stays that is not to be copied."""
        return getattr(self._files[path], "location", None)

    def kept(self, path: str, place: str, size: int) -> None:
        """Enters into the journal how much of a file has come, for whoever takes over."""
        file = self._files[path]
        validator = getattr(file, "validator", None)
        if validator is not None or file.sha256 is not None:
            self._ongoing.journal["partial"] = [path, place, size, validator]
            self._ongoing.write_journal()

    def _refuse_many(self) -> None:
        limits = self._ongoing.limits
        if len(self._files) > limits.max_entries:
            raise ImportRefused(
                "too_many_files",
                f"The source holds {len(self._files)} files; {limits.max_entries} are allowed.",
                "Choose fewer files.",
                step=self.step,
            )
        total = self.total_bytes or 0
        if total > limits.max_total_bytes:
            raise ImportRefused(
                "too_large",
                f"The files have {total} bytes; {limits.max_total_bytes} are allowed.",
                "Choose fewer files, or ask the operator to raise LOGGIA_IMPORT_MAX_BYTES.",
                step=self.step,
            )
        if not self._files:
            raise ImportRefused(
                "empty", "The source holds no files.", "Check what it offers.", step=self.step
            )


class _Entry:
    """A file of a source as the job stores it."""

    def __init__(self, path: str, file: SourceFile, ongoing: Ongoing) -> None:
        self.path = path
        self._file = file
        self._ongoing = ongoing

    @property
    def size(self) -> int:
        """In bytes; 0 where nobody knows before it has come."""
        return self._file.size or 0

    def chunks(self) -> Iterator[bytes]:
        """The content; what an earlier worker has kept of it is not fetched again."""
        done, most = 0, self._ongoing.limits.max_total_bytes
        for chunk in self._resumed() or self._file.chunks():
            failpoint("import.fetched")
            done += len(chunk)
            if done > most or (self._file.size is not None and done > self._file.size):
                raise ImportRefused(
                    "too_large",
                    f"{shown(self.path)} has more bytes than were promised or are allowed.",
                    "Correct the size that is promised, or import a smaller model.",
                    step=Fetched.step,
                )
            yield chunk

    def _resumed(self) -> Iterator[bytes] | None:
        """The kept beginning and the rest; None where there is nothing to go on from."""
        partial = self._ongoing.journal.get("partial")
        if partial is None or partial[0] != self.path:
            return None
        del self._ongoing.journal["partial"]
        _, place, size, validator = partial
        if validator is not None:
            self._file.validator = validator  # type: ignore[attr-defined]
        rest = self._file.chunks(size)
        try:
            kept = self._ongoing.store.open(place)
            first = next(rest, b"")
        except (FileNotFoundError, ContentChanged):
            return None
        return _joined(kept, size, first, rest)


def _joined(kept: BinaryIO, size: int, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    with kept:
        while size and (chunk := kept.read(min(size, _READ_BYTES))):
            size -= len(chunk)
            yield chunk
    if first:
        yield first
    yield from rest


class Sources:
    """Opens what a version comes from."""

    def __init__(
        self,
        roots: Sequence[Path],
        public_hub: str,
        connections: ConnectionStore,
        uploads: Uploads,
        fetching: Callable[[Callable[[], None]], GuardedClient],
    ) -> None:
        """`fetching` gives a client that breaks off when the given function raises."""
        self.roots = roots
        self._public_hub = public_hub
        self._connections = connections
        self._uploads = uploads
        self._fetching = fetching

    @contextmanager
    def open(self, version: Version, ongoing: Ongoing) -> Iterator[Callable[[], Readable]]:
        """Gives what the version's files are read from, as often as it is asked for.

        Raises `FetchRefused`, `FetchFailed` and `ImportRefused`.
        """
        origin = version.origin.get(version.source, {})
        with ExitStack() as stack:
            if version.upload_id is not None:
                upload, file_name = self._upload(version.upload_id, ongoing)
                stack.enter_context(closing(upload))
                yield lambda: Extracted(open_archive(upload, ongoing.limits, file_name))
                return
            client = stack.enter_context(self._fetching(ongoing.check))
            if version.source == "manual":
                origin = _weights(str(origin["weights"]))
            if "mode" in origin:
                path = DirectorySource(origin, self.roots)
                yield lambda: Fetched(path, ongoing)
            elif version.source == "huggingface":
                repository = HuggingFaceSource(
                    stack.enter_context(self._hub(origin, client)),
                    str(origin["repository"]),
                    str(origin["revision"]),
                    origin["files"],
                    commit=ongoing.journal.get("commit"),
                )
                # Written before any file: whoever goes on must not mix two commits.
                ongoing.journal["commit"] = repository.resolved["revision"]
                ongoing.write_journal()
                yield lambda: Fetched(repository, ongoing)
            else:
                name = origin.get("connection")
                connection = named_connection(self._connections, name, "http", "s3")
                url = UrlSource(origin, client, connection)
                if url.archive is None:
                    yield lambda: Fetched(url, ongoing)
                    return
                file_name = url.archive.path
                archive, sha256 = Download(url.archive, ongoing).open()
                stack.enter_context(closing(archive))
                resolved = {**url.resolved, "sha256": sha256}
                yield lambda: Extracted(open_archive(archive, ongoing.limits, file_name), resolved)

    def _upload(self, upload_id: UUID, ongoing: Ongoing) -> tuple[BinaryIO, str]:
        upload = self._uploads.get(upload_id)
        if upload is None or not upload.complete:
            raise ImportRefused(
                "upload_gone",
                "The uploaded archive is no longer stored.",
                "Delete this model and upload the file again.",
            )
        return open_upload(ongoing.store, upload), upload.file_name

    def _hub(self, origin: dict[str, Any], client: GuardedClient) -> Hub:
        connection = named_connection(self._connections, origin.get("connection"), "huggingface")
        if connection is None:
            return Hub(self._public_hub, None, client)
        return Hub(connection.endpoint, connection.secret, client, name=connection.name)


def _weights(place: str) -> dict[str, Any]:
    """A `manual` origin's weights, which are an address or a path."""
    if "://" in place:
        return {"address": place, "connection": None, "files": []}
    return {"path": place, "mode": "reference", "template": None}
