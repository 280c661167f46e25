"""Reading of tar archives: plain ones at any position, compressed ones from front to back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from workers.importing.archive_limits import (
    CHUNK_BYTES,
    ArchiveLimits,
    empty,
    refuse_nested,
    refuse_total,
    too_many_entries,
    truncated,
)
from workers.importing.compressed import Compression, Unpacked, refuse_trailing
from workers.importing.names import NameRegister, is_leftover, member_path, shown
from workers.importing.tar_headers import TarEntry, read_entry


class _Admission:
    """Decides for each entry, in order, what becomes of it. Raises `ImportRefused`."""

    def __init__(self, limits: ArchiveLimits) -> None:
        self._limits = limits
        self._names = NameRegister()
        self._entries = self._files = self._total = 0
        self.leftovers: list[str] = []

    def path(self, entry: TarEntry) -> str | None:
        """The path of a file; None where it is a folder or not to be imported."""
        self._entries += 1
        if self._entries > self._limits.max_entries:
            raise too_many_entries(self._entries, self._limits.max_entries)
        self._total += entry.size
        refuse_total(self._total, self._limits)
        name = entry.name.rstrip("/") or entry.name
        if entry.is_folder and name == ".":
            # 'tar -C folder .' begins with the folder itself.
            return None
        path = member_path(name, max_depth=self._limits.max_depth)
        if entry.is_folder:
            return None
        if is_leftover(path):
            self.leftovers.append(path)
            return None
        self._names.add(path)
        refuse_nested(path)
        self._files += 1
        return path

    def finish(self) -> None:
        """At the end of the archive."""
        if not self._files:
            raise empty()


class TarArchive:
    """A plain tar archive in a seekable reader; all headers are read before any data is."""

    def __init__(self, source: BinaryIO, limits: ArchiveLimits) -> None:
        self._source = source
        self._members: list[TarMember] = []
        admission = _Admission(limits)
        length = source.seek(0, 2)
        source.seek(0)
        while (entry := read_entry(source.read)) is not None:
            path = admission.path(entry)
            start = source.tell()
            if entry.size + entry.padding > length - start:
                raise truncated(f"The archive ends inside {shown(entry.name)}.")
            if path is not None:
                self._members.append(TarMember(path, entry.size, source, start))
            source.seek(start + entry.size + entry.padding)
        refuse_trailing(source.read(CHUNK_BYTES), lambda: source.read(CHUNK_BYTES))
        admission.finish()
        self.leftovers = admission.leftovers
        self.consumed = None
        self.total_bytes = sum(member.size for member in self._members)

    def entries(self) -> Iterator[TarMember]:
        """The files in the order of their data."""
        return iter(self._members)


class TarStream:
    """A compressed tar archive. Its files can only be had in order, and only once.

    What the archive holds in all is known when it has been read; until then its own size stands
    for the work.
    """

    def __init__(self, source: BinaryIO, compression: Compression, limits: ArchiveLimits) -> None:
        self._limits = limits
        self.total_bytes = source.seek(0, 2)
        source.seek(0)
        self._unpacked = Unpacked(source, compression, limits)
        self._admission = _Admission(limits)
        self.leftovers = self._admission.leftovers

    @property
    def consumed(self) -> int:
        """How many bytes of the compressed archive have been read."""
        return self._unpacked.consumed

    def entries(self) -> Iterator[StreamedMember]:
        """Each file as it comes; what nobody read of it is passed over."""
        while (entry := read_entry(self._unpacked.read)) is not None:
            path = self._admission.path(entry)
            member = StreamedMember(path or entry.name, entry.size, self._unpacked)
            if path is not None:
                yield member
            for _ in member.chunks():
                pass
            if len(self._unpacked.read(entry.padding)) < entry.padding:
                raise truncated(f"The archive ends behind {shown(entry.name)}.")
        refuse_trailing(self._unpacked.some(CHUNK_BYTES), lambda: self._unpacked.some(CHUNK_BYTES))
        self._admission.finish()


class TarMember:
    """One file of a plain tar archive."""

    __slots__ = ("_source", "_start", "path", "size")

    def __init__(self, path: str, size: int, source: BinaryIO, start: int) -> None:
        self.path = path
        self.size = size
        self._source = source
        self._start = start

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 256 KiB."""
        self._source.seek(self._start)
        left = self.size
        while left:
            piece = self._source.read(min(left, CHUNK_BYTES))
            if not piece:
                raise truncated(f"The archive ends inside {shown(self.path)}.")
            left -= len(piece)
            yield piece


class StreamedMember:
    """One file of a compressed tar archive, to be read before the next is asked for."""

    __slots__ = ("_left", "_unpacked", "path", "size")

    def __init__(self, path: str, size: int, unpacked: Unpacked) -> None:
        self.path = path
        self.size = size
        self._left = size
        self._unpacked = unpacked

    def chunks(self) -> Iterator[bytes]:
        """What has not been read of the content, in pieces of at most 256 KiB."""
        while self._left:
            piece = self._unpacked.some(self._left)
            if not piece:
                raise truncated(f"The archive ends inside {shown(self.path)}.")
            self._left -= len(piece)
            yield piece
