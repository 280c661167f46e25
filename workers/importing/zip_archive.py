"""Reading of a zip archive: every byte of its files once, nothing written to disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, cast

from isal import isal_zlib

from workers.importing.archive_limits import (
    CHUNK_BYTES,
    ArchiveLimits,
    damaged,
    empty,
    refuse_nested,
    refuse_ratio,
    refuse_total,
    truncated,
    undecodable,
)
from workers.importing.names import NameRegister, is_leftover, member_path, shown
from workers.importing.refusals import ImportRefused
from workers.importing.zip_directory import (
    STORED,
    DirectoryEntry,
    data_offset,
    least_extent,
    read_directory,
)

# The library's type information calls its exception class an instance.
_InflateError = cast("type[Exception]", isal_zlib.error)


class ZipArchive:
    """A zip archive in a seekable reader."""

    def __init__(self, source: BinaryIO, limits: ArchiveLimits) -> None:
        self._source = source
        self._limits = limits
        listed, self._directory_offset = read_directory(source, max_entries=limits.max_entries)
        self.leftovers: list[str] = []
        self.consumed = None
        self._members = self._checked(listed)
        self.total_bytes = sum(member.size for member in self._members)

    def entries(self) -> Iterator[ZipMember]:
        """The files in the order of their data."""
        return iter(self._members)

    def _checked(self, listed: list[DirectoryEntry]) -> list[ZipMember]:
        names = NameRegister()
        paths: dict[int, str] = {}
        for entry in listed:
            path = member_path(entry.name.rstrip("/"), max_depth=self._limits.max_depth)
            if entry.is_folder:
                if entry.size:
                    raise damaged(f"The folder {shown(entry.name)} has content of its own.")
            elif is_leftover(path):
                self.leftovers.append(path)
            else:
                names.add(path)
                self._refuse_by_claims(entry, path)
                paths[entry.header_offset] = path
        refuse_total(sum(entry.size for entry in listed), self._limits)
        if not paths:
            raise empty()
        return self._placed(listed, paths)

    def _placed(self, listed: list[DirectoryEntry], paths: dict[int, str]) -> list[ZipMember]:
        """Gives every member the position that its data must not reach. Refuses overlaps."""
        members: list[ZipMember] = []
        bound = self._directory_offset
        for entry in sorted(listed, key=lambda entry: entry.header_offset, reverse=True):
            if entry.header_offset + least_extent(entry) > bound:
                raise ImportRefused(
                    "overlap",
                    f"{shown(entry.name)} shares its data with another part of the archive.",
                    "Pack the model's folder again with a current zip program.",
                )
            path = paths.get(entry.header_offset)
            if path is not None:
                members.append(ZipMember(self._source, entry, path, bound, self._limits.max_ratio))
            bound = entry.header_offset
        return members[::-1]

    def _refuse_by_claims(self, entry: DirectoryEntry, path: str) -> None:
        refuse_nested(path)
        if entry.method == STORED and entry.size != entry.compressed_size:
            raise _wrong_size(path)
        refuse_ratio(shown(path), entry.size, entry.compressed_size, self._limits.max_ratio)


class ZipMember:
    """One file of a zip archive. Reading it verifies size, checksum and ratio."""

    __slots__ = ("_bound", "_entry", "_max_ratio", "_source", "path")

    def __init__(
        self, source: BinaryIO, entry: DirectoryEntry, path: str, bound: int, max_ratio: int
    ) -> None:
        self._source = source
        self._entry = entry
        self._bound = bound
        self._max_ratio = max_ratio
        self.path = path

    @property
    def size(self) -> int:
        return self._entry.size

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 256 KiB."""
        start = data_offset(self._source, self._entry)
        if start + self._entry.compressed_size > self._bound:
            raise ImportRefused(
                "overlap",
                f"{shown(self.path)} shares its data with another part of the archive.",
                "Pack the model's folder again with a current zip program.",
            )
        self._source.seek(start)
        produced = crc = 0
        pieces = self._stored() if self._entry.method == STORED else self._inflated()
        for piece in pieces:
            produced += len(piece)
            if produced > self._entry.size:
                raise _wrong_size(self.path)
            crc = isal_zlib.crc32(piece, crc)
            yield piece
        if produced != self._entry.size:
            raise _wrong_size(self.path)
        if crc != self._entry.crc:
            raise ImportRefused(
                "checksum",
                f"{shown(self.path)} is damaged: its checksum does not match.",
                "Check that the archive opens on your computer, then upload it again.",
            )

    def _stored(self) -> Iterator[bytes]:
        left = self._entry.compressed_size
        while left:
            piece = self._source.read(min(left, CHUNK_BYTES))
            if not piece:
                raise truncated(f"The archive ends inside {shown(self.path)}.")
            left -= len(piece)
            yield piece

    def _inflated(self) -> Iterator[bytes]:
        inflater = isal_zlib.decompressobj(wbits=-15)
        left = self._entry.compressed_size
        produced = 0
        while not inflater.eof:
            packed = inflater.unconsumed_tail
            if not packed and left:
                packed = self._source.read(min(left, CHUNK_BYTES))
                if not packed:
                    raise truncated(f"The archive ends inside {shown(self.path)}.")
                left -= len(packed)
            try:
                piece = inflater.decompress(packed, CHUNK_BYTES)
            except _InflateError:
                raise undecodable(shown(self.path)) from None
            if piece:
                produced += len(piece)
                consumed = self._entry.compressed_size - left - len(inflater.unconsumed_tail)
                refuse_ratio(shown(self.path), produced, consumed, self._max_ratio)
                yield piece
            elif not packed and not inflater.eof:
                raise undecodable(shown(self.path))
        if left or inflater.unused_data:
            raise _wrong_size(self.path)


def _wrong_size(path: str) -> ImportRefused:
    return ImportRefused(
        "forged_size",
        f"{shown(path)} does not have the size that the archive claims.",
        "Pack the model's folder again with a current zip program and upload that archive.",
    )
