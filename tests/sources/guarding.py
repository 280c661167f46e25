"""The guarded client with little patience, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

from backend.sources.addresses import AddressRules
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.transport import Patience
from tests.sources.answering import Answer, AnsweringServer

HASTY = Patience(
    connect_seconds=2,
    idle_seconds=0.5,
    head_seconds=1,
    total_seconds=3,
    window_seconds=0.5,
    least_bytes=1000,
)
LIMIT = 1 << 20
HERE = ip_network("127.0.0.1/32")


def client(*allowed: object, attempts: int = 1, **parts: object) -> GuardedClient:
    return GuardedClient(
        AddressRules(allowed or (HERE,)),  # type: ignore[arg-type]
        patience=parts.pop("patience", HASTY),  # type: ignore[arg-type]
        persistence=Persistence(attempts=attempts, pause_seconds=0.01, most_pause_seconds=0.05),
        **parts,  # type: ignore[arg-type]
    )


@contextmanager
def serving(speak: Answer, **parts: object) -> Iterator[tuple[AnsweringServer, GuardedClient]]:
    with AnsweringServer(speak) as server, client(**parts) as guarded:  # type: ignore[arg-type]
        yield server, guarded
