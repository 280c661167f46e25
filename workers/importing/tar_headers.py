"""The headers of a tar archive, read strictly (POSIX.1-2017 pax, and GNU's long names).

Python's tarfile reads extension headers of any size into memory, and the versions that are in use
loop or backtrack on forged ones (CVE-2024-6232, CVE-2025-8194). Here every claim is bounded before
it is believed, and what two programs would read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from workers.importing.archive_limits import damaged, truncated
from workers.importing.names import shown
from workers.importing.refusals import ImportRefused

BLOCK = 512
_ZEROS = bytes(BLOCK)
# Extended attributes may be long; a name has 1,024 bytes.
_MAX_EXTENSION_BYTES = 1 << 20
_MAX_HEADERS = 16
# A size that does not fit the header's eleven octal digits.
_BEYOND_OCTAL = 1 << 33
_MAX_SIZE = 1 << 62

_FILE, _FOLDER = {b"0", b"\0", b"7"}, b"5"
_PAX, _PAX_GLOBAL, _SOLARIS = b"x", b"g", b"X"
_LONG_NAME, _LONG_LINK = b"L", b"K"
_REFUSED = {
    b"1": ("hard_link", "a hard link"),
    b"2": ("symlink", "a symbolic link"),
    b"3": ("device", "a character device"),
    b"4": ("device", "a block device"),
    b"6": ("device", "a named pipe"),
    b"S": ("sparse", "a sparse file"),
    b"M": ("split_archive", "the rest of a file in another archive"),
}
_REMEDIES = {
    "hard_link": "Pack again with 'tar --hard-dereference'.",
    "symlink": "Pack again with 'tar --dereference', so that files take the place of links.",
    "device": "Leave it out and pack the model again.",
    "sparse": "Pack again without --sparse.",
    "split_archive": "Pack the model into one archive that is not split.",
}
_SPARSE_KEYS = ("GNU.sparse.", "SCHILY.realsize")
_DIGITS = re.compile(rb"[0-7]{1,12}")
_SIZE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A file or a folder as its headers describe it; the size in bytes."""

    name: str
    size: int
    is_folder: bool

    @property
    def padding(self) -> int:
        """How many zeros follow the data."""
        return -self.size % BLOCK


def is_header(block: bytes) -> bool:
    """Whether a tar archive can begin with these bytes."""
    return len(block) >= BLOCK and block[:BLOCK] != _ZEROS and _has_checksum(block[:BLOCK])


def read_entry(read: Callable[[int], bytes]) -> TarEntry | None:
    """The next entry, or None at the archive's end; then the data of the entry comes next.

    `read` returns as many bytes as asked, fewer only at the end. Raises `ImportRefused`.
    """
    long_name: str | None = None
    pax: dict[str, str] | None = None
    links = 0
    for _ in range(_MAX_HEADERS):
        block = _block(read)
        if block == _ZEROS:
            if long_name is not None or pax is not None:
                raise damaged("The archive ends behind a header that describes nothing.")
            if _block(read) != _ZEROS:
                raise damaged("Half an end mark stands in the middle of the archive.")
            return None
        if not _has_checksum(block):
            raise damaged("The archive holds something else than files: a header is damaged.")
        kind, size = block[156:157], _number(block[124:136])
        if kind == _LONG_LINK and links == 0:
            links += 1
            _extension(read, size)
        elif kind == _LONG_NAME and long_name is None:
            long_name = _text(_extension(read, size).rstrip(b"\0"))
        elif kind == _PAX and pax is None:
            pax = _records(_extension(read, size))
        elif kind == _PAX_GLOBAL and pax is None and long_name is None:
            _refuse_global(_records(_extension(read, size)))
        elif kind in {_LONG_LINK, _LONG_NAME, _PAX, _PAX_GLOBAL, _SOLARIS}:
            raise damaged("A file is described by headers that contradict or repeat each other.")
        else:
            return _entry(block, kind, size, long_name, pax or {})
    raise damaged(f"More than {_MAX_HEADERS} headers stand before one file of the archive.")


