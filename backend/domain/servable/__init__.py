"""Whether what was imported can be served, by which engine, as what, and why not.

Each engine has a module here with its rules. Which engines an installation offers is not a rule:
it depends on its servers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from backend.domain.servable import container, ollama, triton, vllm
from backend.domain.servable.facts import Imported, Obstacle, Use, adapter_rank, use_of
from backend.domain.servable.vllm import MAX_ADAPTER_RANK

__all__ = [
    "CONTAINER",
    "ENGINES",
    "MAX_ADAPTER_RANK",
    "OFFERED",
    "EngineRules",
    "Imported",
    "Obstacle",
    "Use",
    "adapter_rank",
    "nearest_reason",
    "obstacle",
    "obstacles_by_engine",
    "use_of",
]


# The engine that only what runs containers has.
CONTAINER = "container"


@dataclass(frozen=True)
class EngineRules:
    """An engine as deploy configurations name it.

    `obstacle` is asked with a model, an adapter's base, and the method of optimization; None for
    the last means any. `methods` are those that it can be combined with. `at_home` are the formats
    that are made for it; `missing` says what an installation lacks that does not offer it.
    """

    name: str
    label: str
    obstacle: Callable[[Imported, Imported | None, str | None], Obstacle | None]
    methods: tuple[str, ...]
    at_home: frozenset[str]
    missing: Obstacle


ENGINES: Mapping[str, EngineRules] = {
    rules.name: rules
    for rules in (
        EngineRules(
            "vllm",
            "vLLM",
            vllm.obstacle,
            ("skip", "vllm"),
            frozenset(),
            Obstacle("This installation does not run vLLM.", "Add a server that runs it."),
        ),
        EngineRules(
            "triton",
            "Triton",
            triton.obstacle,
            ("skip", "ctranslate2"),
            frozenset({"triton", "ctranslate2"}),
            Obstacle("This installation does not run Triton.", "Add a server that runs it."),
        ),
        EngineRules(
            "ollama",
            "Ollama",
            ollama.obstacle,
            ("skip",),
            frozenset({"gguf", "ollama"}),
            Obstacle(
                "No Ollama server is known.",
                "Add one on the Servers page, or import the model with safetensors weights, in the "
                "layout of transformers.",
            ),
        ),
        EngineRules(
            CONTAINER,
            "Container image",
            container.obstacle,
            ("skip",),
            frozenset({"container_image"}),
            Obstacle(
                "No launcher that runs containers is configured.",
                "Run the image elsewhere, or import the model that it serves.",
            ),
        ),
    )
}
# What every installation has: the deploy worker installs it by itself.
OFFERED: frozenset[str] = frozenset({"vllm", "triton"})


def obstacles_by_engine(
    imported: Imported,
    base: Imported | None = None,
    *,
    method: str | None = None,
    offered: Collection[str] = OFFERED,
) -> dict[str, Obstacle | None]:
    """What hinders each engine; `base` is an adapter's base model where it is there.

    `method` is the optimization's; without it, whichever fits counts.
    """
    found: dict[str, Obstacle | None] = {}
    for name, rules in ENGINES.items():
        hindered = rules.obstacle(imported, base, method)
        found[name] = hindered or (None if name in offered else rules.missing)
    return found


def obstacle(
    imported: Imported,
    base: Imported | None = None,
    *,
    engine: str | None = None,
    method: str | None = None,
    offered: Collection[str] = OFFERED,
) -> Obstacle | None:
    """Why the engine cannot serve it, or None; without one, why none can."""
    found = obstacles_by_engine(imported, base, method=method, offered=offered)
    return found[engine] if engine is not None else nearest_reason(imported.format, found)


def nearest_reason(format: str | None, found: Mapping[str, Obstacle | None]) -> Obstacle | None:
    """Why no engine serves it, in the words of the one that the format is made for; else None."""
    if any(hindered is None for hindered in found.values()):
        return None
    nearest = next((name for name, rules in ENGINES.items() if format in rules.at_home), "vllm")
    return found[nearest]
