"""A workplace that may reach this machine's addresses, and a folder of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.infra.settings import Settings
from tests.importing.workplace import Site, open_site


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    folder = tmp_path / "roots"
    folder.mkdir()
    return folder


@pytest.fixture
def site(tmp_path: Path, postgres: str, roots: Path) -> Iterator[Site]:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        # Long: a slow disk must not end the work of the test itself.
        job_lease_seconds=30,
        fetch_allowed_networks="127.0.0.1/32",
        import_roots=str(roots),
    )
    with open_site(settings) as opened:
        yield opened
