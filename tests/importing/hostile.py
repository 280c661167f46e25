"""Archives that no honest program writes, built byte by byte."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass, field, replace

MODEL = b'{"architectures": ["LlamaForCausalLM"]}'


@dataclass(frozen=True)
class Member:
    """A member as the archive describes it; what is None follows from the content."""

    name: str | bytes
    data: bytes = MODEL
    deflate: bool = False
    flags: int = 0
    method: int | None = None
    mode: int = 0o100644
    crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    # The member whose header this one's directory entry points to, by index.
    shares: int | None = None
    shift: int = 0

    @property
    def raw_name(self) -> bytes:
        return self.name.encode() if isinstance(self.name, str) else self.name


@dataclass
class Archive:
    """Writes members, then a directory, then an end record; each can be made to lie."""

    members: list[Member] = field(default_factory=list)
    claimed_entries: int | None = None
    claimed_offset: int | None = None
    claimed_directory_size: int | None = None

    def build(self) -> bytes:
        out = bytearray()
        directory = bytearray()
        offsets: list[int] = []
        for member in self.members:
            packed = member.data
            if member.deflate:
                packer = zlib.compressobj(9, zlib.DEFLATED, -15)
                packed = packer.compress(member.data) + packer.flush()
            method = member.method if member.method is not None else 8 * member.deflate
            crc = member.crc if member.crc is not None else zlib.crc32(member.data)
            size = member.size if member.size is not None else len(member.data)
            packed_size = member.packed_size if member.packed_size is not None else len(packed)
            offsets.append(len(out))
            if member.shares is None:
                name = member.local_name or member.raw_name
                out += struct.pack(
                    "<4s5H3L2H", b"PK\x03\x04", 20, member.flags, method, 0, 0x21, crc,
                    packed_size, size if member.local_size is None else member.local_size,
                    len(name), 0,
                )  # fmt: skip
                out += name + packed
            offset = offsets[-1] if member.shares is None else offsets[member.shares]
            directory += struct.pack(
                "<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 3, 20, 0, member.flags, method, 0, 0x21,
                crc, packed_size, size, len(member.raw_name), 0, 0, 0, 0, member.mode << 16,
                offset + member.shift,
            )  # fmt: skip
            directory += member.raw_name
        count = self.claimed_entries
        count = min(len(self.members), 0xFFFF) if count is None else count
        start = len(out) if self.claimed_offset is None else self.claimed_offset
        size = len(directory)
        size = size if self.claimed_directory_size is None else self.claimed_directory_size
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, start, 0)
        return bytes(out + directory + end)


def archive(*members: Member) -> bytes:
    return Archive(list(members)).build()


def named(*names: str | bytes) -> bytes:
    return archive(*(Member(name) for name in names))


def zeros(count: int, *, deflate: bool = True) -> Member:
    return Member("model.safetensors", bytes(count), deflate=deflate)


def _many(count: int) -> bytes:
    return Archive([Member(f"f{i}", b"") for i in range(count)], claimed_entries=count).build()


def _nested_zip() -> bytes:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr("config.json", MODEL)
    return archive(Member("config.json"), Member("weights.zip", inner.getvalue()))


def _zip64_huge() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file, file.open("a", "w", force_zip64=True) as member:
        member.write(b"x")
    data = bytearray(out.getvalue())
    at = data.rfind(b"PK\x01\x02")
    struct.pack_into("<L", data, at + 24, 0xFFFFFFFF)
    return bytes(data)


_WHOLE = archive(Member("config.json"), Member("model.safetensors", bytes(range(256)) * 40))
_BITTEN = Member("a.txt", b"hello hello hello hello", deflate=True)

# name -> (archive, code of the refusal, words that the message must hold)
CASES: dict[str, tuple[bytes, str, str]] = {
    "parent": (named("../evil"), "path_escape", "'../evil' leads out of"),
    "parent inside": (named("a/../../evil"), "path_escape", "leads out of"),
    "absolute": (named("/etc/passwd"), "path_escape", "'/etc/passwd' is an absolute path"),
    "drive": (named("C:evil"), "path_escape", "'C:evil' is an absolute path"),
    "backslash": (named("..\\evil"), "path_escape", "backslash"),
    "nul": (named(b"a\0b"), "name_with_nul", "NUL"),
    "control": (named("a\u202egnp.exe"), "name_not_printable", "invisible"),
    "empty part": (named("a//b"), "name_empty", "empty part"),
    "long": (named("n" * 300), "name_too_long", "255"),
    "not utf-8": (
        archive(Member(b"\xff\xfe", flags=0x800)), "forged_structure", "not valid UTF-8",
    ),
    "deep": (named("/".join("d" * 40)), "path_too_deep", "40 folders deep"),
    "duplicate": (named("a", "a"), "duplicate_name", "holds 'a' twice"),
    "same after dot": (named("a", "./a"), "duplicate_name", "holds 'a' twice"),
    "case": (named("Config.json", "config.json"), "name_collision", "differ only in case"),
    "unicode": (named("caf\u00e9", "CAFE\u0301"), "name_collision", "how a letter is encoded"),
    "file and folder": (named("a", "a/b"), "name_collision", "a file and a folder"),
    "folder and file": (named("a/b", "A"), "name_collision", "a file and a folder"),
    "symlink": (archive(Member("l", b"/etc/passwd", mode=0o120777)), "symlink", "symbolic link"),
    "device": (archive(Member("d", b"", mode=0o020666)), "device", "character device"),
    "pipe": (archive(Member("p", b"", mode=0o010666)), "device", "named pipe"),
    "encrypted": (archive(Member("a", flags=1)), "encrypted", "'a' is encrypted"),
    "bzip2": (archive(Member("a", method=12)), "unsupported_compression", "bzip2"),
    "overlap": (
        archive(Member("a"), Member("b", shares=0)), "overlap", "shares its data",
    ),
    "overlap by extent": (
        archive(Member("a", bytes(100), packed_size=200, size=200), Member("b", bytes(50))),
        "overlap", "'a' shares its data",
    ),
    "into directory": (
        archive(Member("a", size=4000, packed_size=4000)), "overlap", "shares its data",
    ),
    "ratio 1000": (archive(zeros(50 << 20)), "compression_ratio", "200 times"),
    "hidden ratio": (
        archive(replace(zeros(50 << 20), size=1000)), "forged_size", "'model.safetensors'",
    ),
    "forged size, small": (
        archive(Member("a", b"x" * 5000, deflate=True, size=10)), "forged_size", "'a'",
    ),
    "forged size, large": (
        archive(Member("a", b"x" * 50, deflate=True, size=5000)), "forged_size", "'a'",
    ),
    "forged size, stored": (archive(Member("a", size=7)), "forged_size", "'a'"),
    "two sizes": (archive(Member("a", local_size=1)), "forged_structure", "two different sizes"),
    "two names": (archive(Member("a", local_name=b"b")), "forged_structure", "another name"),
    "no header there": (archive(Member("a", shift=3)), "overlap", "'a'"),
    "terabytes claimed": (
        archive(Member("a", b"x", deflate=True, size=0xFFFFFFF0)), "compression_ratio", "'a'",
    ),
    "no zip64 field": (_zip64_huge(), "forged_structure", "size of 'a' is missing"),
    "folder with content": (archive(Member("d/")), "forged_structure", "content of its own"),
    "checksum": (archive(Member("a", crc=1)), "checksum", "'a' is damaged"),
    "deflate garbage": (
        archive(Member("a", b"\xff" * 99, method=8)), "corrupt", "'a' cannot be unpacked",
    ),
    "deflate cut": (
        archive(replace(_BITTEN, packed_size=4), Member("b")), "corrupt", "'a.txt'",
    ),
    "100 k entries": (_many(100_000 % 65_535 + 20_000), "too_many_entries", "allowed are 10000"),
    "entries not counted": (
        Archive([Member(f"f{i}", b"") for i in range(12_000)], claimed_entries=3).build(),
        "too_many_entries", "allowed are 10000",
    ),
    "fewer entries than claimed": (
        Archive([Member("a")], claimed_entries=7).build(), "forged_structure", "claims 7 entries",
    ),
    "directory elsewhere": (
        Archive([Member("a")], claimed_offset=1).build(), "forged_structure", "not where",
    ),
    "directory of gigabytes": (
        Archive([Member("a")], claimed_directory_size=0xFFFFFF00).build(),
        "forged_structure", "not where",
    ),
    "nested": (_nested_zip(), "nested_archive", "'weights.zip' is an archive inside"),
    "truncated": (_WHOLE[:-30], "truncated", "cut off"),
    "truncated in the data": (_WHOLE[:200], "truncated", "cut off"),
    "front missing": (_WHOLE[40:], "forged_structure", "not where"),
    "not a zip": (b"%PDF-1.7 " * 100, "not_a_zip", "not a zip archive"),
    "nothing": (b"", "not_a_zip", "not a zip archive"),
    "no members": (archive(), "empty", "no files"),
    "only folders": (archive(Member("d/", b"")), "empty", "no files"),
}  # fmt: skip
