from __future__ import annotations

from collections.abc import Iterator

import pytest

from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings


@pytest.fixture
def database(tmp_path: object, postgres: str) -> Settings:
    """Settings with a database and no broker."""
    return Settings(_env_file=None, postgres_dsn=postgres)


@pytest.fixture
def pool(database: Settings) -> Iterator[Pool]:
    with open_pool(database) as pool:
        yield pool
