"""A Triton server without our front before it, asked by the KServe v2 protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from backend.domain.configuration import Hardware
from backend.domain.engine_options import Option
from backend.domain.servable import Use
from workers.serving.engine import (
    Command,
    Diagnosis,
    Engine,
    Environment,
    EnvironmentSpec,
    Launch,
    Load,
)


@dataclass
class PlainTriton:
    """The engine as such a server is asked; the rest is the engine's own."""

    engine: Engine
    name: str = "triton"

    def settable(self, environment: Environment) -> Mapping[str, Option]:
        """Those of the engine."""
        return self.engine.settable(environment)

    def environment(self, hardware: Hardware) -> EnvironmentSpec | Environment:
        """That of the engine."""
        return self.engine.environment(hardware)

    def command(self, environment: Environment, launch: Launch) -> Command:
        """That of the engine."""
        return self.engine.command(environment, launch)

    def answers(
        self,
        client: httpx.Client,
        endpoint: str,
        model_name: str,
        use: Use,  # noqa: ARG002
    ) -> bool:
        """Whether the model is loaded and ready."""
        ready = client.get(f"{endpoint}/v2/models/{quote(model_name, safe='')}/ready")
        return ready.status_code == httpx.codes.OK

    def effect(
        self,
        client: httpx.Client,  # noqa: ARG002
        endpoint: str,  # noqa: ARG002
        adapter: str,
        base: str,  # noqa: ARG002
        use: Use,  # noqa: ARG002
    ) -> float:
        """Raises `LookupError`: Triton serves no adapters."""
        raise LookupError(f"Triton serves no adapter '{adapter}'")

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:
        """Whether the server is ready."""
        return client.get(f"{endpoint}/v2/health/ready").status_code == httpx.codes.OK

    def load(self, client: httpx.Client, endpoint: str) -> Load:  # noqa: ARG002
        """Not told at this address; Triton itself finishes what runs before it unloads."""
        return Load(0, 0)

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        """That of the engine."""
        return self.engine.diagnose(log_tail, exit_code)
