"""What Triton serves: model repositories, and text generators converted for CTranslate2."""

from __future__ import annotations

from backend.domain.servable.facts import AS_SAFETENSORS, Imported, Obstacle, Use, use_of

_REPOSITORY, _CONVERTED = "triton", "ctranslate2"
# What a card without a format stands for: the first release imported nothing else.
_CONVERTIBLE = {None, "transformers"}
# These read something else than text, or write from an encoder.
_ENCODING = "ForConditionalGeneration"
_NO_ADAPTERS = Obstacle(
    "Triton loads no adapters.",
    "Deploy it with vLLM, or merge it into its base and import the result as a base model.",
)
_NOT_CONVERTED = Obstacle(
    "Triton serves model repositories and models converted for CTranslate2.",
    "Choose the optimization CTranslate2, or vLLM as the engine.",
)
_CONVERTED_ALREADY = Obstacle("The model needs no conversion for Triton.", "Skip the optimization.")
_NOT_GENERATING = Obstacle(
    "Of converted models Triton serves those that generate text from text alone.",
    "Choose vLLM as the engine.",
)


def obstacle(imported: Imported, _: Imported | None, method: str | None) -> Obstacle | None:
    """Why Triton cannot serve it, or None."""
    if imported.kind == "adapter":
        return _NO_ADAPTERS
    if imported.format in {_REPOSITORY, _CONVERTED}:
        if method == _CONVERTED:
            return _CONVERTED_ALREADY
        generates = imported.format == _REPOSITORY or imported.task == "text-generation"
        return None if generates else _NOT_GENERATING
    if imported.format not in _CONVERTIBLE:
        return Obstacle(
            f"Triton cannot load the format '{imported.format}', nor can CTranslate2 convert it.",
            AS_SAFETENSORS,
        )
    if imported.quantization is not None and method == _CONVERTED:
        return Obstacle(
            f"The model is quantized already, with {imported.quantization}.",
            "Import it with plain weights, or choose vLLM as the engine.",
        )
    if use_of(imported) is not Use.GENERATE or (imported.architecture or "").endswith(_ENCODING):
        return _NOT_GENERATING
    return _NOT_CONVERTED if method == "skip" else None
