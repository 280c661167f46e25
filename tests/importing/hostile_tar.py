"""Tar archives that no honest program writes, built block by block, plain and compressed."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass

from backports import zstd

MODEL = b'{"architectures": ["LlamaForCausalLM"]}'
END = bytes(1024)


@dataclass(frozen=True)
class Block:
    """One header and what follows it; what is None follows from the content."""

    name: str | bytes = "config.json"
    data: bytes = MODEL
    kind: bytes = b"0"
    size: int | bytes | None = None
    link: bytes = b""
    magic: bytes = b"ustar\x0000"
    prefix: bytes = b""
    checksum: int | None = None

    def build(self) -> bytes:
        name = self.name.encode() if isinstance(self.name, str) else self.name
        size = len(self.data) if self.size is None else self.size
        field = size if isinstance(size, bytes) else b"%011o\0" % size
        header = bytearray(512)
        header[0:100] = name[:100].ljust(100, b"\0")
        header[100:108] = b"0000644\0"
        header[108:116] = header[116:124] = b"0000000\0"
        header[124:136] = field
        header[136:148] = b"00000000000\0"
        header[148:156] = b" " * 8
        header[156:157] = self.kind
        header[157:257] = self.link.ljust(100, b"\0")
        header[257:265] = self.magic
        header[345:500] = self.prefix.ljust(155, b"\0")
        total = sum(header) if self.checksum is None else self.checksum
        header[148:156] = b"%06o\0 " % total
        return bytes(header) + self.data + bytes(-len(self.data) % 512)


def tar(*blocks: Block, end: bytes = END) -> bytes:
    return b"".join(block.build() for block in blocks) + end


def named(*names: str | bytes) -> bytes:
    return tar(*(Block(name) for name in names))


def pax(*records: tuple[str, str | bytes], kind: bytes = b"x") -> Block:
    """An extended header."""
    lines = b""
    for key, value in records:
        rest = b" " + key.encode() + b"=" + (value.encode() if isinstance(value, str) else value)
        length = len(rest) + 1
        while len(str(length)) + len(rest) + 1 != length:
            length = len(str(length)) + len(rest) + 1
        lines += str(length).encode() + rest + b"\n"
    return Block("PaxHeaders/x", lines, kind)


def long_name(name: str | bytes, kind: bytes = b"L") -> Block:
    """GNU's long name."""
    raw = name.encode() if isinstance(name, str) else name
    return Block("././@LongLink", raw + b"\0", kind, magic=b"ustar  \0")


def _sparse() -> bytes:
    """As GNU tar writes a file with a hole."""
    return tar(Block("model.safetensors", b"x" * 512, b"S", magic=b"ustar  \0"))


def _many(count: int) -> bytes:
    return b"".join([Block(f"f{i}", b"").build() for i in range(count)]) + END


def _nested() -> bytes:
    return tar(Block(), Block("weights.tar", tar(Block())))


def _bomb() -> bytes:
    return tar(Block("model.safetensors", bytes(50 << 20)))


def _random(count: int) -> bytes:
    state, out = 1, bytearray()
    while len(out) < count:
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out += state.to_bytes(8, "big")
    return bytes(out[:count])


NOISE = _random(1 << 16)
_WHOLE = tar(Block(), Block("model.safetensors", NOISE))
_BASE256 = b"\x80" + (1 << 62).to_bytes(11, "big")
_NEGATIVE = b"\xff" * 12

