"""ONNX files: written by the onnx library itself, published, and forged."""

from __future__ import annotations

import io
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from tests.importing.formats.made import onnx_model
from tests.importing.formats.published import Folder, package_folder
from tests.importing.memory import MemoryFiles
from workers.importing.onnx_model import DATA_TYPES, read_onnx
from workers.importing.refusals import ImportRefused
from workers.importing.validation import validate

Files = dict[str, bytes]


def failure(files: Files, check: str = "weights") -> str:
    result = validate(MemoryFiles(files))
    assert result.card is None
    found = next(c for c in result.report.failures if c.id == check)
    assert found.hint.endswith(".")
    return found.evidence


def test_the_data_types_are_those_of_the_library() -> None:
    theirs = {number: name.lower() for name, number in TensorProto.DataType.items() if number}
    ours = {
        n: {"float32": "float", "float64": "double"}.get(t, t) for n, (t, _) in DATA_TYPES.items()
    }
    assert ours == theirs


def test_a_file_by_the_library_becomes_a_card() -> None:
    model = onnx_model()
    onnx.checker.check_model(model)
    result = validate(MemoryFiles({"tiny.onnx": model.SerializeToString()}))
    assert {c.id for c in result.report.checks if c.outcome != "pass"} == {"model_card", "license"}
    found = {check.id: check.evidence for check in result.report.checks}
    assert found["operators"] == "Operator sets ai.onnx 21."
    assert found["interface"] == "In: x float32 [batch, 4]. Out: y float32 [batch, 3]."
    assert result.card is not None
    assert result.card["format"] == "onnx"
    assert result.card["parameter_count"] == 12
    assert result.card["dtype"] == "float32"
    assert result.card["summary"] == "Multiplies."


def external(folder: Path) -> Files:
    """The same with its weights in a file beside it, as the library splits them."""
    onnx.save_model(
        onnx_model(), folder / "tiny.onnx", save_as_external_data=True, location="w.data",
        size_threshold=0,
    )  # fmt: skip
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def moved(files: Files, key: str, value: str) -> Files:
    model = onnx.ModelProto.FromString(files["tiny.onnx"])
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    return {**files, "tiny.onnx": model.SerializeToString()}


def test_weights_in_a_file_of_their_own_are_found(tmp_path: Path) -> None:
    result = validate(MemoryFiles(external(tmp_path)))
    assert result.card is not None
    found = {check.id: check.evidence for check in result.report.checks}
    assert found["external_data"] == "1 tensors in 'w.data'."


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("location", "../w.data", "lies in '../w.data', which is no place inside the model."),
        ("location", "/etc/passwd", "lies in '/etc/passwd', which is no place inside the model."),
        ("location", "a\\b", "which is no place inside the model."),
        ("location", "gone.data", "lies in 'gone.data', which is missing."),
        ("length", "9", "no usable offset and length; its type and shape need 48 bytes."),
        ("length", "-1", "no usable offset and length"),
        ("length", "\u0664\u0668", "no usable offset and length"),
        ("offset", "4611686018427387904", "ends at byte 4611686018427387952 of 'w.data'"),
    ],
)
def test_external_weights_must_be_inside_the_model(
    key: str, value: str, words: str, tmp_path: Path
) -> None:
    files = external(tmp_path)
    if key == "offset":
        model = onnx.ModelProto.FromString(files["tiny.onnx"])
        kept = [e for e in model.graph.initializer[0].external_data if e.key != "offset"]
        del model.graph.initializer[0].external_data[:]
        model.graph.initializer[0].external_data.extend(kept)
        model.graph.initializer[0].external_data.add(key="offset", value=value)
        files["tiny.onnx"] = model.SerializeToString()
    else:
        files = moved(files, key, value)
    assert words in failure(files, "external_data")


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def part(number: int, data: bytes, length: int | None = None) -> bytes:
    return varint(number << 3 | 2) + varint(len(data) if length is None else length) + data


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def with_tensor(data: bytes) -> bytes:
    return part(7, part(5, data))


