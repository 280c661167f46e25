"""Which weights a repository offers, for the ways in which authors lay them out."""

import pytest

from backend.sources.weights import Offered, selected, weight_choices


def offered(*paths: str) -> list[Offered]:
    return [Offered(path, 100) for path in paths]


@pytest.mark.parametrize(
    ("paths", "choices", "recommended"),
    [
        (
            ["config.json", "model.safetensors", "pytorch_model.bin", "tf_model.h5"],
            {"safetensors", "pytorch"},
            "safetensors",
        ),
        (
            ["m.Q4_K_M.gguf", "m.Q8_0.gguf", "README.md"],
            {"gguf:m.Q4_K_M", "gguf:m.Q8_0"},
            None,
        ),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], {"gguf:m"}, "gguf:m"),
        (
            ["onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_fp16.onnx"],
            {"onnx", "onnx:fp16"},
            "onnx",
        ),
        (
            [
                "model_index.json",
                "unet/diffusion_pytorch_model.safetensors",
                "unet/diffusion_pytorch_model.fp16.safetensors",
                "single_checkpoint.safetensors",
            ],
            {"safetensors", "safetensors:fp16", "safetensors:file single_checkpoint.safetensors"},
            "safetensors",
        ),
        (
            ["model-00001-of-00001.safetensors", "consolidated.safetensors"],
            {"safetensors", "safetensors:consolidated"},
            "safetensors",
        ),
        (["pytorch_model.bin", "optimizer.pt"], {"pytorch"}, "pytorch"),
        (["README.md"], set(), None),
    ],
)
def test_the_choices(paths: list[str], choices: set[str], recommended: str | None) -> None:
    found = weight_choices(offered(*paths))
    assert {choice.id for choice in found} == choices
    assert next((c.id for c in found if c.recommended), None) == recommended


def test_pickles_say_that_they_are() -> None:
    (choice,) = weight_choices(offered("pytorch_model.bin"))
    assert "can run code" in choice.hazard


def test_a_choice_brings_its_weights_and_what_belongs_to_all() -> None:
    files = offered(
        "config.json", "model.safetensors", "pytorch_model.bin", "a.Q4_0.gguf", ".gitattributes",
        "optimizer.pt",
    )  # fmt: skip

    def paths(*patterns: str) -> list[str] | None:
        chosen = selected(files, patterns)
        return None if chosen is None else [file.path for file in chosen]

    assert paths() == ["config.json", "model.safetensors"]
    assert paths("pytorch") == ["config.json", "pytorch_model.bin"]
    assert paths("*.gguf") == ["config.json", "a.Q4_0.gguf"]
    assert paths("nothing") is None
    assert selected(offered("a.Q4_0.gguf", "a.Q8_0.gguf"), []) is None