# name -> (archive, code of the refusal, words that the message must hold); each is tried plain
# and compressed.
TAR_CASES: dict[str, tuple[bytes, str, str]] = {
    "parent": (named("../evil"), "path_escape", "'../evil' leads out of"),
    "parent inside": (named("a/../../evil"), "path_escape", "leads out of"),
    "parent by prefix": (tar(Block("evil", prefix=b"..")), "path_escape", "leads out of"),
    "parent by pax": (tar(pax(("path", "../evil")), Block()), "path_escape", "leads out of"),
    "parent by long name": (tar(long_name("../evil"), Block()), "path_escape", "leads out of"),
    "parent folder": (tar(Block("../d/", b"", b"5")), "path_escape", "leads out of"),
    "absolute": (named("/etc/passwd"), "path_escape", "'/etc/passwd' is an absolute path"),
    "drive": (named("C:evil"), "path_escape", "'C:evil' is an absolute path"),
    "backslash": (named("..\\evil"), "path_escape", "backslash"),
    "nul by pax": (tar(pax(("path", "a\0b")), Block()), "name_with_nul", "NUL"),
    "nul by long name": (tar(long_name(b"a\0../b"), Block()), "name_with_nul", "NUL"),
    "control": (named("a\u202egnp.exe"), "name_not_printable", "invisible"),
    "empty part": (named("a//b"), "name_empty", "empty part"),
    "no name": (named(""), "name_empty", "empty part"),
    "long": (tar(long_name("n" * 300), Block()), "name_too_long", "255"),
    "not utf-8": (named(b"\xff\xfe"), "forged_structure", "not valid UTF-8"),
    "not utf-8 by pax": (
        tar(pax(("path", b"\xff")), Block()), "forged_structure", "not valid UTF-8",
    ),
    "deep": (named("/".join("d" * 40)), "path_too_deep", "40 folders deep"),
    "duplicate": (named("a", "a"), "duplicate_name", "holds 'a' twice"),
    "same after dot": (named("a", "./a"), "duplicate_name", "holds 'a' twice"),
    "case": (named("Config.json", "config.json"), "name_collision", "differ only in case"),
    "unicode": (named("caf\u00e9", "CAFE\u0301"), "name_collision", "how a letter is encoded"),
    "file and folder": (named("a", "a/b"), "name_collision", "a file and a folder"),
    "symlink": (
        tar(Block("l", b"", b"2", link=b"/etc/passwd")), "symlink", "'l' is a symbolic link",
    ),
    "hard link": (
        tar(Block("a"), Block("l", b"", b"1", link=b"a")), "hard_link", "'l' is a hard link",
    ),
    "character device": (tar(Block("d", b"", b"3")), "device", "character device"),
    "block device": (tar(Block("d", b"", b"4")), "device", "block device"),
    "pipe": (tar(Block("p", b"", b"6")), "device", "named pipe"),
    "sparse": (_sparse(), "sparse", "'model.safetensors' is a sparse file"),
    "sparse by pax": (
        tar(pax(("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9" * 12)), Block("w")),
        "sparse", "'w' is a sparse file",
    ),
    "sparse for all": (
        tar(pax(("GNU.sparse.major", "1"), kind=b"g"), Block("w")), "forged_structure", "all files",
    ),
    "rest of another archive": (tar(Block("a", kind=b"M")), "split_archive", "another archive"),
    "unknown kind": (tar(Block("a", kind=b"Z")), "forged_structure", "unknown kind 'Z'"),
    "folder with content": (tar(Block("d/", kind=b"5")), "forged_structure", "content of its own"),
    "file like a folder": (named("d/"), "forged_structure", "named like a folder"),
    "checksum": (tar(Block(), Block("b", checksum=1)), "forged_structure", "header is damaged"),
    "forged size, large": (tar(Block("a", size=1 << 32), Block("b")), "truncated", "inside 'a'"),
    "forged size, small": (
        tar(Block("a", NOISE, size=10)), "forged_structure", "header is damaged",
    ),
    "size of exabytes": (tar(Block("a", size=_BASE256)), "too_large", "allowed are 1099511627776"),
    "size below zero": (tar(Block("a", size=_NEGATIVE)), "forged_structure", "no file has"),
    "size no number": (tar(Block("a", size=b"12x45678901\0")), "forged_structure", "no number"),
    "size by pax no number": (
        tar(pax(("size", "-1")), Block("a")), "forged_structure", "no usable number",
    ),
    "size by pax huge": (
        tar(pax(("size", "9" * 19)), Block("a")), "forged_structure", "no usable number",
    ),
    "two sizes": (tar(pax(("size", "5")), Block("a")), "forged_structure", "two different sizes"),
    "two long names": (
        tar(pax(("path", "a")), long_name("b"), Block()), "forged_structure", "two different long",
    ),
    "two pax headers": (
        tar(pax(("path", "a")), pax(("path", "b")), Block()), "forged_structure", "contradict",
    ),
    "endless headers": (tar(*[long_name("n")] * 5000, Block()), "forged_structure", "contradict"),
    "endless global headers": (
        tar(*[pax(("comment", "x"), kind=b"g")] * 20_000, Block()),
        "forged_structure", "More than 16 headers",
    ),
    "header of gigabytes": (
        tar(Block("x", b"", b"x", size=1 << 32), Block()), "forged_structure", "than a name needs",
    ),
    "long name of gigabytes": (
        tar(Block("x", b"", b"L", size=1 << 32), Block()), "forged_structure", "than a name needs",
    ),
    "pax line too long": (
        tar(Block("x", b"99 path=a\n", b"x"), Block()), "forged_structure", "extended header",
    ),
    "pax line without length": (
        tar(Block("x", b"path=a\n", b"x"), Block()), "forged_structure", "extended header",
    ),
    "pax field twice": (
        tar(pax(("path", "a"), ("path", "b")), Block()), "forged_structure", "repeats a field",
    ),
    "name for all": (
        tar(pax(("path", "a"), kind=b"g"), Block()), "forged_structure", "all files",
    ),
    "header of nothing": (tar(pax(("path", "a"))), "forged_structure", "describes nothing"),
    "100 k entries": (_many(30_000), "too_many_entries", "allowed are 10000"),
    "nested": (_nested(), "nested_archive", "'weights.tar' is an archive inside"),
    "truncated": (_WHOLE[:40_000], "truncated", "inside 'model.safetensors'"),
    "no end mark": (tar(Block(), end=b""), "truncated", "without an end mark"),
    "half an end mark": (tar(Block(), end=END[:512]), "truncated", "without an end mark"),
    "half an end mark inside": (
        tar(Block(), end=END[:512] + Block("b").build() + END), "forged_structure", "Half an end",
    ),
    "truncated header": (tar(Block(), end=b"x" * 100), "truncated", "without an end mark"),
    "something behind": (tar(Block(), end=END + named("b")), "trailing_data", "behind the end"),
    "zeros without end": (tar(Block(), end=bytes(20 << 20)), "trailing_data", "behind the end"),
    "no members": (tar(Block("d/", b"", b"5")), "empty", "no files"),
}  # fmt: skip

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": lambda data: zstd.compress(
        data, options={zstd.CompressionParameter.checksum_flag: True}
    ),
}


