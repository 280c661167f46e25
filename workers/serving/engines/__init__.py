"""The engines that Loggia can start."""

from backend.infra.settings import Settings
from workers.serving.engine import Engine
from workers.serving.engines.container import ContainerImage
from workers.serving.engines.ollama import Ollama
from workers.serving.engines.triton import Triton
from workers.serving.engines.vllm import Vllm


def engines(settings: Settings) -> dict[str, Engine]:
    """Every engine that there is, by its name in a deploy configuration."""
    found: list[Engine] = [Vllm(), Triton()]
    if settings.runs_containers:
        found.append(ContainerImage())
    if settings.ollama_url is not None:
        token = settings.ollama_token
        found.append(Ollama(settings.ollama_url, token.get_secret_value() if token else None))
    return {engine.name: engine for engine in found}