def nested(depth: int) -> bytes:
    """Graphs in attributes of nodes in graphs."""
    data = b""
    for _ in range(depth):
        data = part(1, part(5, part(6, data)))
    return part(7, data)


FORGED: dict[str, tuple[bytes, str]] = {
    "nothing": (number(1, 8), "holds no graph"),
    "text": (b"This is no model at all.", "is not an ONNX model"),
    "length 2^63": (part(7, b"", 1 << 63), "a part leaves its frame"),
    "length beyond the file": (part(7, b"x", 99), "a part leaves its frame"),
    "endless number": (b"\x08" + b"\xff" * 20, "a number does not end"),
    "groups": (b"\x0b\x0c", "its fields cannot be read"),
    "graphs in graphs": (nested(30), "nests its messages more than 32 deep"),
    "two graphs": (part(7, b"") * 2, "holds two graphs"),
    "data type": (with_tensor(number(2, 99)), "the unknown data type 99"),
    "shape overflow": (
        with_tensor(number(2, 1) + number(1, 1 << 40) * 3), "more values than a file holds",
    ),
    "negative shape": (
        with_tensor(number(1, (1 << 64) - 1) + number(2, 1)), "no usable shape",
    ),
    "endless shape": (with_tensor(part(1, b"\x01" * 99) + number(2, 1)), "no usable shape"),
    "too few bytes": (
        with_tensor(number(1, 9) + number(2, 1) + part(9, b"1234")),
        "4 bytes; its type and shape need 36",
    ),
    "no values": (with_tensor(number(1, 9) + number(2, 1)), "a shape, but no values"),
    "text of megabytes": (part(7, b"") + part(6, bytes(2 << 20)), "a text of 2097152 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_is_refused_with_what_is_wrong(name: str) -> None:
    data, words = FORGED[name]
    assert words in failure({"m.onnx": data})


def test_operators_must_be_of_a_named_set() -> None:
    model = onnx_model(domain="evil.ops").SerializeToString()
    assert "operators of 'evil.ops' without naming" in failure({"m.onnx": model}, "operators")
    old = onnx_model(opset=99).SerializeToString()
    assert "names the operator set 99" in failure({"m.onnx": old}, "operators")


@given(st.integers(0), st.binary(min_size=1, max_size=9))
def test_a_damaged_file_is_read_or_refused(at: int, damage: bytes) -> None:
    whole = onnx_model().SerializeToString()
    at %= len(whole)
    broken = whole[:at] + damage + whole[at + len(damage) :]
    try:
        read_onnx(io.BytesIO(broken), len(broken), "m.onnx")
    except ImportRefused:
        return


PUBLISHED = {
    "magika": "magika/models/standard_v3_3",
    "rapidocr-onnxruntime": "rapidocr_onnxruntime/models",
}


@pytest.mark.parametrize("package", PUBLISHED)
def test_published_models_validate(package: str) -> None:
    result = validate(Folder(package_folder(package, PUBLISHED[package])))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["format"] == "onnx"


def test_what_is_read_agrees_with_the_library() -> None:
    folder = package_folder("magika", "magika/models/standard_v3_3")
    theirs = onnx.load(folder / "model.onnx")
    data = (folder / "model.onnx").read_bytes()
    ours = read_onnx(io.BytesIO(data), len(data), "model.onnx")
    assert ours.nodes == len(theirs.graph.node)
    assert ours.opsets == {opset.domain: opset.version for opset in theirs.opset_import}
    assert [v.name for v in ours.inputs] == [v.name for v in theirs.graph.input]
    sizes = {t.name: numpy_helper.to_array(t).nbytes for t in theirs.graph.initializer}
    assert {t.name: t.needed_bytes for t in ours.tensors if t.name in sizes} == sizes
