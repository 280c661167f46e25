"""The header of a safetensors file: read alone, checked completely, the tensors' data untouched."""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, BinaryIO

import msgspec

from workers.importing.names import shown
from workers.importing.refusals import ImportRefused

MAX_HEADER_BYTES = 100_000_000
MAX_INDEX_BYTES = 64 << 20
# Bound what parsing can take; the largest published models have some ten thousand a file.
MAX_TENSORS = 100_000
_MAX_SEPARATORS = 20 * MAX_TENSORS
_MAX_RANK = 16
_MAX_OFFSET = 2**63 - 1

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "U16": 16, "I16": 16, "F16": 16, "BF16": 16, "U32": 32, "I32": 32, "F32": 32,
    "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip

_FIELDS = frozenset({"dtype", "shape", "data_offsets"})
_REEXPORT = (
    "Save the weights again with the safetensors library (for example model.save_pretrained "
    "of transformers) and pack the model again."
)


_Natural = Annotated[int, msgspec.Meta(ge=0, le=_MAX_OFFSET)]


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor: dtype as safetensors names it, and where its bytes lie in the data.

    The defaults are impossible values: a tensor that has them has not been described.
    """

    dtype: str = ""
    shape: Annotated[tuple[_Natural, ...], msgspec.Meta(max_length=_MAX_RANK)] = (-1,)
    data_offsets: tuple[_Natural, _Natural] = (-1, -1)


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file holds."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    @property
    def parameter_count(self) -> int:
        """The number of values in all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    def bytes_by_dtype(self) -> Counter[str]:
        """How many bytes each dtype takes."""
        sizes: Counter[str] = Counter()
        for tensor in self.tensors.values():
            sizes[tensor.dtype] += tensor.data_offsets[1] - tensor.data_offsets[0]
        return sizes


