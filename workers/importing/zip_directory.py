"""The zip format's own structures, read strictly: end record, central directory, local headers.

Python's zipfile reads the whole directory before anything can be refused and tolerates forged
positions and overlapping members in the versions that are still in use; a hostile archive must be
refused from a few bytes. Every claim here is checked against the file, and none is trusted later:
sizes and checksums are verified again while the data is read.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from workers.importing.archive_limits import REPACK, damaged, too_many_entries, truncated
from workers.importing.names import shown
from workers.importing.refusals import ImportRefused

STORED = 0
DEFLATED = 8

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s4x2H4x3L4H2x2L")
# Versions and times are skipped: nothing depends on them.
_LOCAL = struct.Struct("<4s2x2H4x3L2H")

_MAX_COMMENT = 0xFFFF
_FLAG_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_FLAG_DESCRIPTOR = 0x0008
_FLAG_PATCH = 0x0020
_FLAG_UTF8 = 0x0800
_MASK16 = 0xFFFF
_MASK32 = 0xFFFFFFFF
_EXTRA_ZIP64 = 0x0001
# Generous for one entry: a path of the allowed length, extra fields and a comment.
_BYTES_PER_ENTRY = 2048

_METHODS = {9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz"}
_KINDS = {
    stat.S_IFLNK: ("symlink", "a symbolic link"),
    stat.S_IFCHR: ("device", "a character device"),
    stat.S_IFBLK: ("device", "a block device"),
    stat.S_IFIFO: ("device", "a named pipe"),
    stat.S_IFSOCK: ("device", "a socket"),
}


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """What the central directory claims about one member; sizes in bytes."""

    raw_name: bytes
    name: str
    method: int
    flags: int
    crc: int
    compressed_size: int
    size: int
    header_offset: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


@dataclass(frozen=True, slots=True)
class _Directory:
    entries: int
    size: int
    offset: int


def read_directory(source: BinaryIO, *, max_entries: int) -> tuple[list[DirectoryEntry], int]:
    """Every entry of the central directory, and the position where the directory begins.

    Raises `ImportRefused` where the file is no zip, is cut off, or claims what it must not.
    """
    directory = _locate(source)
    if directory.entries > max_entries:
        raise too_many_entries(directory.entries, max_entries)
    if directory.size > max_entries * _BYTES_PER_ENTRY:
        raise ImportRefused(
            "directory_too_large",
            f"The archive's table of contents has {directory.size} bytes, far more than "
            f"{max_entries} files need.",
            REPACK,
        )
    source.seek(directory.offset)
    table = source.read(directory.size)
    if len(table) != directory.size:
        raise truncated("The archive ends inside its table of contents.")
    entries: list[DirectoryEntry] = []
    for entry in _entries(table):
        entries.append(entry)
        if len(entries) > max_entries:
            raise too_many_entries(len(entries), max_entries)
    if len(entries) != directory.entries:
        raise damaged(f"The archive claims {directory.entries} entries but lists {len(entries)}.")
    return entries, directory.offset


def data_offset(source: BinaryIO, entry: DirectoryEntry) -> int:
    """Where the member's data begins. The local header must repeat what the directory says.

    Raises `ImportRefused` where the two disagree: another program would read another file.
    """
    source.seek(entry.header_offset)
    fixed = source.read(_LOCAL.size)
    if len(fixed) != _LOCAL.size:
        raise truncated(f"The archive ends before {shown(entry.name)} begins.")
    signature, flags, method, crc, packed, size, name_length, extra_length = _LOCAL.unpack(fixed)
    if signature != b"PK\x03\x04":
        raise damaged(f"No file begins where the archive says that {shown(entry.name)} does.")
    if source.read(name_length) != entry.raw_name:
        raise damaged(f"{shown(entry.name)} has another name where its data begins.")
    if (flags ^ entry.flags) & (_FLAG_ENCRYPTED | _FLAG_DESCRIPTOR) or method != entry.method:
        raise damaged(f"{shown(entry.name)} is described in two different ways.")
    extra = source.read(extra_length)
    if not flags & _FLAG_DESCRIPTOR:
        packed, size, _ = _sizes64(extra, entry.name, packed, size, 0)
        if (crc, packed, size) != (entry.crc, entry.compressed_size, entry.size):
            raise damaged(f"{shown(entry.name)} is given two different sizes or checksums.")
    return source.tell()


def least_extent(entry: DirectoryEntry) -> int:
    """The fewest bytes that the member occupies from its header on."""
    return _LOCAL.size + len(entry.raw_name) + entry.compressed_size


def _locate(source: BinaryIO) -> _Directory:
    length = source.seek(0, 2)
    tail_length = min(length, _END.size + _MAX_COMMENT)
    source.seek(length - tail_length)
    tail = source.read(tail_length)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if len(tail) - at >= _END.size:
            fields = _END.unpack_from(tail, at)
            if at + _END.size + fields[7] == len(tail):
                break
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        source.seek(0)
        if source.read(4) == b"PK\x03\x04":
            raise truncated("The archive's end is missing: it was cut off on its way.")
        raise ImportRefused(
            "not_a_zip",
            "The file is not a zip archive, whatever its name says.",
            "Pack the model's folder as a zip archive and upload that.",
        )
    _, disk, directory_disk, here, entries, size, offset, _ = fields
    end = length - tail_length + at
    if _MASK16 in {disk, directory_disk, entries} or _MASK32 in {size, offset}:
        located = _locate64(source, end)
        if located is not None:
            return located
    if disk or directory_disk or here != entries:
        raise _split()
    if offset + size != end:
        raise damaged("The archive's table of contents is not where the archive says it is.")
    return _Directory(entries, size, offset)


def _locate64(source: BinaryIO, end: int) -> _Directory | None:
    locator_at = end - _END64_LOCATOR.size
    if locator_at < 0:
        return None
    source.seek(locator_at)
    signature, disk, record_at, disks = _END64_LOCATOR.unpack(source.read(_END64_LOCATOR.size))
    if signature != b"PK\x06\x07":
        return None
    if disk or disks > 1:
        raise _split()
    if record_at + _END64.size > locator_at:
        raise damaged("The archive's end record is not where the archive says it is.")
    source.seek(record_at)
    signature, rest, _, _, disk, directory_disk, here, entries, size, offset = _END64.unpack(
        source.read(_END64.size)
    )
    if signature != b"PK\x06\x06" or record_at + 12 + rest != locator_at:
        raise damaged("The archive's end record is not where the archive says it is.")
    if disk or directory_disk or here != entries:
        raise _split()
    if offset + size != record_at:
        raise damaged("The archive's table of contents is not where the archive says it is.")
    return _Directory(entries, size, offset)


def _split() -> ImportRefused:
    return ImportRefused(
        "split_archive",
        "The archive is one part of several.",
        "Pack the model into one archive that is not split.",
    )


def _entries(table: bytes) -> Iterator[DirectoryEntry]:
    at = 0
    while at < len(table):
        if len(table) - at < _CENTRAL.size:
            raise damaged("The archive's table of contents ends inside an entry.")
        (
            signature, flags, method, crc, packed, size,
            name_length, extra_length, comment_length, disk, external, offset,
        ) = _CENTRAL.unpack_from(table, at)  # fmt: skip
        if signature != b"PK\x01\x02":
            raise damaged("The archive's table of contents holds something else than entries.")
        at += _CENTRAL.size
        if at + name_length + extra_length + comment_length > len(table):
            raise damaged("The archive's table of contents ends inside an entry.")
        raw_name = table[at : at + name_length]
        extra = table[at + name_length : at + name_length + extra_length]
        at += name_length + extra_length + comment_length
        name = _decoded(raw_name, flags)
        if _MASK32 in {packed, size, offset}:
            packed, size, offset = _sizes64(extra, name, packed, size, offset)
        if disk not in {0, _MASK16}:
            raise _split()
        _refuse_unreadable(name, flags, method, external)
        yield DirectoryEntry(raw_name, name, method, flags, crc, packed, size, offset)


def _decoded(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if flags & _FLAG_UTF8:
            raise damaged(f"The name {shown(raw.decode('latin-1'))} is not valid UTF-8.") from None
        return raw.decode("cp437")


def _refuse_unreadable(name: str, flags: int, method: int, external: int) -> None:
    if flags & _FLAG_ENCRYPTED:
        raise ImportRefused(
            "encrypted",
            f"{shown(name)} is encrypted.",
            "Pack the model without a password.",
        )
    # The upper half holds Unix permissions; programs that know none leave it zero.
    kind = stat.S_IFMT(external >> 16)
    if kind in _KINDS:
        code, words = _KINDS[kind]
        raise ImportRefused(
            code,
            f"{shown(name)} is {words}; only plain files are accepted.",
            "Replace links by the files they point to (zip without --symlinks) and pack again.",
        )
    if method not in {STORED, DEFLATED} or flags & _FLAG_PATCH:
        raise ImportRefused(
            "unsupported_compression",
            f"{shown(name)} is compressed with {_METHODS.get(method, f'method {method}')}.",
            "Pack the model with the usual zip compression (deflate) or without compression.",
        )


def _sizes64(extra: bytes, name: str, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    """Replaces the values that did not fit 32 bits by those of the zip64 extra field."""
    wanted = [size == _MASK32, packed == _MASK32, offset == _MASK32]
    if not any(wanted):
        return packed, size, offset
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _EXTRA_ZIP64:
            field = extra[at + 4 : at + 4 + length]
            if len(field) != length or length < 8 * sum(wanted):
                break
            values = iter(struct.unpack_from(f"<{length // 8}Q", field))
            size = next(values) if wanted[0] else size
            packed = next(values) if wanted[1] else packed
            offset = next(values) if wanted[2] else offset
            return packed, size, offset
        at += 4 + length
    raise damaged(f"The size of {shown(name)} is missing.")
