"""Hostile and honest tar archives and single files."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Literal

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tests.builders.models import tensors, tiny_llama, write_folder
from tests.importing.hostile_tar import (
    COMPRESSED,
    NOISE,
    STREAM_CASES,
    TAR_CASES,
    Block,
    honest,
    tar,
)
from workers.importing.archive import open_archive
from workers.importing.archive_limits import ArchiveLimits
from workers.importing.refusals import ImportRefused

LIMITS = ArchiveLimits()


def read_all(
    data: bytes, limits: ArchiveLimits = LIMITS, name: str = "model.tar"
) -> dict[str, bytes]:
    return {
        entry.path: b"".join(entry.chunks())
        for entry in open_archive(io.BytesIO(data), limits, name).entries()
    }


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("name", TAR_CASES)
def test_a_hostile_tar_is_refused_by_its_own_name(name: str, compression: str) -> None:
    data, code, words = TAR_CASES[name]
    with pytest.raises(ImportRefused) as refused:
        read_all(COMPRESSED[compression](data))
    # Tars of thousands of equal headers are bombs too when they are compressed.
    if compression == "plain" or refused.value.code != "compression_ratio":
        assert refused.value.code == code
        assert words in refused.value.reason
    assert refused.value.remedy.endswith(".")


@pytest.mark.parametrize("name", STREAM_CASES)
def test_a_hostile_stream_is_refused_by_its_own_name(name: str) -> None:
    data, code, words = STREAM_CASES[name]
    with pytest.raises(ImportRefused) as refused:
        read_all(data)
    assert refused.value.code == code
    assert words in refused.value.reason
    assert refused.value.remedy.endswith(".")


def test_no_hostile_tar_takes_much_memory_or_computing() -> None:
    """As for zip archives: the child dies where all cases together take too much."""
    program = (
        "import resource\n"
        "from tests.importing.hostile_tar import COMPRESSED, STREAM_CASES, TAR_CASES\n"
        "from tests.importing.test_tar import read_all\n"
        "from workers.importing.refusals import ImportRefused\n"
        "cases = [data for data, _, _ in STREAM_CASES.values()]\n"
        "cases += [pack(d) for d, _, _ in TAR_CASES.values() for pack in COMPRESSED.values()]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_utime\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (int(before) + 12, int(before) + 12))\n"
        "held = int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "for data in cases:\n"
        "    try:\n"
        "        read_all(data)\n"
        "    except ImportRefused:\n"
        "        continue\n"
        "    raise SystemExit('not refused')\n"
        "print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) - held)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 <= 200 << 20


FILES = {
    "m/config.json": b"{}",
    "m/weights.safetensors": bytes(range(256)) * 3000 + NOISE,
    "m/\u6a21\u578b.txt": "\u6a21".encode() * 99,
    "m/" + "n" * 120 + ".txt": b"a name too long for the old header",
    "m/" + "d" * 90 + "/" + "e" * 90 + "/f.txt": b"and a path",
    "m/empty": b"",
    "m/block": b"x" * 512,
}


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_what_tarfile_packs_comes_out_unchanged(format: int, compression: str) -> None:
    assert read_all(COMPRESSED[compression](honest(FILES, format))) == FILES


@pytest.mark.parametrize("format", ["gnu", "pax", "ustar", "v7", "oldgnu"])
def test_what_gnu_tar_packs_comes_out_unchanged(format: str, tmp_path: Path) -> None:
    files = tiny_llama()
    folder = write_folder(tmp_path / "m", files)
    target = tmp_path / "m.tar"
    program = shutil.which("tar")
    assert program is not None
    subprocess.run([program, f"--format={format}", "-C", folder, "-cf", target, "."], check=True)
    assert read_all(target.read_bytes()) == files


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_size_beyond_eight_gibibytes_is_understood(format: Literal[1, 2]) -> None:
    info = tarfile.TarInfo("w")
    info.size = 9 << 30
    data = info.tobuf(format)
    with pytest.raises(ImportRefused, match="inside 'w'"):
        read_all(data + bytes(1024))
    with pytest.raises(ImportRefused, match="would have 9663676416 bytes"):
        read_all(gzip.compress(data + bytes(1024)), ArchiveLimits(max_total_bytes=8 << 30))


def test_streams_of_several_frames_come_out_whole() -> None:
    data = honest(FILES, tarfile.PAX_FORMAT)
    pieces = [data[at : at + 70_000] for at in range(0, len(data), 70_000)]
    assert read_all(b"".join(map(gzip.compress, pieces))) == FILES
    skippable = b"\x5a\x2a\x4d\x18\x05\0\0\0index"
    assert read_all(b"".join(skippable + zstd.compress(p) for p in pieces)) == FILES
    assert read_all(gzip.compress(data) + bytes(10_000)) == FILES


@pytest.mark.parametrize("compression", COMPRESSED)
def test_each_byte_is_read_once_in_order(compression: str) -> None:
    class Counting(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Counting.read_bytes += len(data)
            return data

    Counting.read_bytes = 0
    data = COMPRESSED[compression](tar(Block("model.safetensors", NOISE * 40)))
    archive = open_archive(Counting(data), LIMITS, "m.tar")
    for entry in archive.entries():
        for _ in entry.chunks():
            pass
    # The headers of a plain archive are read before its data is, the first block to recognise it.
    assert Counting.read_bytes <= len(data) + 2048
    if compression != "plain":
        assert archive.consumed == archive.total_bytes == len(data)


def test_an_archive_of_gigabytes_takes_little_memory() -> None:
    """The child streams 2 GiB through; its peak stays that of a few chunks."""
    program = (
        "import io, os\n"
        "from backports import zstd\n"
        "from tests.importing.hostile_tar import Block\n"
        "from workers.importing.archive import open_archive\n"
        "from workers.importing.archive_limits import ArchiveLimits\n"
        "noise = os.urandom(1 << 20)\n"
        "class Endless(io.RawIOBase):\n"
        "    def __init__(self, count):\n"
        "        self.head = zstd.compress(Block('w', b'', size=count << 20).build())\n"
        "        self.tail = zstd.compress(bytes(1024))\n"
        "        self.frame = zstd.compress(noise)\n"
        "        self.left, self.kept, self.at = count, self.head, 0\n"
        "    def seek(self, at, whence=0):\n"
        "        return 1 << 40 if whence else 0\n"
        "    def read(self, size=-1):\n"
        "        while not self.kept and self.left >= 0:\n"
        "            self.left -= 1\n"
        "            self.kept = self.frame if self.left >= 0 else self.tail\n"
        "        piece, self.kept = self.kept[:size], self.kept[size:]\n"
        "        return piece\n"
        "class Head(Endless):\n"
        "    begun = False\n"
        "    def read(self, size=-1):\n"
        "        if not self.begun:\n"
        "            self.begun = True\n"
        "            return self.kept[:size]\n"
        "        return super().read(size)\n"
        "archive = open_archive(Head(2048), ArchiveLimits(), 'm.tar.zst')\n"
        "size = sum(len(c) for entry in archive.entries() for c in entry.chunks())\n"
        "assert size == 2 << 30\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 <= 300 << 20


@given(st.sampled_from(sorted(COMPRESSED)), st.integers(0), st.binary(min_size=1, max_size=8))
def test_a_damaged_tar_is_refused_or_comes_out_whole(
    compression: str, at: int, damage: bytes
) -> None:
    whole = COMPRESSED[compression](tar(Block("a", NOISE[:700]), Block("b/c", NOISE[:9])))
    at %= len(whole)
    try:
        found = read_all(whole[:at] + damage + whole[at + len(damage) :])
    except ImportRefused:
        return
    if compression != "plain":  # which has no checksum of the data
        assert set(found.values()) <= {NOISE[:700], NOISE[:9]}


@given(st.binary(max_size=2000), st.sampled_from(["m.tar", "m.tar.gz", "m.gguf", "m.bin"]))
def test_no_bytes_at_all_break_the_reader(data: bytes, name: str) -> None:
    for start in (b"\0", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", tar(Block())[:600]):
        with pytest.raises(ImportRefused):
            read_all(start + data, name=name)


WEIGHTS = save(tensors())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tiny.safetensors", WEIGHTS),
        ("tiny.gguf", b"GGUF\x03\0\0\0"),
        ("tiny.onnx", b"\x08\x0aok"),
        ("tiny.zip", WEIGHTS),
    ],
)
def test_a_single_file_is_recognised_by_its_content(name: str, data: bytes) -> None:
    assert read_all(data, name=name) == {name: data}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"7z\xbc\xaf\x27\x1c\0\x04", "is a 7z archive"),
        (b"Rar!\x1a\x07\x01\0", "is a RAR archive"),
        (b"\xfd7zXZ\0", "is compressed with xz"),
        (b"BZh9", "is compressed with bzip2"),
        (b"%PDF", "is neither an archive nor a model file"),
        (b"", "is neither an archive nor a model file"),
    ],
)
def test_what_is_no_model_is_told_apart(data: bytes, words: str) -> None:
    with pytest.raises(ImportRefused, match=words) as refused:
        read_all(data, name="m.tar.gz")
    assert ".tar.zst" in refused.value.remedy


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_an_operating_system_leaves_is_left_out_and_named(compression: str) -> None:
    data = tar(Block("m/", b"", b"5"), Block("m/._x"), Block("m/config.json"))
    archive = open_archive(io.BytesIO(COMPRESSED[compression](data)), LIMITS, "m.tar.gz")
    assert [entry.path for entry in archive.entries()] == ["m/config.json"]
    assert archive.leftovers == ["m/._x"]
