"""A workplace on the test's own database and folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.infra.settings import Settings
from tests.importing.other_worker import OtherWorker, WorkerProcess
from tests.importing.workplace import Site, open_site


@pytest.fixture
def site(tmp_path: Path, postgres: str) -> Iterator[Site]:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        # Long: a slow disk must not end the work of the test itself.
        job_lease_seconds=30,
    )
    with open_site(settings) as opened:
        yield opened


@pytest.fixture
def other(site: Site, tmp_path: Path) -> Iterator[OtherWorker]:
    """Starts workers beside the test's own, and ends them with it."""
    started: list[WorkerProcess] = []

    def start(**environment: str) -> WorkerProcess:
        log = tmp_path / f"worker-{len(started)}.log"
        started.append(WorkerProcess(site, log, **environment))
        return started[-1]

    yield start
    for process in started:
        process.close()
