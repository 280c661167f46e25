"""gzip and zstd streams, unpacked piece by piece with bounded memory and a bounded ratio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from backports import zstd
from isal import igzip_lib

from workers.importing.archive_limits import (
    CHUNK_BYTES,
    REPACK,
    ArchiveLimits,
    refuse_ratio,
    truncated,
    undecodable,
)
from workers.importing.refusals import ImportRefused

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# What a decompressor may have to remember: 128 MiB, as `zstd` itself accepts without being told.
_WINDOW_LOG = 27
_READ_BYTES = 1 << 16
# Parallel compressors write many frames, all of them large; many small ones only cost time.
_SMALL_FRAME_BYTES = 1024
_MAX_SMALL_FRAMES = 10_000
# Tapes are filled up with zeros behind the data.
MAX_PADDING_BYTES = 16 << 20

# The library's type information calls its exception class an instance.
_GzipError = cast("type[Exception]", igzip_lib.error)


class _Frame(Protocol):
    """One frame's decompressor, as Python's own modules shape it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Compression:
    """A kind of compression: its name for people and how a frame of it begins."""

    name: str
    begins: Callable[[bytes], bool]
    frame: Callable[[], _Frame]


def _zstd_frame() -> _Frame:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


def _gzip_frame() -> _Frame:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _begins_zstd(head: bytes) -> bool:
    # Skippable frames have sixteen numbers of their own (RFC 8878, 3.1.2).
    return head[:4] == ZSTD_MAGIC or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50)


COMPRESSIONS = (
    Compression("gzip", lambda head: head[:2] == GZIP_MAGIC, _gzip_frame),
    Compression("zstd", _begins_zstd, _zstd_frame),
)


class Unpacked:
    """What a compressed file holds, to be read once from the beginning to the end.

    Every method raises `ImportRefused` where the data is damaged, cut off or a bomb.
    """

    def __init__(self, source: BinaryIO, compression: Compression, limits: ArchiveLimits) -> None:
        self._source = source
        self._compression = compression
        self._limits = limits
        self._what = f"The {compression.name} data"
        self._frame = compression.frame()
        self._frame_bytes = 0
        self._small_frames = 0
        self._packed = b""
        self._consumed = 0
        self._produced = 0
        self._ended = False
        self._ready = b""

    @property
    def consumed(self) -> int:
        """How many bytes of the compressed file have been read."""
        return self._consumed

    def read(self, count: int) -> bytes:
        """The next `count` bytes; fewer where the data ends. For small counts."""
        parts = [piece := self.some(count)]
        missing = count - len(piece)
        while piece and missing:
            parts.append(piece := self.some(missing))
            missing -= len(piece)
        return b"".join(parts)

    def some(self, most: int) -> bytes:
        """At least one byte and at most `most` and 256 KiB; none at the end."""
        if not self._ready:
            self._ready = self._piece()
        piece, self._ready = self._ready[:most], self._ready[most:]
        return piece

    def _piece(self) -> bytes:
        while not self._ended:
            if self._frame.eof:
                self._next_frame()
                continue
            if self._frame.needs_input and not self._packed:
                self._packed = self._fetch()
                if not self._packed:
                    raise truncated("The archive ends before its compressed data does.")
            try:
                piece = self._frame.decompress(self._packed, CHUNK_BYTES)
            except (zstd.ZstdError, _GzipError) as error:
                raise self._fault(error) from None
            self._packed = b""
            if piece:
                self._frame_bytes += len(piece)
                self._produced += len(piece)
                refuse_ratio("The archive", self._produced, self._consumed, self._limits.max_ratio)
                return piece
        return b""

    def _next_frame(self) -> None:
        if self._frame_bytes < _SMALL_FRAME_BYTES:
            self._small_frames += 1
            if self._small_frames > _MAX_SMALL_FRAMES:
                raise ImportRefused(
                    "too_many_frames",
                    f"{self._what} consists of more than {_MAX_SMALL_FRAMES} tiny pieces.",
                    REPACK,
                )
        rest = self._frame.unused_data
        while len(rest) < 4 and (more := self._fetch()):
            rest += more
        if self._compression.begins(rest.ljust(4, b"\0")):
            self._frame, self._frame_bytes, self._packed = self._compression.frame(), 0, rest
            return
        refuse_trailing(rest, self._fetch)
        self._ended = True

    def _fetch(self) -> bytes:
        data = self._source.read(_READ_BYTES)
        self._consumed += len(data)
        return data

    def _fault(self, error: Exception) -> ImportRefused:
        if "memory" in str(error):
            return ImportRefused(
                "window_too_large",
                f"{self._what} needs more than {1 << (_WINDOW_LOG - 20)} MiB of memory to unpack.",
                "Compress it again without --long and --ultra.",
            )
        return undecodable("The archive")


def refuse_trailing(rest: bytes, fetch: Callable[[], bytes]) -> None:
    """Raises `ImportRefused` unless nothing but a little padding follows."""
    padding = 0
    while rest:
        padding += len(rest)
        if rest.count(0) != len(rest) or padding > MAX_PADDING_BYTES:
            raise ImportRefused(
                "trailing_data",
                "Something else follows behind the end of the archive.",
                REPACK,
            )
        rest = fetch()
