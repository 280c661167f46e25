"""Tells the platform what the engines that are installed here say about themselves."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from backend.application.engine_facts import EngineFacts, EngineFactsTable
from backend.domain.configuration import Hardware
from backend.domain.errors import DomainError
from backend.infra.logging import get_logger
from workers.serving.engine import Engine, Environment
from workers.serving.environments import Abandonment, EngineEnvironments, EnvironmentFailed

_HARDWARE = (Hardware(), Hardware(accelerator="gpu", accelerator_count=1))
_log = get_logger(__name__)


class InstalledEngines:
    """Publishes facts of this server's engines: once installed, and when the worker starts."""

    def __init__(self, table: EngineFactsTable, environments: EngineEnvironments) -> None:
        self._table = table
        self._environments = environments

    def tell(self, engine: Engine, accelerator: str, environment: Environment) -> None:
        """This engine is there."""
        self._table.publish(
            EngineFacts(
                server="local",
                engine=engine.name,
                accelerator=accelerator,
                version=environment.version,
                options=engine.settable(environment),
                quantizations=environment.quantizations,
            )
        )

    def tell_all(self, engines: Mapping[str, Engine], stop: threading.Event) -> None:
        """Those that are there already; one that was asked by an older Loggia is asked again.

        Engines that this worker does not have are no longer said to be there.
        """
        self._table.keep_only("local", engines.keys())
        for engine in engines.values():
            for hardware in _HARDWARE:
                if stop.is_set():
                    return
                try:
                    spec = engine.environment(hardware)
                    if isinstance(spec, Environment):
                        self.tell(engine, hardware.accelerator, spec)
                    elif self._environments.find(spec) is not None:
                        environment = self._environments.ensure(spec, lambda *_: None, stop.is_set)
                        self.tell(engine, hardware.accelerator, environment)
                except (DomainError, Abandonment):
                    continue  # not for this hardware, or the worker ends
                except (EnvironmentFailed, OSError) as error:
                    _log.warning("an engine says nothing of itself", error=str(error))
