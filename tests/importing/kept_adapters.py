"""Adapters as peft wrote them (adapters/make.py), and what is known of the base they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.builders.models import tensors
from workers.importing.safetensors_header import Tensor
from workers.importing.validation.layout import BaseModelFacts

_FOLDER = Path(__file__).parent / "adapters"
_DTYPES = {"float32": "F32", "float16": "F16", "int32": "I32"}


def kept(name: str) -> dict[str, bytes]:
    """The files of an adapter as peft wrote them."""
    return {path.name: path.read_bytes() for path in (_FOLDER / name).iterdir()}


def facts(arrays: dict[str, Any] | None = None, **card: Any) -> BaseModelFacts:
    """What is known of the tiny Llama, or of the arrays."""
    found = {
        name: Tensor(_DTYPES[str(array.dtype)], array.shape)
        for name, array in (arrays or tensors()).items()
    }
    return BaseModelFacts(
        "tiny-llama",
        {
            "architecture": "LlamaForCausalLM",
            "model_type": "llama",
            "dtype": "float32",
            "hidden_size": 128,
            "vocabulary_size": 512,
            "layers": 2,
            **card,
        },
        found,
    )
