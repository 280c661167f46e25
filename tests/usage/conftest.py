from __future__ import annotations

from collections.abc import Iterator

import pytest

from backend.infra import kafka
from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings


@pytest.fixture
def pool(settings: Settings) -> Iterator[Pool]:
    with open_pool(settings) as pool:
        yield pool


@pytest.fixture
def topic(settings: Settings) -> None:
    """The topics are there."""
    kafka.ensure_topics(settings)
