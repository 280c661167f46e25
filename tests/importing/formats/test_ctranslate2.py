"""CTranslate2 models: written by the library itself, and forged."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from ctranslate2.specs import TransformerDecoderModelSpec
from ctranslate2.specs.model_spec import visit_spec
from hypothesis import given
from hypothesis import strategies as st

from tests.importing.memory import MemoryFiles
from workers.importing.ctranslate2_model import read_ctranslate2
from workers.importing.refusals import ImportRefused
from workers.importing.validation import validate

VOCABULARY = ["<unk>", "<s>", "</s>", *(f"t{i}" for i in range(29))]


@pytest.fixture(scope="module", params=[None, "int8", "float16"])
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A decoder of two layers as the library saves it, and its quantization."""
    spec = TransformerDecoderModelSpec.from_config(num_layers=2, num_heads=2)

    def fill(layer: Any, name: str, value: Any) -> None:
        if value is None:
            rows = len(VOCABULARY) if "embeddings" in name or "projection" in name else 64
            size = (64,) if "norm" in name or name.endswith("bias") else (rows, 64)
            setattr(layer, name.rsplit("/", 1)[-1], np.ones(size, np.float32))

    visit_spec(spec, fill)
    spec.register_vocabulary(VOCABULARY)
    spec.validate()
    spec.optimize(quantization=request.param)
    folder = tmp_path_factory.mktemp("ct2")
    spec.save(str(folder))
    return {path.name: path.read_bytes() for path in folder.iterdir()}, request.param


def test_a_model_by_the_library_becomes_a_card(converted: Any) -> None:
    files, quantization = converted
    result = validate(MemoryFiles(files))
    assert {c.id for c in result.report.checks if c.outcome != "pass"} == {"model_card", "license"}
    card = result.card
    assert card is not None
    assert card["format"] == card["weight_format"] == "ctranslate2"
    assert card["architecture"] == "TransformerDecoderSpec"
    assert card["task"] == "text-generation"
    assert card["dtype"] == (quantization or "float32")
    assert card["quantization"] == ("int8" if quantization == "int8" else None)
    assert (card["vocabulary_size"], card["hidden_size"], card["layers"]) == (32, 64, 2)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json"])
def test_every_file_of_a_conversion_is_needed(converted: Any, name: str) -> None:
    files = {path: data for path, data in converted[0].items() if path != name}
    failures = validate(MemoryFiles(files)).report.failures
    assert [failure.id for failure in failures] == ["config"]


def text(value: bytes) -> bytes:
    return struct.pack("<H", len(value) + 1) + value + b"\0"


def variable(
    name: bytes = b"w",
    shape: tuple[int, ...] = (2,),
    kind: int = 0,
    size: int = 8,
    data: bytes = bytes(8),
) -> bytes:
    head = text(name) + struct.pack(f"<B{len(shape)}I", len(shape), *shape)
    return head + struct.pack("<BI", kind, size) + data


def forged(
    *variables: bytes,
    count: int | None = None,
    version: int = 6,
    aliases: bytes = struct.pack("<I", 0),
) -> bytes:
    return (
        struct.pack("<I", version)
        + text(b"TransformerSpec")
        + struct.pack("<II", 1, len(variables) if count is None else count)
        + b"".join(variables)
        + aliases
    )


FORGED: dict[str, tuple[bytes, str]] = {
    "count": (forged(count=2**32 - 1), "claims 4294967295 variables"),
    "count the file cannot hold": (forged(count=90_000), "claims 90000 variables"),
    "version": (forged(version=7), "has version 7 of the format; readable are 4 to 6"),
    "old version": (forged(version=2), "has version 2 of the format"),
    "rank": (forged(variable(shape=(1,) * 99)), "99 dimensions"),
    "type": (forged(variable(kind=9)), "the unknown type 9"),
    "shape overflow": (
        forged(variable(shape=(2**32 - 1,) * 4)), "8 bytes; its type and shape need",
    ),
    "size": (forged(variable(size=4)), "4 bytes; its type and shape need 8"),
    "cut": (forged(variable(shape=(2**20,), size=2**22)), "ends inside the variable 'w'"),
    "twice": (forged(variable(), variable()), "has the variable 'w' twice"),
    "alias of nothing": (
        forged(variable(), aliases=struct.pack("<I", 1) + text(b"a") + text(b"b")),
        "gives 'a' a variable that is not there",
    ),
    "more behind": (forged(variable()) + b"x", "has 1 bytes behind its end"),
    "name without end": (
        forged(struct.pack("<H", 2) + b"ww" + bytes(40)), "does not end where it says",
    ),
    "empty": (forged(), "There are no weights."),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_model_is_refused_with_what_is_wrong(name: str) -> None:
    data, words = FORGED[name]
    result = validate(MemoryFiles({"model.bin": data, "config.json": b"{}"}))
    assert result.card is None
    failure = next(check for check in result.report.failures if check.id == "weights")
    assert words in failure.evidence
    assert failure.hint.endswith(".")


@given(st.integers(0), st.binary(min_size=1, max_size=9))
def test_a_damaged_model_is_read_or_refused(at: int, damage: bytes) -> None:
    whole = forged(variable(), variable(b"v"))
    at %= len(whole)
    broken = whole[:at] + damage + whole[at + len(damage) :]
    try:
        read_ctranslate2(io.BytesIO(broken), len(broken), "model.bin")
    except ImportRefused:
        return