class _MetadataOnly(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


_TENSORS = msgspec.json.Decoder(dict[str, Tensor])
_METADATA = msgspec.json.Decoder(_MetadataOnly)


def read_header(source: BinaryIO, size: int, name: str) -> Header:
    """The header of the safetensors file `name` of `size` bytes.

    Reads the header's bytes only. Raises `ImportRefused` where anything in it contradicts the
    format or the file.
    """
    if size < 8:
        raise _wrong(name, "header_length", f"has {size} bytes and no header")
    source.seek(0)
    length = struct.unpack("<Q", _exactly(source, 8, name))[0]
    if length > MAX_HEADER_BYTES:
        raise _wrong(
            name,
            "header_length",
            f"claims a header of {length} bytes; the format allows {MAX_HEADER_BYTES}",
        )
    if length > size - 8:
        raise _wrong(
            name,
            "header_length",
            f"claims a header of {length} bytes, but only {size - 8} bytes follow",
        )
    raw = _exactly(source, length, name)
    if not raw.startswith(b"{"):
        raise _wrong(name, "header_json", "does not begin with a header")
    if raw.count(b",") > _MAX_SEPARATORS:
        raise _wrong(name, "header_json", f"names more than {MAX_TENSORS} tensors")
    data_bytes = size - 8 - length
    return _fast(raw, data_bytes) or _strict(raw, data_bytes, name)


def _fast(raw: bytes, data_bytes: int) -> Header | None:
    """The header where it is plainly right; None where only `_strict` can say.

    A typed decoder is several times faster than one that shows repeated keys, but it drops them
    silently, as it drops unknown fields. Both hold quotation marks, so counting the marks proves
    that nothing was dropped, unless a mark is escaped.
    """
    if b"\\" in raw:
        return None
    try:
        tensors = _TENSORS.decode(raw)
        described = "__metadata__" in tensors
        metadata = _METADATA.decode(raw).metadata if described else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if described:
        del tensors["__metadata__"]
    strings = 5 * len(tensors) + (1 + 2 * len(metadata) if described else 0)
    if raw.count(b'"') != 2 * strings:
        return None
    at = 0
    bits = DTYPE_BITS.get
    for begin, end, shape, dtype in sorted(
        [(*tensor.data_offsets, tensor.shape, tensor.dtype) for tensor in tensors.values()]
    ):
        if begin != at or prod(shape) * bits(dtype, 0) != (end - begin) * 8 or end < begin:
            return None
        at = end
    return Header(tensors, metadata) if at == data_bytes else None


def _strict(raw: bytes, data_bytes: int, name: str) -> Header:
    """The header, every rule checked by itself so that a refusal can name what is wrong."""
    metadata: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    seen: set[str] = set()
    for key, value in _parse(raw, name):
        if key in seen:
            raise _wrong(name, "duplicate_key", f"has the key {shown(key)} twice")
        seen.add(key)
        if key == "__metadata__":
            metadata = _metadata(value, name)
        else:
            tensors[key] = _tensor(key, value, name)
    _check_coverage(tensors, data_bytes, name)
    return Header(tensors, metadata)


def read_index(raw: bytes, name: str) -> dict[str, str]:
    """The weight map of an index file: tensor name to the name of the shard that holds it.

    Raises `ImportRefused` where the file is no index.
    """
    pairs = _parse(raw, name)
    fields = _unique(pairs, name)
    listing = fields.get("weight_map")
    if not isinstance(listing, tuple) or not listing:
        raise _wrong(name, "index", "has no weight_map")
    weight_map = _unique(listing, name)
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or "/" in shard or not shard.endswith(".safetensors"):
            raise _wrong(name, "index", f"gives no usable file for the tensor {shown(tensor)}")
    return weight_map


def _parse(raw: bytes, name: str) -> tuple[tuple[str, Any], ...]:
    """The object in `raw`; every JSON object as a tuple of pairs, so that no key can hide."""
    try:
        parsed = json.loads(raw.decode("utf-8"), object_pairs_hook=tuple)
    except UnicodeDecodeError:
        raise _wrong(name, "header_json", "is not valid UTF-8") from None
    except RecursionError:
        raise _wrong(name, "header_json", "nests its JSON too deeply") from None
    except ValueError as error:
        raise _wrong(name, "header_json", f"is not valid JSON ({error})") from None
    if not isinstance(parsed, tuple):
        raise _wrong(name, "header_json", "is not a JSON object")
    return parsed


def _unique(pairs: tuple[tuple[str, Any], ...], name: str) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _wrong(name, "duplicate_key", f"has the key {shown(twice)} twice")
    return fields


def _metadata(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, tuple):
        raise _wrong(name, "header_json", "has metadata that is not an object")
    fields = _unique(value, name)
    if not all(isinstance(text, str) for text in fields.values()):
        raise _wrong(name, "header_json", "has metadata that is not text")
    return fields


def _tensor(key: str, entry: Any, name: str) -> Tensor:
    if not isinstance(entry, tuple):
        raise _wrong(name, "header_json", f"describes the tensor {shown(key)} by no object")
    fields = dict(entry)
    if len(entry) != len(fields):
        raise _wrong(name, "duplicate_key", f"gives the tensor {shown(key)} one field twice")
    if fields.keys() != _FIELDS:
        raise _wrong(
            name, "header_json", f"does not give the tensor {shown(key)} dtype, shape and offsets"
        )
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise _wrong(
            name, "dtype", f"gives the tensor {shown(key)} the unknown dtype {dtype!r:.40}"
        )
    if not _naturals(shape) or len(shape) > _MAX_RANK:
        raise _wrong(name, "shape", f"gives the tensor {shown(key)} no usable shape")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _wrong(name, "offsets", f"gives the tensor {shown(key)} no usable offsets")
    begin, end = offsets
    if prod(shape) * bits != (end - begin) * 8:
        raise _wrong(
            name,
            "tensor_size",
            f"gives the tensor {shown(key)} {end - begin} bytes, which its dtype {dtype} and its "
            f"shape {_short(shape)} do not fill exactly",
        )
    return Tensor(dtype, tuple(shape), (begin, end))


def _naturals(values: Any) -> bool:
    # A bool is an int to isinstance.
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value <= _MAX_OFFSET for value in values
    )


def _check_coverage(tensors: dict[str, Tensor], data_bytes: int, name: str) -> None:
    """The tensors must lie one behind the other and fill the file: no overlap, no hole, no rest."""
    at = 0
    for key, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, end = tensor.data_offsets
        if begin < at:
            raise _wrong(name, "overlap", f"lets the tensor {shown(key)} overlap with another one")
        if begin > at:
            raise _wrong(
                name, "hole", f"leaves {begin - at} bytes unused before the tensor {shown(key)}"
            )
        at = end
    if at > data_bytes:
        raise _wrong(
            name,
            "truncated",
            f"names {at} bytes of data, but only {data_bytes} are there",
        )
    if at < data_bytes:
        raise _wrong(name, "hole", f"has {data_bytes - at} bytes that belong to no tensor")


def _short(shape: list[int]) -> str:
    text = " x ".join(str(size) for size in shape) or "()"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _exactly(source: BinaryIO, length: int, name: str) -> bytes:
    parts = []
    while length:
        part = source.read(length)
        if not part:
            raise _wrong(name, "truncated", "ends inside its header")
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _wrong(name: str, code: str, fault: str) -> ImportRefused:
    return ImportRefused(
        f"safetensors_{code}", f"{shown(name)} {fault}.", _REEXPORT, step="validate"
    )
