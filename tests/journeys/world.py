"""A platform, and the systems around it: a hub, a registry and a web server of our own."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.rig.client import JSON, Administrator
from tests.rig.command_line import CommandLine
from tests.rig.hub import Hub
from tests.rig.platform import RunningPlatform
from tests.rig.registry import Registry
from tests.rig.web import Web

READY = ("ready_to_deploy", "import_failed")


class World:
    """A platform, and the systems around it."""

    def __init__(self, stack: ExitStack, configuration: Path) -> None:
        self.hub = stack.enter_context(Hub())
        self.hub.tokens = {"hf_good": "ana"}
        self.registry = stack.enter_context(Registry(sign_in="token"))
        self.web = stack.enter_context(Web())
        # Everybody may read it, as a share of a server.
        self.roots = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roots-")))
        self.roots.chmod(0o755)
        self.platform = RunningPlatform(
            {
                "LOGGIA_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
                "LOGGIA_IMPORT_ROOTS": str(self.roots),
                "LOGGIA_HUGGINGFACE_ENDPOINT": self.hub.endpoint,
            }
        )
        stack.callback(self.platform.remove)
        self.platform.start()
        self.admin = Administrator.of(self.platform)
        assert self.platform.password is not None
        self.shell = CommandLine(
            configuration,
            self.platform.url,
            self.platform.administrator,
            self.platform.password,
        )

    def begin(self, source: str, **facts: Any) -> str:
        accepted = self.admin.command("POST", "/api/imports", {"source": source, **facts})
        return str(accepted["id"])

    def bring_in(self, source: str, **facts: Any) -> JSON:
        """Imports, and waits until the model can be deployed."""
        model = self.admin.wait_for_model(self.begin(source, **facts), *READY)
        assert model["state"] == "ready_to_deploy", model["failure"]
        return model

    def failure(self, source: str, **facts: Any) -> JSON:
        model = self.admin.wait_for_model(self.begin(source, **facts), *READY)
        assert model["state"] == "import_failed", model
        failure: JSON = model["failure"]
        return {**failure, "id": model["id"]}

    def connect_registry(self) -> None:
        self.admin.command(
            "POST",
            "/api/connections",
            {
                "name": "registry",
                "kind": "registry",
                "endpoint": self.registry.endpoint,
                "secret": "ana:secret",
            },
        )
