"""vLLM as a container of its own image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from backend.domain.engine_options import Option
from workers.serving.containers import Container, ContainerOrder, Health
from workers.serving.engine import Command, Environment, Launch

_PYTHON = Path("python3")
# They are chosen for the worker's own processors and folders.
_OF_THIS_MACHINE = frozenset({"OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND", "VLLM_RPC_BASE_PATH"})
_SWITCH_VALUES = frozenset({"true", "false"})
# What the worker itself sets where a deployment does not.
_OWN_SWITCHES = frozenset({"enforce_eager"})
# Those that vLLM can be started with.
_RANKS = ("1", "8", "16", "32", "64", "128", "256", "320", "512")
_OWN = frozenset(
    {"max_model_len", "dtype", "max_num_seqs", "quantization", "kv_cache_memory_bytes",
     "tensor_parallel_size"}
)  # fmt: skip


class _Commands(Protocol):
    def command(self, environment: Environment, launch: Launch) -> Command:
        """How it is started."""
        ...


def _unchecked(given: Mapping[str, str]) -> dict[str, Option]:
    """The options of an image that nobody has asked for them: whatever is given may be one.

    The engine refuses at its start what it does not know, and the last lines of its log say so.
    """
    switches = {name for name, value in given.items() if value.lower() in _SWITCH_VALUES}
    found = {
        name: _option(name, switch=name in switches | _OWN_SWITCHES)
        for name in given.keys() | _OWN | _OWN_SWITCHES
    }
    return {**found, "max_lora_rank": Option("--max-lora-rank", "int", choices=_RANKS)}


def container(engine: _Commands, order: ContainerOrder) -> Container:
    """The container. Raises `Invalid`, which names the argument that does not fit."""
    launch = order.launch
    image = order.images.vllm[launch.configuration.hardware.accelerator]
    options = _unchecked(launch.configuration.engine_arguments)
    # Adapters that come while it runs would need their files in every pod.
    launch = replace(launch, adapter_rank=0)
    command = engine.command(Environment(_PYTHON, image, options), launch)
    environment = {
        name: value for name, value in command.environment.items() if name not in _OF_THIS_MACHINE
    }
    python, *arguments = command.arguments
    return Container(
        image=image,
        version=image.rpartition(":")[2],
        port=launch.port,
        health=Health("/health", launch.port),
        command=[python],
        arguments=arguments,
        environment=environment,
    )


def _option(name: str, *, switch: bool) -> Option:
    words = name.replace("_", "-")
    if switch:
        return Option(f"--{words}", "switch", f"--no-{words}")
    return Option(f"--{words}")
