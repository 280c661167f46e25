"""GGUF files: written by the gguf library itself, and forged."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importing.formats.made import gguf_model
from tests.importing.memory import MemoryFiles
from workers.importing.gguf_header import FILE_TYPES, TENSOR_TYPES, read_gguf
from workers.importing.refusals import ImportRefused
from workers.importing.validation import validate


def test_the_types_are_those_of_the_library() -> None:
    theirs = {int(t): (t.name, *sizes) for t, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert theirs == TENSOR_TYPES
    names = {
        int(t): t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in gguf.LlamaFileType
    }
    assert {number: name for number, name in names.items() if name != "GUESSED"} == FILE_TYPES


def test_a_file_by_the_library_becomes_a_card(tmp_path: Path) -> None:
    files = gguf_model(tmp_path)
    result = validate(MemoryFiles(files))
    assert {c.id for c in result.report.checks if c.outcome != "pass"} == {"model_card", "license"}
    card = result.card
    assert card is not None
    assert card["format"] == card["weight_format"] == "gguf"
    assert card["architecture"] == "llama"
    assert card["parameter_count"] == 40 * 64 + 512 * 64 + 3
    assert card["dtype"] == card["quantization"] == "Q8_0"
    assert (card["context_length"], card["hidden_size"], card["layers"]) == (256, 64, 1)
    assert card["vocabulary_size"] == 40
    assert card["tokenizer"] == "gpt2"
    assert card["chat_template"]
    assert card["license"] == "apache-2.0"
    assert card["languages"] == ["en", "de"]
    assert card["summary"] == "Random weights."


def test_shards_by_the_library_are_one_model_and_none_may_be_missing(tmp_path: Path) -> None:
    files = gguf_model(tmp_path, shards=1)
    assert len(files) == 3
    result = validate(MemoryFiles(files))
    assert result.card is not None
    assert result.card["parameter_count"] == 40 * 64 + 512 * 64 + 3
    del files["tiny-00002-of-00003.gguf"]
    failures = validate(MemoryFiles(files)).report.failures
    assert failures[0].evidence == "Shards are missing: 'tiny-00002-of-00003.gguf'."


def test_a_tokenizer_that_the_weights_do_not_cover_is_refused(tmp_path: Path) -> None:
    failures = validate(MemoryFiles(gguf_model(tmp_path, vocabulary=39))).report.failures
    assert failures[0].evidence == "The tokenizer has 40 tokens, the weights 39 rows."


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(
    name: bytes = b"w", shape: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0
) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def forged(
    *parts: bytes,
    tensors: int = 0,
    pairs: int = 0,
    version: int = 3,
    magic: bytes = b"GGUF",
    data: bytes = b"",
) -> bytes:
    head = magic + struct.pack("<IQQ", version, tensors, pairs) + b"".join(parts)
    return head + bytes(-len(head) % 32) + data


ARCHITECTURE = pair(b"general.architecture", 8, text(b"llama"))
FORGED: dict[str, tuple[bytes, str]] = {
    "tensor count 2^63": (forged(tensors=1 << 63), "claims 9223372036854775808 tensors"),
    "pair count 2^63": (forged(pairs=1 << 63), "claims 9223372036854775808 metadata entries"),
    "count the file cannot hold": (forged(tensors=90_000), "the file is too small for them"),
    "key length 2^63": (
        forged(struct.pack("<Q", 1 << 63), pairs=1, data=bytes(64)),
        "claims 9223372036854775808 bytes for a metadata key",
    ),
    "array length 2^63": (
        forged(pair(b"a", 9, struct.pack("<IQ", 4, 1 << 63)), pairs=1, data=bytes(64)),
        "claims 9223372036854775808 items of 'a'",
    ),
    "array of texts, 2^40": (
        forged(pair(b"a", 9, struct.pack("<IQ", 8, 1 << 40)), pairs=1, data=bytes(64)),
        "claims 1099511627776 items of 'a'",
    ),
    "arrays in arrays": (
        forged(pair(b"a", 9, struct.pack("<IQ", 9, 1) * 40), pairs=1, data=bytes(64)),
        "nests the arrays of 'a' too deeply",
    ),
    "text length 2^63": (
        forged(pair(b"a", 8, struct.pack("<Q", 1 << 63)), pairs=1, data=bytes(64)),
        "bytes for the value of 'a'",
    ),
    "unknown value type": (forged(pair(b"a", 77, b""), pairs=1), "gives 'a' the unknown type 77"),
    "half true": (forged(pair(b"a", 7, b"\x02"), pairs=1), "truth value that is neither"),
    "key twice": (forged(pair(b"a", 0, b"1") * 2, pairs=2), "has the key 'a' twice"),
    "key no text": (forged(pair(b"\xff", 0, b"1"), pairs=1), "not valid UTF-8"),
    "tensor twice": (
        forged(tensor(), tensor(), tensors=2, data=bytes(64)), "has the tensor 'w' twice",
    ),
    "rank": (forged(tensor(shape=(1,) * 9), tensors=1), "9 dimensions"),
    "shape overflow": (
        forged(tensor(shape=(1 << 32, 1 << 32, 16)), tensors=1), "more values than a file holds",
    ),
    "unknown tensor type": (forged(tensor(kind=4), tensors=1), "the unknown type 4"),
    "half a block": (forged(tensor(shape=(33,), kind=8), tensors=1), "rows of 33 values; Q8_0"),
    "beyond the file": (forged(tensor(shape=(9,)), tensors=1, data=bytes(32)), "ends inside the"),
    "offset 2^63": (
        forged(tensor(offset=1 << 63), tensors=1, data=bytes(32)), "leaves bytes unused",
    ),
    "overlap": (
        forged(tensor(b"a"), tensor(b"b"), tensors=2, data=bytes(64)), "overlap with another",
    ),
    "hole": (
        forged(tensor(), tensor(b"b", offset=128), tensors=2, data=bytes(256)), "leaves bytes",
    ),
    "between blocks": (forged(tensor(offset=8), tensors=1, data=bytes(64)), "between two blocks"),
    "alignment of zero": (
        forged(pair(b"general.alignment", 4, bytes(4)), pairs=1), "no usable general.alignment",
    ),
    "alignment of seven": (
        forged(pair(b"general.alignment", 4, b"\x07\0\0\0"), pairs=1), "no usable general.align",
    ),
    "big-endian": (forged(version=3 << 24), "written for big-endian machines"),
    "version": (forged(version=1), "has version 1 of the format"),
    "magic": (forged(magic=b"GGML"), "does not begin with a GGUF header"),
    "cut": (forged(ARCHITECTURE, pairs=1)[:40], "ends inside its header"),
    "no tensors": (forged(ARCHITECTURE, pairs=1), "There are no weights."),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused_with_what_is_wrong(name: str) -> None:
    data, words = FORGED[name]
    result = validate(MemoryFiles({"m.gguf": data}))
    assert result.card is None
    failure = next(check for check in result.report.failures if check.id == "weights")
    assert words in failure.evidence
    assert failure.hint.endswith(".")


def test_a_file_without_an_architecture_is_refused() -> None:
    data = forged(tensor(), tensors=1, data=bytes(32))
    failures = validate(MemoryFiles({"m.gguf": data})).report.failures
    assert failures[0].evidence == "'m.gguf' has no general.architecture."


@given(st.integers(0), st.binary(min_size=1, max_size=9))
def test_a_damaged_header_is_read_or_refused(at: int, damage: bytes) -> None:
    whole = forged(
        ARCHITECTURE,
        pair(b"a", 9, struct.pack("<IQ", 8, 2) + text(b"x") * 2),
        tensor(),
        tensors=1,
        pairs=2,
        data=bytes(32),
    )
    at %= len(whole)
    broken = whole[:at] + damage + whole[at + len(damage) :]
    try:
        header = read_gguf(io.BytesIO(broken), len(broken), "m.gguf")
    except ImportRefused:
        return
    assert all(tensor.size <= len(broken) for tensor in header.tensors.values())
