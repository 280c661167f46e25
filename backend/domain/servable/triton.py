"""What Triton serves: model repositories, and models converted for CTranslate2."""

from __future__ import annotations

from backend.domain.servable.facts import Imported, Obstacle

_LOADED = {"triton", "ctranslate2"}
_NO_ADAPTERS = Obstacle(
    "Triton loads no adapters.",
    "Deploy it with vLLM, or merge it into its base and import the result as a base model.",
)
_NOT_CONVERTED = Obstacle(
    "Triton serves model repositories and models converted for CTranslate2.",
    "Choose vLLM as the engine.",
)


def obstacle(imported: Imported, _: Imported | None, __: str | None) -> Obstacle | None:
    """Why Triton cannot serve it, or None."""
    if imported.kind == "adapter":
        return _NO_ADAPTERS
    return None if imported.format in _LOADED else _NOT_CONVERTED
