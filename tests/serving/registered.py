"""Servers that run already, as doubles behind real sockets, registered as people do it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from backend.application.commands import CommandContext, CommandRunner
from backend.application.feed import EventFeed
from backend.application.servers import Servers
from backend.domain.server import Capacity, Description
from backend.infra.connections import Seal
from tests.rig.inference import HttpDouble, TritonDouble, VllmDouble
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery

KEY = "sk-of-the-server"


class Pool:
    """Doubles that are registered, and what the event store says of them."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.servers = Servers(
            CommandRunner(gallery.store, gallery.settings.secret_key),
            Seal(gallery.settings.secret_key),
        )
        self.doubles = ExitStack()

    def vllm(self, name: str, *models: str, pool: str = "", key: str | None = None) -> VllmDouble:
        """A vLLM double that serves these models, registered."""
        double = self.doubles.enter_context(VllmDouble(*models, key=key))
        self.register(name, double, "vllm", pool=pool)
        return double

    def triton(
        self, name: str, *repository: str, key: str | None = None, deployments: int = 1
    ) -> TritonDouble:
        """A Triton double with these models in its repository, registered."""
        double = self.doubles.enter_context(TritonDouble(*repository, key=key))
        capacity = Capacity(deployments=deployments)
        address = double.grpc_address
        self.register(name, double, "triton", grpc_address=address, capacity=capacity)
        return double

    def register(self, name: str, double: HttpDouble, engine: str, **more: Any) -> None:
        description = Description(
            name=name, address=double.address, engine=engine, engine_version="9", **more
        )
        self.servers.register(CommandContext(ADA), description, double.key)

    def events(self, kind: str) -> list[dict[str, Any]]:
        found = EventFeed(self.gallery.store, self.gallery.settings.dsn).read(0, 10_000)
        return [event.data for event in found if event.type == kind]

    def await_event(self, kind: str, *, seconds: float = 20) -> dict[str, Any]:
        return eventually(lambda: self.events(kind), f"a {kind}", seconds=seconds)[-1]


def on(server: str, engine: str = "vllm", replicas: int = 1) -> dict[str, Any]:
    """The parts of a configuration that names the server."""
    scaling = {"min_replicas": replicas, "max_replicas": replicas}
    return {"engine": engine, "hardware": {"server": server}, "scaling": scaling}
