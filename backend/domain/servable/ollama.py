"""What Ollama serves: GGUF files, and what its own library offers under a name."""

from __future__ import annotations

from backend.domain.servable.facts import NO_ROUTE, Imported, Obstacle, use_of

_LOADED = {"gguf", "ollama"}
_NO_ADAPTERS = Obstacle(
    "Loggia gives an Ollama server whole models, and no adapters.",
    "Deploy it with vLLM, or merge it into its base and import the result as a base model.",
)
_NOT_GGUF = Obstacle(
    "Ollama loads GGUF files.", "Import the model as GGUF, or choose vLLM as the engine."
)


def obstacle(imported: Imported, _: Imported | None, __: str | None) -> Obstacle | None:
    """Why an Ollama server cannot serve it, or None."""
    if imported.kind == "adapter":
        return _NO_ADAPTERS
    if imported.format not in _LOADED:
        return _NOT_GGUF
    return NO_ROUTE if use_of(imported) is None else None
