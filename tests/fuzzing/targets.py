"""The parsers, each as a function of bytes that returns or refuses; anything else is a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
from safetensors.numpy import save

from backend.domain.errors import Invalid
from backend.domain.modelfile import parse_modelfile
from backend.sources import preview, registry
from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchRefused
from backend.sources.guarded import Document
from backend.sources.image_reference import parse_reference
from tests.builders.models import config, tensors
from tests.importing.memory import MemoryFiles
from workers.importing.archive import open_archive
from workers.importing.archive_limits import ArchiveLimits
from workers.importing.ctranslate2_model import read_ctranslate2
from workers.importing.gguf_header import read_gguf
from workers.importing.names import member_path
from workers.importing.onnx_model import read_onnx
from workers.importing.refusals import ImportRefused
from workers.importing.safetensors_header import Tensor, read_header, read_index
from workers.importing.validation import pickles, sandboxed, triton, validate
from workers.importing.validation.adapter_keys import BaseModules, match, shape_fault
from workers.importing.validation.layout import BaseModelFacts
from workers.importing.validation.sandbox import ParserFailed

CORPUS = Path(__file__).parent / "corpus"
REFUSALS = (ImportRefused, FetchRefused, Invalid)
_LIMITS = ArchiveLimits(max_entries=200, max_total_bytes=1 << 24)
_IMAGE = "registry.example/team/model:1"


@dataclass(frozen=True)
class Target:
    """A parser by the name of its folder in the corpus."""

    name: str
    run: Callable[[bytes], object]

    def cases(self) -> list[bytes]:
        """Its seeds and what was found, in a fixed order."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())]


def _archive(name: str) -> Callable[[bytes], object]:
    def run(data: bytes) -> None:
        total = 0
        for entry in open_archive(BytesIO(data), _LIMITS, name).entries():
            assert not entry.path.startswith("/")
            assert ".." not in entry.path.split("/")
            for chunk in entry.chunks():
                total += len(chunk)
                assert total <= _LIMITS.max_total_bytes

    return run


def _file(read: Callable[[BytesIO, int, str], object], name: str) -> Callable[[bytes], object]:
    return lambda data: read(BytesIO(data), len(data), name)


@cache
def _base() -> BaseModelFacts:
    shapes = {name: Tensor("F32", array.shape) for name, array in tensors().items()}
    return BaseModelFacts("tiny-llama", {"architecture": "LlamaForCausalLM"}, shapes)


@cache
def _adapter_weights() -> bytes:
    return (CORPUS / "adapter_weights" / "seed.safetensors").read_bytes()


@cache
def _weights() -> bytes:
    return save({"model.embed_tokens.weight": tensors()["model.embed_tokens.weight"][:, :1]})


def _reportable(files: dict[str, bytes], **wanted: Any) -> None:
    """The report and the card must be what events and a database can hold."""
    result = validate(MemoryFiles(files), **wanted)
    _storable([result.report.to_dict(), result.card])


def _storable(value: object) -> None:
    """Events and tables must be able to hold it: no NUL, no half characters, no endless number."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()


def _adapter_config(data: bytes) -> None:
    # Patterns run in a child process of their own; here the config alone is the matter.
    if b"_pattern" in data and b'"rank_pattern": {}' not in data:
        return
    files = {"adapter_config.json": data, "adapter_model.safetensors": _adapter_weights()}
    _reportable(files, kind="adapter", base=_base())


def _adapter_weights_of(data: bytes) -> None:
    header = read_header(BytesIO(data), len(data), "adapter_model.safetensors")
    modules = BaseModules(_base().tensors)
    for name, parts in match(header.tensors, modules, ["lm_head"]).parts.items():
        shape_fault(name, parts, modules.weight(name), transposed=False)


def _model_config(data: bytes) -> None:
    _reportable({"config.json": data, "model.safetensors": _weights()})


def _named(name: str) -> Callable[[bytes], object]:
    """A configuration file beside a sound config, looked at for code of the model's own."""
    rest = {"config.json": json.dumps(config()).encode()}
    return lambda data: _reportable({**rest, name: data})


def _listing(name: str) -> Callable[[bytes], object]:
    """What a batch import reads at an address that ends so; its rows must be fit for a database."""
    address = f"https://example.org/models/{name}"

    def run(data: bytes) -> None:
        found = preview._of_document(Document(address, httpx2.Headers(), data), AddressRules())
        _storable([found.title, *map(asdict, found.rows)])

    return run


class _Registry:
    """Answers each question with the same document."""

    def __init__(self, body: bytes) -> None:
        self._answer = Document("https://registry.example/", httpx2.Headers(), body)

    def get(self, *_: object, **__: object) -> Document:
        return self._answer


def _image_manifest(data: bytes) -> None:
    reference = parse_reference(_IMAGE)
    repository = registry._Repository(reference, _Registry(data))  # type: ignore[arg-type]
    manifest, _ = repository.manifest("1")
    if manifest.kind == "index":
        registry._for_platform(manifest, "linux/amd64", reference)
    else:
        repository.config(manifest)


def _image_config(data: bytes) -> None:
    reference = parse_reference(_IMAGE)
    repository = registry._Repository(reference, _Registry(data))  # type: ignore[arg-type]
    digest = registry._digest(data, "sha256")
    found = repository.config(registry._Manifest(config=registry._Descriptor(digest, len(data))))
    registry._ports((found.config or registry._Run()).exposed)


def _triton(data: bytes) -> None:
    """What the child process does, done here: starting one for each case would take too long."""

    def here(kind: str, text: bytes, **options: Any) -> dict[str, Any]:
        try:
            answer = sandboxed._WORK[kind](BytesIO(text), options)
        except Exception as error:  # in the child, too, this is the parser's verdict
            raise ParserFailed(str(error)) from None
        if "error" in answer:
            raise ParserFailed(str(answer["error"]))
        decoded: dict[str, Any] = json.loads(json.dumps(answer, default=str))
        return decoded

    with patch.object(triton, "parse", here):
        _reportable({"tiny/config.pbtxt": data, "tiny/1/model.savedmodel/saved_model.pb": b""})


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "replace"))


TARGETS = {
    target.name: target
    for target in (
        Target("safetensors", _file(read_header, "model.safetensors")),
        Target("safetensors_index", lambda data: read_index(data, "index.json")),
        Target("adapter_config", _adapter_config),
        Target("adapter_weights", _adapter_weights_of),
        Target("model_config", _model_config),
        Target("model_index", _named("model_index.json")),
        Target("modules", _named("modules.json")),
        Target("pickle_names", lambda data: pickles.disguise(BytesIO(data))),
        Target("zip", _archive("model.zip")),
        Target("tar", _archive("model.tar")),
        Target("tar_gz", _archive("model.tar.gz")),
        Target("tar_zst", _archive("model.tar.zst")),
        Target("member_path", _text(lambda text: member_path(text, max_depth=16))),
        Target("gguf", _file(read_gguf, "model.gguf")),
        Target("onnx", _file(read_onnx, "model.onnx")),
        Target("ctranslate2", _file(read_ctranslate2, "model.bin")),
        Target("manifest_json", _listing("list.json")),
        Target("manifest_yaml", _listing("list.yaml")),
        Target("manifest_csv", _listing("list.csv")),
        Target("manifest_lines", _listing("list.txt")),
        Target("modelfile", _text(parse_modelfile)),
        Target("triton_config", _triton),
        Target("html_index", _listing("")),
        Target("image_reference", _text(parse_reference)),
        Target("image_manifest", _image_manifest),
        Target("image_config", _image_config),
    )
}
