from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backend.api.services import Services
from backend.infra.settings import Settings
from tests.api.client import ApiClient
from tests.rig.api_server import ADMIN_PASSWORD, ApiServer, register
from tests.rig.following import following


@pytest.fixture
def server(settings: Settings) -> Iterator[ApiServer]:
    """The API in this process, with an administrator `admin`."""
    with ApiServer(settings) as running:
        yield running


@pytest.fixture
def views(server: ApiServer) -> Iterator[None]:
    """Relay and projections, so that what is written can be read."""
    with following(server.settings):
        yield


@pytest.fixture
def services(server: ApiServer) -> Services:
    return server.services


@pytest.fixture
def admin(server: ApiServer) -> Iterator[ApiClient]:
    """The administrator, signed in with a cookie."""
    with ApiClient(server.url) as client:
        client.sign_in("admin", ADMIN_PASSWORD)
        yield client


@pytest.fixture
def anonymous(server: ApiServer) -> Iterator[ApiClient]:
    with ApiClient(server.url) as client:
        yield client


@pytest.fixture
def client_as(server: ApiServer) -> Iterator[Callable[[str], ApiClient]]:
    """Somebody with the named role, signed in."""
    clients: dict[str, ApiClient] = {}

    def make(role: str) -> ApiClient:
        if role not in clients:
            register(server.services, f"a-{role}", role)
            clients[role] = ApiClient(server.url)
            clients[role].sign_in(f"a-{role}", ADMIN_PASSWORD)
        return clients[role]

    yield make
    for client in clients.values():
        client.close()
