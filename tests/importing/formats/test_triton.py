"""Model repositories of Triton."""

from __future__ import annotations

import pytest

from tests.importing.formats.made import onnx_model
from tests.importing.memory import MemoryFiles
from workers.importing.validation import validate

Files = dict[str, bytes]

CONFIG = """
name: "tiny"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
dynamic_batching { preferred_batch_size: [ 4 ] }
"""
ENSEMBLE = """
name: "both"
platform: "ensemble"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
ensemble_scheduling { step [ {
  model_name: "tiny" model_version: -1
  input_map { key: "x" value: "x" } output_map { key: "y" value: "y" }
} ] }
"""


def repository(config: str = CONFIG, **more: str) -> Files:
    graph = onnx_model().SerializeToString()
    return {
        "tiny/config.pbtxt": config.encode("utf-8", "surrogateescape"),
        "tiny/1/model.onnx": graph,
        **{
            path.replace("__", "/").replace("_pbtxt", ".pbtxt"): t.encode()
            for path, t in more.items()
        },
    }


def test_a_repository_becomes_a_card() -> None:
    result = validate(MemoryFiles(repository()))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["format"] == "triton"
    assert result.card["architecture"] == "tiny"
    assert result.card["model_type"] == "onnxruntime"
    assert result.card["parameter_count"] == 12
    assert result.card["dtype"] == "float32"
    found = {check.id: check.evidence for check in result.report.checks}
    assert found["repository"] == "tiny: onnxruntime, versions 1."


def test_an_ensemble_stands_for_its_repository() -> None:
    result = validate(MemoryFiles({**repository(), "both/config.pbtxt": ENSEMBLE.encode()}))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["architecture"] == "both"


def without(files: Files, path: str) -> Files:
    return {name: data for name, data in files.items() if name != path}


BROKEN: dict[str, tuple[Files, str, str]] = {
    "config at the top": (
        {"config.pbtxt": CONFIG.encode(), "1/model.onnx": b""},
        "layout", "config.pbtxt lies at the top",
    ),
    "syntax": (repository("name: {"), "repository", "tiny/config.pbtxt: line 1:7"),
    "unknown field": (
        repository('nome: "tiny"'), "repository", 'no field named "nome"',
    ),
    "number too large": (
        repository("max_batch_size: 99999999999"), "repository", "tiny/config.pbtxt: line 1:17",
    ),
    "no text": (repository("\udcff"), "repository", "tiny/config.pbtxt: UnicodeDecodeError"),
    "nested": (
        repository("input { " * 50_000), "repository", "tiny/config.pbtxt:",
    ),
    "too large": (repository("#" * (2 << 20)), "repository", "have at most 1048576"),
    "other name": (
        repository(CONFIG.replace("tiny", "other")), "repository", "names the model 'other', not",
    ),
    "unknown backend": (
        repository('backend: "../../lib"'), "repository", "names the backend '../../lib'; known",
    ),
    "no backend": (repository('name: "tiny"'), "repository", "names the backend ''; known"),
    "contradiction": (
        repository(CONFIG + 'backend: "python"'),
        "repository", "names platform onnxruntime_onnx and backend python",
    ),
    "no config": (
        {**repository(), "more/1/model.onnx": b""}, "repository", "more has no config.pbtxt",
    ),
    "no version": (
        without(repository(), "tiny/1/model.onnx"), "repository", "tiny has no version folder",
    ),
    "missing version": (
        repository(CONFIG + "version_policy: { specific: { versions: [ 3 ] } }"),
        "repository", "tiny shall serve '3', which is missing",
    ),
    "missing file": (
        {**without(repository(), "tiny/1/model.onnx"), "tiny/1/other.onnx": b""},
        "repository", "tiny/1 has no 'model.onnx'",
    ),
    "missing step": (
        {**repository(), "both/config.pbtxt": ENSEMBLE.replace('"tiny"', '"gone"').encode()},
        "repository", "uses 'gone', which the repository does not hold",
    ),
    "ensemble of nothing": (
        {**repository(), "both/config.pbtxt": b'platform: "ensemble"'},
        "repository", "both is an ensemble without steps",
    ),
    "damaged graph": (
        {**repository(), "tiny/1/model.onnx": b"no graph"}, "weights", "is not an ONNX model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_repository_says_what_is_wrong(name: str) -> None:
    files, check, words = BROKEN[name]
    result = validate(MemoryFiles(files))
    assert result.card is None
    failure = next(found for found in result.report.failures if found.id == check)
    assert words in failure.evidence
    assert failure.hint.endswith(".")
