"""Whether registered servers still have the models that they were asked to serve.

A server that was started anew may be ready before anybody notices, and have loaded nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

from backend.infra.servers import StoredServer
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.inference_servers import serves

_INTERVAL_SECONDS = 2.0
_ANSWER_SECONDS = 1.5


@dataclass
class _Seen:
    """When the server is asked again, and since when it has been without the model."""

    due: float = 0.0
    missing_since: float | None = None


class ServedModels:
    """Asks for each replica's model every two seconds, when somebody wants to know."""

    def __init__(self, client: GuardedClient) -> None:
        self._client = client
        self._seen: dict[UUID, _Seen] = {}

    def missing_seconds(self, replica_id: UUID, server: StoredServer, name: str) -> float:
        """For how long the server has answered that it is without the model, as of the last look.

        0 where it has it, or says nothing: that is noticed elsewhere.
        """
        seen = self._seen.setdefault(replica_id, _Seen())
        if time.monotonic() >= seen.due:
            there = self._there(server, name)
            seen.due = time.monotonic() + _INTERVAL_SECONDS
            seen.missing_since = None if there else seen.missing_since or time.monotonic()
        return 0.0 if seen.missing_since is None else time.monotonic() - seen.missing_since

    def forget(self, replica_id: UUID) -> None:
        """The replica has ended."""
        self._seen.pop(replica_id, None)

    def _there(self, server: StoredServer, name: str) -> bool:
        try:
            with self._client.within(_ANSWER_SECONDS):
                return serves(server.engine, server.address, server.credentials, self._client, name)
        except (FetchFailed, FetchRefused):
            return True
