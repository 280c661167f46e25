"""Safe, streaming reading of an uploaded archive: every byte once, nothing written to disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from isal import isal_zlib

from workers.importing.names import NameRegister, is_leftover, member_path, shown
from workers.importing.refusals import ImportRefused
from workers.importing.zip_directory import (
    STORED,
    DirectoryEntry,
    damaged,
    data_offset,
    least_extent,
    read_directory,
    truncated,
)

# The library's type information calls its exception class an instance.
_InflateError = cast("type[Exception]", isal_zlib.error)

_CHUNK_BYTES = 1 << 18
# Below this many bytes of output a high ratio harms nobody and is common (configs, empty weights).
_RATIO_FREE_BYTES = 1 << 20

_NESTED = (
    ".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".lz4", ".cab", ".iso",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may at most contain. Sizes in bytes; depth in path components."""

    max_entries: int = 10_000
    max_depth: int = 16
    max_total_bytes: int = 1 << 40
    max_ratio: int = 200


class Entry(Protocol):
    """One file of an archive."""

    @property
    def path(self) -> str:
        """The checked, relative path."""

    @property
    def size(self) -> int:
        """The size in bytes that the archive claims; reading refuses any other."""

    @property
    def archived_bytes(self) -> int:
        """How many bytes of the archive this file occupies; what progress counts."""

    def chunks(self) -> Iterator[bytes]:
        """The content, to be read before the next entry is. Raises `ImportRefused`."""


class Archive(Protocol):
    """An archive whose names have been checked as far as its format allows beforehand."""

    def entries(self) -> Iterator[Entry]:
        """The files in the order in which they lie in the archive. Raises `ImportRefused`."""


def open_archive(source: BinaryIO, limits: ArchiveLimits) -> ZipArchive:
    """Checks the archive's table of contents. Raises `ImportRefused`; reads no file's data."""
    return ZipArchive(source, limits)


class ZipArchive:
    """A zip archive in a seekable reader."""

    def __init__(self, source: BinaryIO, limits: ArchiveLimits) -> None:
        self._source = source
        self._limits = limits
        listed, self._directory_offset = read_directory(source, max_entries=limits.max_entries)
        self.leftovers: list[str] = []
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
        self._refuse_total(listed)
        if not paths:
            raise ImportRefused(
                "empty",
                "The archive contains no files.",
                "Pack the folder that holds config.json and the weights.",
            )
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
        if path.lower().endswith(_NESTED):
            raise ImportRefused(
                "nested_archive",
                f"{shown(path)} is an archive inside the archive; it would not be unpacked.",
                "Unpack it first, then pack the model's files into one zip archive.",
            )
        if entry.method == STORED and entry.size != entry.compressed_size:
            raise _wrong_size(path)
        _refuse_ratio(path, entry.size, entry.compressed_size, self._limits.max_ratio)

    def _refuse_total(self, listed: list[DirectoryEntry]) -> None:
        total = sum(entry.size for entry in listed)
        if total > self._limits.max_total_bytes:
            raise ImportRefused(
                "too_large",
                f"Unpacked, the archive would have {total} bytes; allowed are "
                f"{self._limits.max_total_bytes}.",
                "Import a smaller model, or ask the operator to raise the limit.",
            )


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

    @property
    def archived_bytes(self) -> int:
        return self._entry.compressed_size

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
            piece = self._source.read(min(left, _CHUNK_BYTES))
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
                packed = self._source.read(min(left, _CHUNK_BYTES))
                if not packed:
                    raise truncated(f"The archive ends inside {shown(self.path)}.")
                left -= len(packed)
            try:
                piece = inflater.decompress(packed, _CHUNK_BYTES)
            except _InflateError:
                raise _undecodable(self.path) from None
            if piece:
                produced += len(piece)
                consumed = self._entry.compressed_size - left - len(inflater.unconsumed_tail)
                _refuse_ratio(self.path, produced, consumed, self._max_ratio)
                yield piece
            elif not packed and not inflater.eof:
                raise _undecodable(self.path)
        if left or inflater.unused_data:
            raise _wrong_size(self.path)


def _refuse_ratio(path: str, size: int, packed: int, most: int) -> None:
    if size > _RATIO_FREE_BYTES and size > most * max(packed, 1):
        raise ImportRefused(
            "compression_ratio",
            f"{shown(path)} would grow to more than {most} times its packed size, as a "
            "decompression bomb does.",
            "Leave the file out, or pack the model without compression.",
        )


def _wrong_size(path: str) -> ImportRefused:
    return ImportRefused(
        "forged_size",
        f"{shown(path)} does not have the size that the archive claims.",
        "Pack the model's folder again with a current zip program and upload that archive.",
    )


def _undecodable(path: str) -> ImportRefused:
    return ImportRefused(
        "corrupt",
        f"{shown(path)} cannot be unpacked: its compressed data is damaged.",
        "Check that the archive opens on your computer, then upload it again.",
    )
