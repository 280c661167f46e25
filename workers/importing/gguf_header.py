"""The header of a GGUF file (ggml-org/ggml, docs/gguf.md), read with every count bounded.

Only names, types and places are read; of long arrays, such as vocabularies, only the length.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import BinaryIO, NoReturn

from workers.importing.names import shown
from workers.importing.refusals import ImportRefused

MAGIC = b"GGUF"
_VERSIONS = {2, 3}
_DEFAULT_ALIGNMENT = 32
_MAX_ALIGNMENT = 1 << 20
_MAX_TENSORS = 100_000
_MAX_PAIRS = 10_000
_MAX_KEY_BYTES = 65_535
_MAX_NAME_BYTES = 1024
# A chat template or a licence is the longest text; a vocabulary the longest array.
_MAX_TEXT_BYTES = 4 << 20
_MAX_NUMBERS = 16 << 20
_MAX_TEXTS = 1 << 20
_MAX_INNER_ARRAYS = 1024
_KEPT_ITEMS = 64
# What all keys and values may take together.
_MAX_HEADER_BYTES = 256 << 20
_MAX_RANK = 4
_MAX_NESTING = 2

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip

# Number of a tensor type: (name, values in a block, bytes of a block), as ggml.h numbers them.
TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}  # fmt: skip

# general.file_type: how most tensors are packed, as llama.cpp numbers and names it.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Array:
    """An array of the metadata: its length and its first items."""

    length: int
    first: list[Scalar]


Scalar = str | int | float | bool
Value = Scalar | Array


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor; `shape` with the fastest dimension first, as the file has it; sizes in bytes."""

    type: str
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file holds."""

    version: int
    metadata: dict[str, Value]
    tensors: dict[str, GgufTensor] = field(default_factory=dict)

    @property
    def parameter_count(self) -> int:
        """The number of values in all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    def bytes_by_type(self) -> Counter[str]:
        """How many bytes the tensors of each type take."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.type] += tensor.size
        return sizes


def read_gguf(source: BinaryIO, size: int, name: str) -> GgufHeader:
    """The header of the GGUF file `name` of `size` bytes.

    Raises `ImportRefused` where anything in it contradicts the format or the file.
    """
    source.seek(0)
    return _Reader(source, size, name).header()


class _Reader:
    def __init__(self, source: BinaryIO, size: int, name: str) -> None:
        self._source = source
        self._size = size
        self._name = name
        self._at = 0

    def header(self) -> GgufHeader:
        if self._bytes(4) != MAGIC:
            self._refuse("magic", "does not begin with a GGUF header")
        version = self._number("<I")
        if version not in _VERSIONS:
            swapped = version in {2 << 24, 3 << 24}
            self._refuse(
                "version",
                "is written for big-endian machines" if swapped
                else f"has version {version} of the format; readable are 2 and 3",
            )  # fmt: skip
        tensors = self._count("tensors", self._number("<Q"), _MAX_TENSORS, least=24)
        pairs = self._count("metadata entries", self._number("<Q"), _MAX_PAIRS, least=13)
        metadata: dict[str, Value] = {}
        for _ in range(pairs):
            key = self._text(_MAX_KEY_BYTES, "a metadata key")
            if key in metadata:
                self._refuse("duplicate_key", f"has the key {shown(key)} twice")
            metadata[key] = self._value(self._number("<I"), key, 0)
        header = GgufHeader(version, metadata, {})
        for _ in range(tensors):
            tensor_name = self._text(_MAX_NAME_BYTES, "the name of a tensor")
            if tensor_name in header.tensors:
                self._refuse("duplicate_key", f"has the tensor {shown(tensor_name)} twice")
            header.tensors[tensor_name] = self._tensor(tensor_name)
        self._check_places(header)
        return header

    def _tensor(self, name: str) -> GgufTensor:
        rank = self._number("<I")
        if rank > _MAX_RANK:
            self._refuse("shape", f"gives the tensor {shown(name)} {rank} dimensions")
        shape = tuple(self._number("<Q") for _ in range(rank))
        kind = self._number("<I")
        if kind not in TENSOR_TYPES:
            self._refuse("type", f"gives the tensor {shown(name)} the unknown type {kind}")
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        values = prod(shape)
        if values > 1 << 62:
            self._refuse("shape", f"gives the tensor {shown(name)} more values than a file holds")
        row = shape[0] if shape else 1
        if row % block:
            self._refuse(
                "shape",
                f"gives the tensor {shown(name)} rows of {row} values; {type_name} packs "
                f"{block} at a time",
            )
        return GgufTensor(type_name, shape, self._number("<Q"), values // block * block_bytes)

    def _check_places(self, header: GgufHeader) -> None:
        """The tensors must lie one behind the other, aligned, and within the file."""
        alignment = header.metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if (
            type(alignment) is not int
            or not 8 <= alignment <= _MAX_ALIGNMENT
            or alignment & (alignment - 1)
        ):
            self._refuse("alignment", "gives no usable general.alignment")
        start = self._at + -self._at % alignment
        at = 0
        for name, tensor in sorted(header.tensors.items(), key=lambda item: item[1].offset):
            if tensor.offset % alignment:
                self._refuse("alignment", f"places the tensor {shown(name)} between two blocks")
            if tensor.offset < at:
                self._refuse("overlap", f"lets the tensor {shown(name)} overlap with another one")
            if tensor.offset > at:
                self._refuse("hole", f"leaves bytes unused before the tensor {shown(name)}")
            end = tensor.offset + tensor.size
            if start + end > self._size:
                self._refuse(
                    "truncated",
                    f"ends inside the tensor {shown(name)}: {self._size} bytes are there, "
                    f"{start + end} are needed",
                )
            at = end + -end % alignment

    def _value(self, kind: int, key: str, depth: int) -> Value:
        if kind == _STRING:
            return self._text(_MAX_TEXT_BYTES, f"the value of {shown(key)}")
        if kind == _ARRAY:
            return self._array(key, depth)
        if kind not in _SCALARS:
            self._refuse("type", f"gives {shown(key)} the unknown type {kind}")
        value = self._scalar(kind)
        if kind == _BOOL:
            if value not in {0, 1}:
                self._refuse("type", f"gives {shown(key)} a truth value that is neither")
            return bool(value)
        return value

    def _array(self, key: str, depth: int) -> Array:
        if depth >= _MAX_NESTING:
            self._refuse("nesting", f"nests the arrays of {shown(key)} too deeply")
        kind = self._number("<I")
        length = self._number("<Q")
        if kind in _SCALARS:
            width = struct.calcsize(_SCALARS[kind])
            self._count(f"items of {shown(key)}", length, _MAX_NUMBERS, least=width)
            first: list[Scalar] = [self._scalar(kind) for _ in range(min(length, _KEPT_ITEMS))]
            self._skip((length - len(first)) * width)
            return Array(length, first)
        most = _MAX_TEXTS if kind == _STRING else _MAX_INNER_ARRAYS
        self._count(f"items of {shown(key)}", length, most, least=8)
        items: list[Scalar] = []
        for i in range(length):
            if kind == _STRING and i >= _KEPT_ITEMS:
                self._skip(self._text_length(_MAX_TEXT_BYTES, f"an item of {shown(key)}"))
                continue
            value = self._value(kind, key, depth + 1)
            if i < _KEPT_ITEMS and not isinstance(value, Array):
                items.append(value)
        return Array(length, items)

    def _scalar(self, kind: int) -> int | float:
        form = _SCALARS[kind]
        value: int | float = struct.unpack(form, self._bytes(struct.calcsize(form)))[0]
        return value

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._bytes(struct.calcsize(form)))[0])

    def _text(self, most: int, what: str) -> str:
        raw = self._bytes(self._text_length(most, what))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse("text", f"has {what} that is not valid UTF-8")

    def _text_length(self, most: int, what: str) -> int:
        length = self._number("<Q")
        if length > most:
            self._refuse("count", f"claims {length} bytes for {what}; at most {most} are read")
        return length

    def _count(self, what: str, count: int, most: int, *, least: int) -> int:
        """A count that the file can hold: each item takes at least `least` bytes."""
        if count > most or count * least > self._size - self._at:
            self._refuse(
                "count",
                f"claims {count} {what}; "
                + (
                    f"at most {most} are read" if count > most else "the file is too small for them"
                ),
            )
        return count

    def _skip(self, count: int) -> None:
        self._reserve(count)
        self._source.seek(self._at)

    def _bytes(self, count: int) -> bytes:
        self._reserve(count)
        data = self._source.read(count)
        if len(data) != count:
            self._refuse("truncated", "ends inside its header")
        return data

    def _reserve(self, count: int) -> None:
        self._at += count
        if self._at > self._size:
            self._refuse("truncated", "ends inside its header")
        if self._at > _MAX_HEADER_BYTES:
            self._refuse("count", f"has a header of more than {_MAX_HEADER_BYTES} bytes")

    def _refuse(self, code: str, fault: str) -> NoReturn:
        raise ImportRefused(
            f"gguf_{code}",
            f"{shown(self._name)} {fault}.",
            "Take the file from the model's source again, or convert the model anew with "
            "llama.cpp's convert_hf_to_gguf.py.",
            step="validate",
        )
