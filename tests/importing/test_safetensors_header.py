"""Hostile and honest safetensors headers."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load, save

from workers.importing.refusals import ImportRefused
from workers.importing.safetensors_header import Header, read_header, read_index


def tensor(begin: int, end: int, *, shape: list[Any] | None = None, dtype: Any = "U8") -> Any:
    return {
        "dtype": dtype,
        "shape": [end - begin] if shape is None else shape,
        "data_offsets": [begin, end],
    }


def packed(header: object, data: int = 0, *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data)


def read(data: bytes) -> Header:
    return read_header(io.BytesIO(data), len(data), "w.safetensors")


HUGE = 2**63
TWICE = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
HOSTILE: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "header_length", "no header"),
    "header over 100 MB": (packed({}, 9, length=100_000_001), "header_length", "allows 100000000"),
    "header of 2^63": (packed({}, 9, length=HUGE), "header_length", str(HUGE)),
    "header longer than the file": (packed({}, 9, length=50), "header_length", "only 11 bytes"),
    "no object": (packed(b"[1]"), "header_json", "does not begin"),
    "no JSON": (packed(b"{nope}"), "header_json", "not valid JSON"),
    "not UTF-8": (packed(b'{"\xff":1}'), "header_json", "UTF-8"),
    "deep": (packed(b'{"a":' * 50_000), "header_json", "too deeply"),
    "deep lists": (packed(b'{"a":' + b"[" * 50_000), "header_json", "too deeply"),
    "number": (packed({"a": 1}), "header_json", "'a' by no object"),
    "overlap": (
        packed({"a": tensor(0, 8), "b": tensor(4, 12)}, 12), "overlap", "'b' overlap",
    ),
    "same place twice": (
        packed({"a": tensor(0, 8), "b": tensor(0, 8)}, 8), "overlap", "'b' overlap",
    ),
    "hole": (packed({"a": tensor(0, 8), "b": tensor(9, 12)}, 12), "hole", "1 bytes unused"),
    "begins late": (packed({"a": tensor(4, 8)}, 8), "hole", "4 bytes unused"),
    "rest": (packed({"a": tensor(0, 8)}, 9), "hole", "1 bytes that belong to no tensor"),
    "nothing but rest": (packed({}, 9), "hole", "9 bytes that belong to no tensor"),
    "beyond the file": (packed({"a": tensor(0, 8)}, 7), "truncated", "only 7 are there"),
    "shape too small": (
        packed({"a": tensor(0, 8, shape=[2], dtype="F16")}, 8), "tensor_size", "8 bytes",
    ),
    "product wraps to fit 64 bits": (
        packed({"a": tensor(0, 4, shape=[2**62 + 1, 4])}, 4), "tensor_size", "do not fill",
    ),
    "dimension over 63 bits": (packed({"a": tensor(0, 4, shape=[HUGE])}, 4), "shape", "shape"),
    "negative": (packed({"a": tensor(0, 4, shape=[-4])}, 4), "shape", "no usable shape"),
    "negative twice": (packed({"a": tensor(0, 4, shape=[-2, -2])}, 4), "shape", "no usable"),
    "fraction": (packed({"a": tensor(0, 4, shape=[4.0])}, 4), "shape", "no usable shape"),
    "true": (packed({"a": tensor(0, 1, shape=[True])}, 1), "shape", "no usable shape"),
    "rank": (packed({"a": tensor(0, 1, shape=[1] * 99)}, 1), "shape", "no usable shape"),
    "offsets backwards": (packed({"a": tensor(4, 0, shape=[0])}, 4), "offsets", "offsets"),
    "offsets over 63 bits": (
        packed({"a": tensor(HUGE, HUGE, shape=[0])}), "offsets", "no usable offsets",
    ),
    "three offsets": (
        packed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 1]}}, 1),
        "offsets", "no usable offsets",
    ),
    "unknown dtype": (packed({"a": tensor(0, 4, dtype="X9")}, 4), "dtype", "'X9'"),
    "dtype is no text": (packed({"a": tensor(0, 4, dtype=[])}, 4), "dtype", "unknown dtype"),
    "half a byte": (packed({"a": tensor(0, 1, shape=[1], dtype="F4")}, 1), "tensor_size", "F4"),
    "field missing": (packed({"a": {"dtype": "U8", "shape": [0]}}), "header_json", "offsets"),
    "field too many": (
        packed({"a": {**tensor(0, 1), "x": 1}}, 1), "header_json", "dtype, shape and offsets",
    ),
    "tensor twice": (
        packed(TWICE + b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
        "duplicate_key", "'a' twice",
    ),
    "tensor twice, escaped": (
        packed(TWICE + b'"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
        "duplicate_key", "'a' twice",
    ),
    "field twice": (
        packed(b'{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1),
        "duplicate_key", "one field twice",
    ),
    "metadata twice": (
        packed(b'{"__metadata__":{},"__metadata__":{}}'), "duplicate_key", "twice",
    ),
    "metadata key twice": (
        packed(b'{"__metadata__":{"a":"1","a":"2"}}'), "duplicate_key", "'a' twice",
    ),
    "metadata no text": (packed({"__metadata__": {"a": 1}}), "header_json", "not text"),
    "metadata no object": (packed({"__metadata__": 1}), "header_json", "not an object"),
    "too many tensors": (packed(b"{" + b"," * 2_000_001), "header_json", "more than 100000"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_by_its_own_name(name: str) -> None:
    data, code, words = HOSTILE[name]
    with pytest.raises(ImportRefused) as refused:
        read(data)
    assert refused.value.code == f"safetensors_{code}"
    assert words in refused.value.reason
    assert "'w.safetensors'" in refused.value.reason
    assert refused.value.step == "validate"


def test_what_the_library_writes_is_read() -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "a": np.zeros((3, 5), np.float32),
        "b": np.zeros((7,), np.int8),
        "empty": np.zeros((0, 4), np.float16),
        "scalar": np.array(1.0),
    }
    header = read(save(arrays, metadata={"format": "pt", "shape": "x"}))
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == {
        name: array.shape for name, array in arrays.items()
    }
    assert header.metadata == {"format": "pt", "shape": "x"}
    assert header.parameter_count == 15 + 7 + 0 + 1
    assert header.bytes_by_dtype() == {"F32": 60, "I8": 7, "F16": 0, "F64": 8}


def test_only_the_header_is_read() -> None:
    class HeaderOnly(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            assert self.tell() <= end
            return data

    data = save({"a": np.zeros(1000, np.float32)})
    end = 8 + struct.unpack("<Q", data[:8])[0]
    assert read_header(HeaderOnly(data), len(data), "x").parameter_count == 1000


def test_names_with_escapes_are_read_as_they_are_meant() -> None:
    header = read(packed({'quo"te\\': tensor(0, 3), "\u00e9": tensor(3, 4)}, 4))
    assert list(header.tensors) == ['quo"te\\', "\u00e9"]


NAMES = st.text(max_size=6)
SIZES = st.integers(-2, 9)
TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F16", "F32", "F4", "X"]),
        "shape": st.lists(SIZES, max_size=3),
        "data_offsets": st.lists(SIZES, min_size=2, max_size=2),
    }
)


@given(st.dictionaries(NAMES, TENSORS, max_size=3), st.integers(0, 12))
def test_nothing_is_accepted_that_the_library_refuses(header: dict[str, Any], data: int) -> None:
    whole = packed(header, data)
    try:
        found = read(whole)
    except ImportRefused:
        return
    if all(entry["dtype"] in {"U8", "F16", "F32"} for entry in header.values()):
        assert {name: array.shape for name, array in load(whole).items()} == {
            name: tensor.shape for name, tensor in found.tensors.items()
        }


@given(
    st.dictionaries(
        NAMES.filter(lambda name: name != "__metadata__"),
        st.tuples(
            st.sampled_from([np.uint8, np.float16, np.float32, np.int64]),
            st.lists(st.integers(0, 4), max_size=3),
        ),
        max_size=5,
    )
)
def test_everything_that_the_library_writes_is_accepted(shapes: dict[str, Any]) -> None:
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in shapes.items()}
    assert read(save(arrays)).tensors.keys() == arrays.keys()


@given(st.binary(max_size=400))
def test_no_bytes_at_all_break_the_reader(data: bytes) -> None:
    try:
        read(data)
    except ImportRefused:
        return
    try:
        load(data)
    except SafetensorError as error:
        pytest.fail(f"accepted what the library refuses: {error}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{}", "no weight_map"),
        (b'{"weight_map":{}}', "no weight_map"),
        (b'{"weight_map":{"a":"../b.safetensors"}}', "no usable file"),
        (b'{"weight_map":{"a":3}}', "no usable file"),
        (b'{"weight_map":{"a":"b.bin"}}', "no usable file"),
        (b'{"weight_map":{"a":"b.safetensors","a":"c.safetensors"}}', "'a' twice"),
    ],
)
def test_an_index_that_is_none_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(ImportRefused, match=words):
        read_index(text, "model.safetensors.index.json")
