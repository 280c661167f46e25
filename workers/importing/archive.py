"""Safe, streaming reading of an upload: every byte once, nothing written to disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from workers.importing.archive_limits import CHUNK_BYTES, ArchiveLimits, truncated
from workers.importing.compressed import COMPRESSIONS
from workers.importing.names import member_path, shown
from workers.importing.refusals import ImportRefused
from workers.importing.tar_archive import TarArchive, TarStream
from workers.importing.tar_headers import BLOCK, is_header
from workers.importing.zip_archive import ZipArchive

_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GGUF_MAGIC = b"GGUF"
# The format allows a header of this many bytes.
_MAX_SAFETENSORS_HEADER = 100_000_000
_KNOWN_BUT_REFUSED = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"BZh": "compressed with bzip2",
    b"\x04\x22\x4d\x18": "compressed with lz4",
}
_SUPPORTED = (
    "Upload a .zip, .tar, .tar.gz or .tar.zst archive of the model's folder, or a single "
    ".safetensors, .gguf or .onnx file."
)


class Entry(Protocol):
    """One file of an archive."""

    @property
    def path(self) -> str:
        """The checked, relative path."""

    @property
    def size(self) -> int:
        """The size in bytes that the archive claims; reading refuses any other."""

    def chunks(self) -> Iterator[bytes]:
        """The content, to be read before the next entry is. Raises `ImportRefused`."""


class Archive(Protocol):
    """An archive whose names have been checked as far as its format allows beforehand."""

    @property
    def total_bytes(self) -> int:
        """What progress counts to: the files' bytes, or the archive's own; see `consumed`."""

    @property
    def consumed(self) -> int | None:
        """How many of the archive's own bytes have been read, where the files are unknown.

        None where every file can be read by itself and `total_bytes` counts their sizes.
        """

    @property
    def leftovers(self) -> Sequence[str]:
        """What an operating system left in the archive; complete when all has been read."""

    def entries(self) -> Iterator[Entry]:
        """The files in the order in which they lie in the archive. Raises `ImportRefused`."""


def open_archive(source: BinaryIO, limits: ArchiveLimits, name: str) -> Archive:
    """The archive, recognised by its content, or the single file with this name.

    Where the format has a table of contents, it is checked, and no file's data is read. Raises
    `ImportRefused`.
    """
    source.seek(0)
    head = source.read(BLOCK)
    if head.startswith(_ZIP_MAGICS):
        return ZipArchive(source, limits)
    compression = next((kind for kind in COMPRESSIONS if kind.begins(head)), None)
    if compression is not None:
        return TarStream(source, compression, limits)
    if is_header(head):
        return TarArchive(source, limits)
    if _is_single_file(head, name):
        return SingleFile(source, name)
    if name.lower().endswith(".zip"):
        # The zip format is recognised by its end; only its reader can say what is wrong.
        return ZipArchive(source, limits)
    what = next(
        (words for magic, words in _KNOWN_BUT_REFUSED.items() if head.startswith(magic)),
        "neither an archive nor a model file that Loggia knows, whatever its name says",
    )
    raise ImportRefused("unknown_format", f"{shown(name)} is {what}.", _SUPPORTED)


def _is_single_file(head: bytes, name: str) -> bool:
    if head.startswith(_GGUF_MAGIC):
        return True
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_SAFETENSORS_HEADER:
        return True
    # An ONNX file has no mark of its own: it begins with any field of its message.
    return name.lower().endswith(".onnx") and bool(head)


class SingleFile:
    """An upload that is no archive but a model's only file."""

    consumed = None
    leftovers: tuple[str, ...] = ()

    def __init__(self, source: BinaryIO, name: str) -> None:
        self._source = source
        self.path = member_path(name.rsplit("/", 1)[-1], max_depth=1)
        self.total_bytes = self.size = source.seek(0, 2)

    def entries(self) -> Iterator[SingleFile]:
        """The file itself."""
        yield self

    def chunks(self) -> Iterator[bytes]:
        """The content in pieces of at most 256 KiB."""
        self._source.seek(0)
        left = self.size
        while left:
            piece = self._source.read(min(left, CHUNK_BYTES))
            if not piece:
                raise truncated(f"The upload of {shown(self.path)} is not whole.")
            left -= len(piece)
            yield piece
