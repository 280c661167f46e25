"""vLLM as a container of its own image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from workers.serving.containers import Container, ContainerOrder, Health
from workers.serving.engine import Command, Environment, Launch, Option

_PYTHON = Path("python3")
# They are chosen for the worker's own processors.
_OF_THIS_MACHINE = frozenset({"OMP_NUM_THREADS", "VLLM_CPU_OMP_THREADS_BIND"})
_SWITCHES = frozenset({"true", "false"})
# What the worker itself switches on.
_OWN_SWITCHES = frozenset({"enforce_eager"})


class _Commands(Protocol):
    def command(self, environment: Environment, launch: Launch) -> Command:
        """How it is started."""
        ...


class _Unchecked(dict[str, Option]):
    """The options of an image that nobody has asked for them: any name may be one.

    The engine refuses at its start what it does not know, and the last lines of its log say so.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        switches = {name for name, value in given.items() if value.lower() in _SWITCHES}
        super().__init__({name: _option(name, switch=True) for name in switches | _OWN_SWITCHES})

    def get(self, name: str, default: object = None) -> Option:  # noqa: ARG002
        return self[name]

    def __missing__(self, name: str) -> Option:
        return _option(name, switch=False)


def container(engine: _Commands, order: ContainerOrder) -> Container:
    """The container. Raises `Invalid`, which names the argument that does not fit."""
    launch = order.launch
    image = order.images.vllm[launch.configuration.hardware.accelerator]
    options = _Unchecked(launch.configuration.engine_arguments)
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
