"""Keys of registered servers: each is sent to its own server, and to nobody else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from yarl import URL

from backend.application.feed import StoredEvent
from backend.gateway.server_keys import ServerKeys

REGISTERED = cast(
    "list[StoredEvent]", [SimpleNamespace(public=SimpleNamespace(type="ServerRegistered"))]
)
SECRETS = [
    ("https://proxy", "of the proxy"),
    ("https://Proxy:443/pool-b", "of pool b"),
    ("https://proxy/pool-c", None),
    ("HTTP://GPU-7:80", "typed so"),
]


def sent(keys: ServerKeys, url: str) -> str | None:
    request: Any = SimpleNamespace(url=URL(url, encoded=True), headers={})

    async def answer(_: object) -> Any:
        return None

    asyncio.run(keys.send(request, answer))
    found: str | None = request.headers.get("Authorization")
    return found


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://proxy/v2/health/ready", "Bearer of the proxy"),
        ("https://proxy/pool-b/v2/health/ready", "Bearer of pool b"),
        ("https://proxy/pool-c/v2", None),
        ("https://proxy/pool-bb/v2", "Bearer of the proxy"),
        ("https://proxy.example/v2", None),
        ("http://gpu-7/v2", "Bearer typed so"),
        ("http://gpu-7:8000/v2", None),
    ],
)
def test_the_longest_address_counts_however_it_was_typed(url: str, secret: str | None) -> None:
    keys = ServerKeys(lambda: SECRETS)
    assert sent(keys, url) is None
    keys.follow(REGISTERED)
    assert sent(keys, url) == secret
