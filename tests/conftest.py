"""Fixtures every area uses. All parts are real; each test has its own database and broker."""

import os
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from backend.application.users import password_hash
from backend.infra.settings import Settings
from tests.rig.platform import RunningPlatform
from tests.rig.servers import BrokerServer, PostgresServer

GIB = 1024**3
SEED = int(os.environ.get("LOGGIA_TEST_SEED") or random.SystemRandom().randrange(1, 10**9))
# The processes of a parallel run get it from the one that starts them.
os.environ["LOGGIA_TEST_SEED"] = str(SEED)


def pytest_report_header() -> str:
    """With this seed every random choice of the run can be made again."""
    return f"LOGGIA_TEST_SEED={SEED}"


@pytest.fixture
def seed() -> int:
    """Where all random choices of a test come from: LOGGIA_TEST_SEED, or a new one for each run."""
    print(f"LOGGIA_TEST_SEED={SEED}")
    return SEED


def pytest_configure() -> None:
    """Where the run was put into the background, its children would ignore these signals too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Engines take longest: what begins with them does not wait for one of them at its end."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> None:
    """Hashes in this process cost nothing; processes that tests start make the real ones."""
    hashing = password_hash()
    hashing.current_hasher = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
    hashing.hashers = (hashing.current_hasher,)


def memory() -> Path | None:
    """A folder in memory with room for this run's databases; a disk takes ten times as long."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and shutil.disk_usage(folder).free > 4 * GIB else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The one PostgreSQL of this run. Tests that crash it make a PostgresServer of their own."""
    server = PostgresServer(memory())
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The DSN of a fresh database with the schema in place."""
    dsn = postgres_server.database()
    yield dsn
    postgres_server.drop(dsn)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerServer]:
    """A fresh, empty broker, which the test may kill, pause and restart."""
    server = BrokerServer(tmp_path / "broker.log")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def settings(tmp_path: Path, postgres: str, broker: BrokerServer) -> Settings:
    """Settings that point at the test's own database, broker and folder, and read no .env file."""
    return Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers=broker.bootstrap_servers,
    )


@pytest.fixture(scope="module")
def platform_up() -> Iterator[RunningPlatform]:
    """The whole platform under `loggia up`, shared by the tests of a module."""
    platform = RunningPlatform()
    try:
        platform.start()
        yield platform
    finally:
        platform.remove()
