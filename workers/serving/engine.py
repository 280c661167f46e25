"""What the worker knows about an inference engine, whichever it is.

An engine says what it needs installed, how it is started, and how to ask it whether it answers
and how busy it is. Where its process runs is the launcher's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable
from uuid import UUID

import httpx

from backend.domain.configuration import DeployConfiguration, Hardware
from backend.domain.engine_options import Option, Quantization
from backend.domain.servable import Use


@dataclass(frozen=True)
class EnvironmentSpec:
    """A virtual environment that an engine needs.

    `probe` is Python source that proves the installation by importing it. On its last line it
    prints a JSON object: `options` of the engine's command line, by name, and `quantizations`,
    by method, where there are any. `package_count` is about how many packages come
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
    quantizations: Mapping[str, Quantization] = field(default_factory=dict)


@dataclass(frozen=True)
class AdapterFiles:
    """An adapter that is served under its own name; `rank` is the largest one in it."""

    name: str
    directory: Path
    rank: int


@dataclass(frozen=True)
class Launch:
    """What one replica is to serve, and where it listens (on the loopback interface).

    Name and directory are those of the whole model, an adapter's base; `total_bytes` is both.
    `runs_own_code` says that somebody consented to running code that came with the model.
    `adapter_rank` is the largest of adapters that may be loaded later; 0 where none may.
    `template` is the model's deployment template for Ollama.
    """

    replica_id: UUID
    model_name: str
    model_directory: Path
    total_bytes: int
    port: int
    configuration: DeployConfiguration
    use: Use = Use.GENERATE
    runs_own_code: bool = False
    adapter: AdapterFiles | None = None
    adapter_rank: int = 0
    template: str = ""


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

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost when the engine ends."""
        return self.running + self.waiting == 0


@dataclass(frozen=True)
class Diagnosis:
    """Why an engine ended, for a person, and what to do about it."""

    reason: str
    remedy: str


class AdapterRefused(Exception):
    """The engine would not load or unload an adapter; the text is its own."""


@runtime_checkable
class HoldsAdapters(Protocol):
    """An engine that loads adapters while it runs. All raise `httpx.HTTPError`."""

    def loaded_adapters(self, client: httpx.Client, endpoint: str) -> Mapping[str, Path]:
        """Those that answer, by name, with their files."""
        ...

    def load_adapter(
        self, client: httpx.Client, endpoint: str, adapter: AdapterFiles, *, anew: bool
    ) -> None:
        """Makes it answer; `anew` where one of its name does. Raises `AdapterRefused`."""
        ...

    def unload_adapter(self, client: httpx.Client, endpoint: str, name: str) -> None:
        """Makes it answer no more, once its requests are finished. Raises `AdapterRefused`."""
        ...


class Engine(Protocol):
    """An inference engine that speaks the OpenAI protocol."""

    name: str

    def settable(self, environment: Environment) -> Mapping[str, Option]:
        """Its options, those marked that a deployment may not set."""
        ...

    def environment(self, hardware: Hardware, /) -> EnvironmentSpec | Environment:
        """What must be installed to run on this hardware, or what is there. Raises `Invalid`."""
        ...

    def command(self, environment: Environment, launch: Launch) -> Command:
        """How to start it. Raises `Invalid`, which names the argument that does not fit."""
        ...

    def answers(self, client: httpx.Client, endpoint: str, model_name: str, use: Use) -> bool:
        """Whether it does what it is for; False while it loads. Raises `httpx.HTTPError`."""
        ...

    def effect(
        self, client: httpx.Client, endpoint: str, adapter: str, base: str, use: Use
    ) -> float:
        """The largest difference between an adapter's and its base's numbers for one input.

        Numbers are logarithms of probabilities, parts of a vector, or a score. Raises
        `httpx.HTTPError`, and `ValueError` or `LookupError` for an answer that says nothing.
        """
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
