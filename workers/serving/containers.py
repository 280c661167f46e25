"""What an engine is as a container, whichever launcher runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from workers.serving.engine import Launch
from workers.serving.subject import Subject

# Where a container finds the files of its model, and those of an adapter of it.
MODELS = Path("/models")


@dataclass(frozen=True)
class Health:
    """An HTTP GET that answers 200 to 299 while the container works; times are in seconds."""

    path: str
    port: int
    initial_delay: int = 0
    period: int = 5
    timeout: int = 5
    failures: int = 6


@dataclass(frozen=True)
class Container:
    """A container to run. Nothing of `secrets` may stand in a log or in a readable manifest.

    An empty `command` or `arguments` leaves the image's own. `connection` is that with the account
    for the image's registry. `memory_gib` and `cpu` are the least that it needs, where known.
    """

    image: str
    version: str
    port: int
    health: Health
    command: Sequence[str] = ()
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    connection: str | None = None
    cpu: float | None = None
    memory_gib: float | None = None


@dataclass(frozen=True)
class Images:
    """The images of the engines that Loggia knows, by accelerator."""

    vllm: Mapping[str, str]


@dataclass(frozen=True)
class ContainerOrder:
    """What a container is made for; the paths in `launch` are those inside it.

    `secret` opens the connection of a name; it raises `DomainError`.
    """

    launch: Launch
    subject: Subject
    images: Images
    secret: Callable[[str], str]


@runtime_checkable
class Containerised(Protocol):
    """An engine that can also be run as a container."""

    def container(self, order: ContainerOrder) -> Container:
        """The container. Raises `DomainError`, which names what does not fit."""
        ...
