from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings
from projections.service import project
from tests.relay.conftest import line

__all__ = ["line"]


@pytest.fixture
def database(tmp_path: object, postgres: str) -> Settings:
    """Settings with a database and no broker."""
    return Settings(_env_file=None, postgres_dsn=postgres)


@pytest.fixture
def pool(database: Settings) -> Iterator[Pool]:
    with open_pool(database) as pool:
        yield pool


@pytest.fixture
def projecting(settings: Settings) -> Iterator[threading.Event]:
    """All projections in a thread; the event is set once they are ready."""
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=project, args=(settings, stop, ready.set), daemon=True)
    thread.start()
    yield ready
    stop.set()
    thread.join(timeout=30)
