"""A CTranslate2 model.bin (OpenNMT/CTranslate2, `ModelSpec.save`), read without its values."""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import BinaryIO, NoReturn

from workers.importing.names import shown
from workers.importing.refusals import ImportRefused

# Before version 4 a variable's type was its size alone.
VERSIONS = (4, 5, 6)
DTYPES = (
    ("float32", 4), ("int8", 1), ("int16", 2), ("int32", 4), ("float16", 2), ("bfloat16", 2),
)  # fmt: skip
_MAX_VARIABLES = 100_000
_MAX_NAME_BYTES = 1024
_MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable; its size in bytes."""

    dtype: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Ctranslate2Model:
    """What a model.bin holds. `aliases` are further names of variables."""

    version: int
    spec: str
    revision: int
    variables: dict[str, Variable] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def parameter_count(self) -> int:
        """The number of values in all variables."""
        return sum(prod(variable.shape) for variable in self.variables.values())

    def bytes_by_dtype(self) -> Counter[str]:
        """How many bytes each dtype takes."""
        sizes: Counter[str] = Counter()
        for variable in self.variables.values():
            sizes[variable.dtype] += variable.size
        return sizes


def begins_model(head: bytes) -> bool:
    """Whether a model.bin begins so: a small version, then the name of a specification."""
    if len(head) < 8:
        return False
    version, length = struct.unpack_from("<IH", head)
    name = head[6 : 6 + length - 1]
    return 1 <= version <= 99 and 2 <= length <= 64 and name.isalnum() and name.isascii()


def read_ctranslate2(source: BinaryIO, size: int, name: str) -> Ctranslate2Model:
    """The variables of the model file `name` of `size` bytes.

    Raises `ImportRefused` where anything in it contradicts the format or the file.
    """
    source.seek(0)
    return _Reader(source, size, name).model()


class _Reader:
    def __init__(self, source: BinaryIO, size: int, name: str) -> None:
        self._source = source
        self._size = size
        self._name = name
        self._at = 0

    def model(self) -> Ctranslate2Model:
        version = self._number("<I")
        if version not in VERSIONS:
            self._refuse(
                "version",
                f"has version {version} of the format; readable are {VERSIONS[0]} to "
                f"{VERSIONS[-1]}",
            )
        model = Ctranslate2Model(version, self._text(), self._number("<I"))
        for _ in range(self._count("variables")):
            variable_name = self._text()
            if variable_name in model.variables:
                self._refuse("duplicate", f"has the variable {shown(variable_name)} twice")
            model.variables[variable_name] = self._variable(variable_name)
        for _ in range(self._count("aliases")):
            alias, target = self._text(), self._text()
            if target not in model.variables or alias in model.variables | model.aliases:
                self._refuse("alias", f"gives {shown(alias)} a variable that is not there")
            model.aliases[alias] = target
        if self._at != self._size:
            self._refuse("trailing", f"has {self._size - self._at} bytes behind its end")
        return model

    def _variable(self, name: str) -> Variable:
        rank = self._number("<B")
        if rank > _MAX_RANK:
            self._refuse("shape", f"gives the variable {shown(name)} {rank} dimensions")
        shape = tuple(self._number("<I") for _ in range(rank))
        kind = self._number("<B")
        if kind >= len(DTYPES):
            self._refuse("dtype", f"gives the variable {shown(name)} the unknown type {kind}")
        dtype, width = DTYPES[kind]
        size = self._number("<I")
        if prod(shape) * width != size:
            self._refuse(
                "size",
                f"gives the variable {shown(name)} {size} bytes; its type and shape need "
                f"{prod(shape) * width}",
            )
        self._at += size
        if self._at > self._size:
            self._refuse("truncated", f"ends inside the variable {shown(name)}")
        self._source.seek(self._at)
        return Variable(dtype, shape, size)

    def _count(self, what: str) -> int:
        count = self._number("<I")
        if count > _MAX_VARIABLES or count * 4 > self._size - self._at:
            self._refuse("count", f"claims {count} {what}")
        return count

    def _text(self) -> str:
        length = self._number("<H")
        if not 0 < length <= _MAX_NAME_BYTES:
            self._refuse("name", f"has a name of {length} bytes")
        raw = self._bytes(length)
        if raw[-1] or 0 in raw[:-1]:
            self._refuse("name", "has a name that does not end where it says")
        try:
            return raw[:-1].decode("utf-8")
        except UnicodeDecodeError:
            self._refuse("name", "has a name that is not valid UTF-8")

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._bytes(struct.calcsize(form)))[0])

    def _bytes(self, count: int) -> bytes:
        self._at += count
        data = self._source.read(count)
        if len(data) != count:
            self._refuse("truncated", "ends before all that it lists has come")
        return data

    def _refuse(self, code: str, fault: str) -> NoReturn:
        raise ImportRefused(
            f"ctranslate2_{code}",
            f"{shown(self._name)} {fault}.",
            "Convert the model again with a converter of CTranslate2, such as "
            "ct2-transformers-converter.",
            step="validate",
        )
