"""What the worker knows about an inference engine, whichever it is.

An engine says what it needs installed, how it is started, and how to ask it whether it answers
and how busy it is. Where its process runs is the launcher's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID

import httpx
import msgspec

from backend.domain.configuration import DeployConfiguration, Hardware


class Option(msgspec.Struct, frozen=True):
    """One command-line option of an engine, as the engine itself describes it.

    `flag` is the form that sets it; `negation` the form that unsets a switch, where there is one.
    `kind` is switch, int, float or text.
    """

    flag: str
    kind: str = "text"
    negation: str | None = None
    choices: tuple[str, ...] = ()
    many: bool = False


@dataclass(frozen=True)
class EnvironmentSpec:
    """A virtual environment that an engine needs.

    `probe` is Python source that proves the installation by importing it and prints the engine's
    options as one JSON object on its last line. `package_count` is about how many packages come
    with it; it only scales the progress.
    """

    name: str
    version: str
    requirements: tuple[str, ...]
    probe: str
    removals: tuple[str, ...] = ()
    package_count: int = 100

    @property
    def label(self) -> str:
        """How people and folders call it."""
        return f"{self.name}-{self.version}"


@dataclass(frozen=True)
class Environment:
    """An environment that is complete."""

    python: Path
    version: str
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class Launch:
    """What one replica is to serve, and where it listens (on the loopback interface)."""

    replica_id: UUID
    model_name: str
    model_directory: Path
    total_bytes: int
    port: int
    configuration: DeployConfiguration


@dataclass(frozen=True)
class Command:
    """A process to start; `environment` is added to the little that engines inherit."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """Requests inside an engine now."""

    running: int
    waiting: int


@dataclass(frozen=True)
class Diagnosis:
    """Why an engine ended, for a person, and what to do about it."""

    reason: str
    remedy: str


class Engine(Protocol):
    """An inference engine that speaks the OpenAI protocol."""

    name: str

    def environment(self, hardware: Hardware) -> EnvironmentSpec:
        """What must be installed to run on this hardware. Raises `Invalid`."""
        ...

    def command(self, environment: Environment, launch: Launch) -> Command:
        """How to start it. Raises `Invalid`, which names the argument that does not fit."""
        ...

    def answers(self, client: httpx.Client, endpoint: str, model_name: str) -> bool:
        """Whether it generates a token; False while it loads. Raises `httpx.HTTPError`."""
        ...

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:
        """Whether it responds at all. Raises `httpx.HTTPError`."""
        ...

    def load(self, client: httpx.Client, endpoint: str) -> Load:
        """How many requests are inside. Raises `httpx.HTTPError`."""
        ...

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        """What a dead engine's last lines mean."""
        ...
