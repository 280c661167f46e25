"""Hostile and honest archives."""

from __future__ import annotations

import io
import subprocess
import sys
import unicodedata
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importing.hostile import CASES, Archive, Member, archive
from workers.importing.archive import open_archive
from workers.importing.archive_limits import ArchiveLimits
from workers.importing.names import NameRegister, member_path, without_common_folder
from workers.importing.refusals import ImportRefused

LIMITS = ArchiveLimits()


def read_all(
    data: bytes, limits: ArchiveLimits = LIMITS, name: str = "model.zip"
) -> dict[str, bytes]:
    return {
        entry.path: b"".join(entry.chunks())
        for entry in open_archive(io.BytesIO(data), limits, name).entries()
    }


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_archive_is_refused_by_its_own_name(name: str) -> None:
    data, code, words = CASES[name]
    with pytest.raises(ImportRefused) as refused:
        read_all(data)
    assert refused.value.code == code
    assert words in refused.value.reason
    assert refused.value.remedy.endswith(".")


def test_no_hostile_archive_takes_much_memory_or_computing() -> None:
    """The child dies where all cases together take more than a case may take alone.

    Its peak is VmHWM: ru_maxrss would tell the parent's, which outlives fork and exec.
    """
    program = (
        "import resource\n"
        "from tests.importing.hostile import CASES\n"
        "from tests.importing.test_archive import read_all\n"
        "from workers.importing.refusals import ImportRefused\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_utime\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (int(before) + 12, int(before) + 12))\n"
        "for data, code, _ in CASES.values():\n"
        "    try:\n"
        "        read_all(data)\n"
        "    except ImportRefused as refusal:\n"
        "        assert refusal.code == code\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 <= 300 << 20


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_an_honest_program_packs_comes_out_unchanged(compression: int, streamed: bool) -> None:
    files = {
        "m/config.json": b"{}",
        "m/weights.safetensors": bytes(range(256)) * 3000,
        "m/\u6a21\u578b.txt": "\u6a21".encode() * 99,
        "m/empty": b"",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        file.mkdir("m")
        for name, data in files.items():
            # Members of unknown size have their sizes behind the data, or in zip64 fields.
            with file.open(name, "w", force_zip64=streamed) as member:
                member.write(data)
    assert read_all(out.getvalue()) == files


def test_a_stream_without_sizes_in_its_headers_is_read() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", b"x" * 1000)
    assert read_all(bytes(pipe.data)) == {"a": b"x" * 1000}


def test_each_byte_of_a_member_is_read_once() -> None:
    class Counting(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Counting.read_bytes += len(data)
            return data

    data = archive(Member("model.safetensors", bytes(3 << 20)))
    for entry in open_archive(Counting(data), LIMITS, "m.zip").entries():
        for _ in entry.chunks():
            pass
    # Besides the content: the end of the file, where the table of contents is looked for.
    assert Counting.read_bytes < len(data) + 70_000


def test_a_comment_behind_the_archive_is_no_fault() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a", b"x")
        file.comment = b"made PK\x05\x06 by hand"
    assert read_all(out.getvalue()) == {"a": b"x"}


def test_what_an_operating_system_leaves_is_left_out_and_named() -> None:
    opened = open_archive(
        io.BytesIO(
            archive(Member("m/config.json"), Member("__MACOSX/m/._x"), Member("m/.DS_Store"))
        ),
        LIMITS,
        "m.zip",
    )
    assert [entry.path for entry in opened.entries()] == ["m/config.json"]
    assert sorted(opened.leftovers) == ["__MACOSX/m/._x", "m/.DS_Store"]


def test_limits_are_counted_on_what_comes_out() -> None:
    with pytest.raises(ImportRefused, match="allowed are 10"):
        read_all(archive(Member("a", bytes(11))), ArchiveLimits(max_total_bytes=10))
    with pytest.raises(ImportRefused, match="allowed are 1"):
        read_all(archive(Member("a"), Member("b")), ArchiveLimits(max_entries=1))
    with pytest.raises(ImportRefused, match="allowed are 2"):
        read_all(archive(Member("a/b/c")), ArchiveLimits(max_depth=2))


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_damaged_archive_is_refused_or_comes_out_whole(
    data: bytes, at: int, damage: bytes
) -> None:
    whole = archive(Member("a", data, deflate=True), Member("b/c", data))
    at %= len(whole)
    broken = whole[:at] + damage + whole[at + len(damage) :]
    try:
        found = read_all(broken)
    except ImportRefused:
        return
    assert set(found.values()) <= {data}


@given(st.binary(max_size=2000))
def test_no_bytes_at_all_break_the_reader(data: bytes) -> None:
    try:
        found = read_all(data)
    except ImportRefused:
        return
    assert data.startswith(b"GGUF"), "other bytes that are no archive are refused"
    assert list(found.values()) == [data]


@given(st.text(max_size=60))
def test_a_path_never_leaves_its_folder(name: str) -> None:
    try:
        path = member_path(name, max_depth=16)
    except ImportRefused:
        return
    parts = path.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert "\\" not in path
    assert "\0" not in path
    assert path == unicodedata.normalize("NFC", path)
    assert member_path(path, max_depth=16) == path


@given(st.lists(st.text("abAB/\u00e9e\u0301\ufb01fi", min_size=1, max_size=8), max_size=6))
def test_accepted_names_are_files_that_can_stand_side_by_side(names: list[str]) -> None:
    register = NameRegister()
    accepted: list[str] = []
    for name in names:
        try:
            path = member_path(name, max_depth=16)
            register.add(path)
        except ImportRefused:
            continue
        accepted.append(path)
    folded = [path.casefold() for path in accepted]
    assert len(set(folded)) == len(folded)
    for path in folded:
        assert not any(other.startswith(f"{path}/") for other in folded)


def test_one_common_folder_is_taken_away_and_only_one() -> None:
    assert without_common_folder(["m/a", "m/b/c"]) == {"m/a": "a", "m/b/c": "b/c"}
    assert without_common_folder(["m/a", "b"]) == {"m/a": "m/a", "b": "b"}
    assert without_common_folder(["a"]) == {"a": "a"}
    assert without_common_folder(["m/n/a"]) == {"m/n/a": "n/a"}


def test_the_builder_of_hostile_archives_can_be_honest() -> None:
    data = Archive([Member("a", b"x" * 99, deflate=True), Member("b")]).build()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
