"""A workplace on the test's own database and folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.infra.settings import Settings
from tests.importing.workplace import Site, open_site


@pytest.fixture
def site(tmp_path: Path, postgres: str) -> Iterator[Site]:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        job_lease_seconds=2,
    )
    with open_site(settings) as opened:
        yield opened