def _entry(
    block: bytes, kind: bytes, size: int, long_name: str | None, pax: dict[str, str]
) -> TarEntry:
    if long_name is not None and "path" in pax:
        raise damaged(f"{shown(long_name)} is given two different long names.")
    name = long_name if long_name is not None else pax.get("path")
    if name is None:
        name = _text(_short_name(block))
    if any(key.startswith(_SPARSE_KEYS) for key in pax):
        kind = b"S"
    if kind in _REFUSED:
        code, words = _REFUSED[kind]
        raise ImportRefused(
            code, f"{shown(name)} is {words}; only plain files are accepted.", _REMEDIES[code]
        )
    if kind not in _FILE and kind != _FOLDER:
        raise damaged(f"{shown(name)} is of the unknown kind {shown(kind.decode('latin-1'))}.")
    size = _size(name, size, pax)
    # Before there was a type for folders, a slash at the end of the name meant one.
    is_folder = kind == _FOLDER or (kind == b"\0" and name.endswith("/"))
    if is_folder and size:
        raise damaged(f"The folder {shown(name)} has content of its own.")
    if not is_folder and name.endswith("/"):
        raise damaged(f"{shown(name)} is a file, but is named like a folder.")
    return TarEntry(name, size, is_folder)


def _size(name: str, size: int, pax: dict[str, str]) -> int:
    """The size in bytes; the header's and the extension's must not contradict each other."""
    if "size" not in pax:
        return size
    if not _SIZE.fullmatch(pax["size"]) or int(pax["size"]) > _MAX_SIZE:
        raise damaged(f"The size of {shown(name)} is no usable number.")
    extended = int(pax["size"])
    if size != extended and extended < _BEYOND_OCTAL:
        raise damaged(f"{shown(name)} is given two different sizes.")
    return extended


def _short_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0]
    # GNU's own format keeps times where POSIX keeps the beginning of the name.
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise damaged(f"The name {shown(raw.decode('latin-1'))} is not valid UTF-8.") from None


def _number(field: bytes) -> int:
    """A size: octal digits, or GNU's big-endian binary with the highest bit set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        digits = field.strip(b" \0")
        if digits and not _DIGITS.fullmatch(digits):
            raise damaged("A header of the archive gives a size that is no number.")
        value = int(digits or b"0", 8)
    if value > _MAX_SIZE:
        raise damaged("A header of the archive gives a size that no file has.")
    return value


def _has_checksum(block: bytes) -> bool:
    digits = block[148:156].strip(b" \0")
    if not _DIGITS.fullmatch(digits):
        return False
    return int(digits, 8) == sum(block[:148]) + 8 * ord(" ") + sum(block[156:])


def _records(data: bytes) -> dict[str, str]:
    """The 'length key=value' lines of a pax header. Values that are no text count as ''."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 8)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        if not space + 1 < end <= len(data) or data[end - 1 : end] != b"\n":
            raise damaged("An extended header of the archive is damaged.")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        name = key.decode("utf-8", "replace")
        if not equals or name in records:
            raise damaged("An extended header of the archive is damaged or repeats a field.")
        records[name] = _text(value) if name in {"path", "size"} else ""
        at = end
    return records


def _refuse_global(records: dict[str, str]) -> None:
    """Comments may stand for the whole archive; names and sizes of files may not."""
    if {"path", "size", "linkpath"} & records.keys() or any(
        key.startswith(_SPARSE_KEYS) for key in records
    ):
        raise damaged("A header gives one name or size to all files of the archive.")


def _extension(read: Callable[[int], bytes], size: int) -> bytes:
    if size > _MAX_EXTENSION_BYTES:
        raise damaged(f"A header of the archive has {size} bytes, far more than a name needs.")
    data = read(size)
    if len(data) < size or len(read(-size % BLOCK)) < -size % BLOCK:
        raise truncated("The archive ends inside a header.")
    return data


def _block(read: Callable[[int], bytes]) -> bytes:
    block = read(BLOCK)
    if len(block) < BLOCK:
        raise truncated("The archive ends without an end mark: it was cut off on its way.")
    return block
