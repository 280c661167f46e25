"""The engines that Loggia can start."""

from workers.serving.engine import Engine
from workers.serving.engines.triton import Triton
from workers.serving.engines.vllm import Vllm


def engines() -> dict[str, Engine]:
    """Every engine by its name in a deploy configuration."""
    return {engine.name: engine for engine in (Vllm(), Triton())}