def _frames(pack: Callable[[bytes], bytes], data: bytes, size: int) -> bytes:
    return b"".join(pack(data[at : at + size]) for at in range(0, len(data), size))


_GZ, _ZST = COMPRESSED["gzip"], COMPRESSED["zstd"]
# A frame header that asks for a window of 2 ** (10 + 20) bytes (RFC 8878, 3.1.1.1.2).
_LONG_WINDOW = b"\x28\xb5\x2f\xfd\x00\xa0" + bytes(600)
STREAM_CASES: dict[str, tuple[bytes, str, str]] = {
    "gzip bomb": (_GZ(_bomb()), "compression_ratio", "200 times"),
    "zstd bomb": (_ZST(_bomb()), "compression_ratio", "200 times"),
    "gzip bomb in members": (_frames(_GZ, _bomb(), 4 << 20), "compression_ratio", "200 times"),
    "zstd bomb in frames": (_frames(_ZST, _bomb(), 4 << 20), "compression_ratio", "200 times"),
    "endless empty gzip members": (
        _GZ(tar(Block(), end=b"")) + _GZ(b"") * 30_000 + _GZ(END), "too_many_frames", "tiny pieces",
    ),
    "endless empty zstd frames": (
        _ZST(tar(Block(), end=b"")) + _ZST(b"") * 30_000, "too_many_frames", "tiny pieces",
    ),
    "endless skippable frames": (
        b"\x50\x2a\x4d\x18\0\0\0\0" * 30_000, "too_many_frames", "tiny pieces",
    ),
    "gzip cut": (_GZ(_WHOLE)[:-4000], "truncated", "compressed data"),
    "gzip checksum cut": (_GZ(_WHOLE)[:-4], "truncated", "compressed data"),
    "zstd cut": (_ZST(_WHOLE)[:-4000], "truncated", "compressed data"),
    "gzip damaged": (_GZ(_WHOLE)[:60] + b"\xff" * 99 + _GZ(_WHOLE)[159:], "corrupt", "damaged"),
    "zstd damaged": (_ZST(_WHOLE)[:9] + b"\xff" * 99 + _ZST(_WHOLE)[99:], "corrupt", "damaged"),
    "gzip wrong checksum": (_GZ(_WHOLE)[:-8] + bytes(8), "corrupt", "damaged"),
    "garbage behind gzip": (_GZ(_WHOLE) + b"evil", "trailing_data", "behind the end"),
    "garbage behind zstd": (_ZST(_WHOLE) + b"evil", "trailing_data", "behind the end"),
    "more inside behind the end": (_GZ(_WHOLE) + _GZ(b"evil"), "trailing_data", "behind the end"),
    "window of a gibibyte": (_LONG_WINDOW, "window_too_large", "128 MiB"),
    "compressed, but no tar": (_GZ(MODEL), "truncated", "without an end mark"),
    "compressed weights": (_ZST(NOISE), "forged_structure", "header is damaged"),
}  # fmt: skip


def honest(files: dict[str, bytes], format: int) -> bytes:
    """As Python's own tarfile packs the files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()
