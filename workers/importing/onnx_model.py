"""The structure of an ONNX file (onnx.proto3 of github.com/onnx/onnx), read without its weights.

The protobuf library would take the whole file into memory. Here only the fields that matter are
read; the bytes of tensors are passed over, every length is checked against the file, and the
messages are bounded in number and in depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import BinaryIO, NoReturn

from workers.importing.names import shown
from workers.importing.refusals import ImportRefused

_MAX_DEPTH = 32
_MAX_FIELDS = 4_000_000
_MAX_TENSORS = 200_000
_MAX_TEXT_BYTES = 1 << 20
_MAX_RANK = 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# TensorProto.DataType: (name, bits of a value); texts have no fixed size.
DATA_TYPES = {
    1: ("float32", 32), 2: ("uint8", 8), 3: ("int8", 8), 4: ("uint16", 16), 5: ("int16", 16),
    6: ("int32", 32), 7: ("int64", 64), 8: ("string", 0), 9: ("bool", 8), 10: ("float16", 16),
    11: ("float64", 64), 12: ("uint32", 32), 13: ("uint64", 64), 14: ("complex64", 64),
    15: ("complex128", 128), 16: ("bfloat16", 16), 17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8), 19: ("float8e5m2", 8), 20: ("float8e5m2fnuz", 8), 21: ("uint4", 4),
    22: ("int4", 4), 23: ("float4e2m1", 4), 24: ("float8e8m0", 8), 25: ("uint2", 2),
    26: ("int2", 2), 27: ("float6e2m3", 6), 28: ("float6e3m2", 6),
}  # fmt: skip


@dataclass(slots=True)
class OnnxTensor:
    """A stored tensor; `raw_bytes` is the length of raw data, None where values are listed."""

    name: str = ""
    type: int = 0
    shape: list[int] = field(default_factory=list)
    raw_bytes: int | None = None
    external: dict[str, str] = field(default_factory=dict)
    is_external: bool = False

    @property
    def needed_bytes(self) -> int:
        """What the values take in raw form."""
        return (prod(self.shape) * DATA_TYPES[self.type][1] + 7) // 8


@dataclass(slots=True)
class OnnxValue:
    """An input or an output; unknown dimensions are named or '?'."""

    name: str = ""
    type: int = 0
    shape: list[str] = field(default_factory=list)


@dataclass(slots=True)
class OnnxModel:
    """What an ONNX file says about itself."""

    ir_version: int = 0
    producer: str = ""
    description: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    has_graph: bool = False
    nodes: int = 0
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: int = 0
    inputs: list[OnnxValue] = field(default_factory=list)
    outputs: list[OnnxValue] = field(default_factory=list)
    tensors: list[OnnxTensor] = field(default_factory=list)
    # Of the main graph alone: only their names stand for weights that are inputs too.
    initializers: set[str] = field(default_factory=set)


def read_onnx(source: BinaryIO, size: int, name: str) -> OnnxModel:
    """The structure of the ONNX file `name` of `size` bytes.

    Raises `ImportRefused` where it is no such file or contradicts itself.
    """
    source.seek(0)
    return _Reader(source, size, name).model()


@dataclass(frozen=True, slots=True)
class _Field:
    number: int
    wire: int
    # The value of a number, the length of anything else.
    value: int
    end: int


class _Reader:
    def __init__(self, source: BinaryIO, size: int, name: str) -> None:
        self._source = source
        self._size = size
        self._name = name
        self._at = 0
        self._fields = 0
        self._model = OnnxModel()

    def model(self) -> OnnxModel:
        model = self._model
        for item in self._message(self._size, 0):
            match item.number, item.wire:
                case 1, 0:
                    model.ir_version = item.value
                case 2, 2:
                    model.producer = self._text(item)
                case 6, 2:
                    model.description = self._text(item)
                case 7, 2:
                    if model.has_graph:
                        self._refuse("repeated", "holds two graphs")
                    model.has_graph = True
                    self._graph(item.end, 1, main=True)
                case 8, 2:
                    domain, version = self._opset(item.end)
                    model.opsets[domain] = version
                case 14, 2:
                    key, value = self._pair(item.end)
                    model.metadata[key] = value
                case 20, 2:
                    self._training(item.end)
                case 25, 2:
                    model.functions += 1
                    self._function(item.end)
        if not model.has_graph:
            self._refuse("no_graph", "holds no graph; it is no ONNX model or it is cut off")
        return model

    def _graph(self, end: int, depth: int, *, main: bool = False) -> None:
        for item in self._message(end, depth):
            match item.number, item.wire:
                case 1, 2:
                    self._node(item.end, depth + 1)
                case 5, 2:
                    tensor = self._tensor(item.end, depth + 1)
                    if main:
                        self._model.initializers.add(tensor.name)
                case 11, 2 if main:
                    self._model.inputs.append(self._value(item.end, depth + 1))
                case 12, 2 if main:
                    self._model.outputs.append(self._value(item.end, depth + 1))
                case 15, 2:
                    self._sparse(item.end, depth + 1)

    def _node(self, end: int, depth: int) -> None:
        self._model.nodes += 1
        operator = domain = ""
        for item in self._message(end, depth):
            match item.number, item.wire:
                case 4, 2:
                    operator = self._text(item)
                case 7, 2:
                    domain = self._text(item)
                case 5, 2:
                    self._attribute(item.end, depth + 1)
        if len(self._model.operators) < 10_000:
            self._model.operators.add((domain, operator))

    def _attribute(self, end: int, depth: int) -> None:
        for item in self._message(end, depth):
            match item.number, item.wire:
                case ((5 | 10), 2):
                    self._tensor(item.end, depth + 1)
                case ((6 | 11), 2):
                    self._graph(item.end, depth + 1)
                case ((22 | 23), 2):
                    self._sparse(item.end, depth + 1)

    def _function(self, end: int) -> None:
        for item in self._message(end, 1):
            if (item.number, item.wire) == (7, _BYTES):
                self._node(item.end, 2)

    def _training(self, end: int) -> None:
        for item in self._message(end, 1):
            if item.number in {1, 2} and item.wire == _BYTES:
                self._graph(item.end, 2)

    def _sparse(self, end: int, depth: int) -> None:
        for item in self._message(end, depth):
            if item.number in {1, 2} and item.wire == _BYTES:
                self._tensor(item.end, depth + 1)

    def _tensor(self, end: int, depth: int) -> OnnxTensor:
        tensor = OnnxTensor()
        listed = False
        for item in self._message(end, depth):
            match item.number, item.wire:
                case 1, 0:
                    self._dimension(tensor, item.value)
                case 1, 2:
                    while self._at < item.end:
                        self._dimension(tensor, self._varint(item.end))
                case 2, 0:
                    tensor.type = item.value
                case 8, 2:
                    tensor.name = self._text(item)
                case 9, 2:
                    tensor.raw_bytes = item.value
                case ((4 | 5 | 6 | 7 | 10 | 11), _):
                    listed = True
                case 13, 2:
                    key, value = self._pair(item.end)
                    tensor.external[key] = value
                case 14, 0:
                    tensor.is_external = item.value == 1
        what = f"the tensor {shown(tensor.name)}"
        if tensor.type not in DATA_TYPES:
            self._refuse("dtype", f"gives {what} the unknown data type {tensor.type}")
        if prod(tensor.shape) > 1 << 62:
            self._refuse("shape", f"gives {what} more values than a file holds")
        if tensor.raw_bytes is not None and not tensor.is_external:
            if tensor.raw_bytes != tensor.needed_bytes:
                self._refuse(
                    "tensor_size",
                    f"gives {what} {tensor.raw_bytes} bytes; its type and shape need "
                    f"{tensor.needed_bytes}",
                )
        elif not listed and not tensor.is_external and 0 not in tensor.shape:
            self._refuse("tensor_size", f"gives {what} a shape, but no values")
        self._model.tensors.append(tensor)
        if len(self._model.tensors) > _MAX_TENSORS:
            self._refuse("count", f"holds more than {_MAX_TENSORS} tensors")
        return tensor

    def _dimension(self, tensor: OnnxTensor, value: int) -> None:
        if value > 1 << 62 or len(tensor.shape) >= _MAX_RANK:
            self._refuse("shape", f"gives the tensor {shown(tensor.name)} no usable shape")
        tensor.shape.append(value)

    def _value(self, end: int, depth: int) -> OnnxValue:
        found = OnnxValue()
        for item in self._message(end, depth):
            match item.number, item.wire:
                case 1, 2:
                    found.name = self._text(item)
                case 2, 2:
                    for kind in self._message(item.end, depth + 1):
                        if (kind.number, kind.wire) == (1, _BYTES):
                            self._tensor_type(kind.end, depth + 2, found)
        if len(self._model.inputs) + len(self._model.outputs) > 10_000:
            self._refuse("count", "has more than 10000 inputs and outputs")
        return found

    def _tensor_type(self, end: int, depth: int, found: OnnxValue) -> None:
        for item in self._message(end, depth):
            match item.number, item.wire:
                case 1, 0:
                    found.type = item.value
                case 2, 2:
                    for dimension in self._message(item.end, depth + 1):
                        text = "?"
                        for part in self._message(dimension.end, depth + 2):
                            if (part.number, part.wire) == (1, _VARINT):
                                # Some exporters write -1 for 'unknown'.
                                text = str(part.value) if part.value < 1 << 63 else "?"
                            elif (part.number, part.wire) == (2, _BYTES):
                                text = self._text(part) or "?"
                        if len(found.shape) < _MAX_RANK:
                            found.shape.append(text)

    def _opset(self, end: int) -> tuple[str, int]:
        domain, version = "", 0
        for item in self._message(end, 1):
            if (item.number, item.wire) == (1, _BYTES):
                domain = self._text(item)
            elif (item.number, item.wire) == (2, _VARINT):
                version = item.value
        return domain, version

    def _pair(self, end: int) -> tuple[str, str]:
        key = value = ""
        for item in self._message(end, 2):
            if (item.number, item.wire) == (1, _BYTES):
                key = self._text(item)
            elif (item.number, item.wire) == (2, _BYTES):
                value = self._text(item)
        return key, value

    # -- the wire format ---------------------------------------------------------------------------

    def _message(self, end: int, depth: int) -> Iterator[_Field]:
        """The fields of a message that ends at `end`; what nobody read of one is passed over."""
        if depth > _MAX_DEPTH:
            self._refuse("nesting", f"nests its messages more than {_MAX_DEPTH} deep")
        while self._at < end:
            tag = self._varint(end)
            number, wire = tag >> 3, tag & 7
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                self._refuse("count", f"consists of more than {_MAX_FIELDS} fields")
            if wire == _VARINT:
                value = self._varint(end)
                stop = self._at
            elif wire == _BYTES:
                value = self._varint(end)
                stop = self._at + value
            elif wire in {_FIXED64, _FIXED32}:
                value = 8 if wire == _FIXED64 else 4
                stop = self._at + value
            else:
                self._refuse("format", "is not an ONNX model: its fields cannot be read")
            if number == 0 or stop > end:
                self._refuse(
                    "format", "is cut off or is not an ONNX model: a part leaves its frame"
                )
            yield _Field(number, wire, value, stop)
            if self._at != stop:
                self._at = stop
                self._source.seek(stop)

    def _varint(self, end: int) -> int:
        value = shift = 0
        while True:
            byte = self._source.read(1) if self._at < end and shift < 70 else b""
            if not byte:
                self._refuse("format", "is cut off or is not an ONNX model: a number does not end")
            self._at += 1
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF
            shift += 7

    def _text(self, item: _Field) -> str:
        if item.value > _MAX_TEXT_BYTES:
            self._refuse("count", f"holds a text of {item.value} bytes")
        raw = self._source.read(item.value)
        self._at += len(raw)
        if len(raw) != item.value:
            self._refuse("format", "ends inside a text")
        return raw.decode("utf-8", "replace")

    def _refuse(self, code: str, fault: str) -> NoReturn:
        raise ImportRefused(
            f"onnx_{code}",
            f"{shown(self._name)} {fault}.",
            "Take the file from the model's source again, or export the model anew.",
            step="validate",
        )
