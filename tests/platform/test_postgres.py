"""The embedded cluster: made once, closed to others, found again after every kind of end."""

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backend.embedded.errors import EmbeddedError
from backend.embedded.postgres import EmbeddedPostgres
from tests.rig.servers import PostgresServer


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_a_database_is_empty_and_separate(postgres_server: PostgresServer) -> None:
    first, second = postgres_server.empty_database(), postgres_server.empty_database()
    with psycopg.connect(first, autocommit=True) as connection:
        connection.execute("CREATE TABLE only_here (id int)")
    with psycopg.connect(second) as connection:
        found = connection.execute("SELECT to_regclass('only_here')").fetchone()
    assert found == (None,)


def test_the_server_wants_its_password(postgres_server: PostgresServer) -> None:
    embedded = postgres_server.embedded
    wrong = f"postgresql://loggia:guess@127.0.0.1:{embedded.port}/postgres"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong, connect_timeout=5)
    assert stat.S_IMODE(embedded.password_file.stat().st_mode) == 0o600


def test_committed_rows_survive_a_crash_of_the_server(own_server: PostgresServer) -> None:
    dsn = own_server.empty_database()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    own_server.kill()
    assert (own_server.embedded.directory / "postmaster.pid").exists()
    own_server.start()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_preparing_again_keeps_the_cluster_and_its_password(own_server: PostgresServer) -> None:
    before = own_server.dsn
    own_server.embedded.prepare()
    assert own_server.dsn == before
    psycopg.connect(own_server.dsn, connect_timeout=5).close()


def test_an_interrupted_first_start_leaves_nothing_in_the_way(own_server: PostgresServer) -> None:
    staged = own_server.directory / "second.new"
    staged.mkdir()
    (staged / "PG_VERSION").write_text("18\n")
    second = EmbeddedPostgres(own_server.directory / "second", port=1)
    second.prepare()
    assert (second.directory / "global" / "pg_control").exists()
    assert not staged.exists()


def test_a_cluster_of_another_major_version_is_refused(own_server: PostgresServer) -> None:
    version = own_server.embedded.directory / "PG_VERSION"
    kept = version.read_text()
    version.write_text("12\n")
    try:
        with pytest.raises(EmbeddedError, match="made by PostgreSQL 12"):
            own_server.embedded.prepare()
    finally:
        version.write_text(kept)


def test_a_folder_its_user_may_not_enter_is_linked_and_not_opened_up(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    cluster = EmbeddedPostgres(closed / "data" / "postgres", port=1)
    try:
        cluster.prepare()
        assert (cluster.directory / "PG_VERSION").read_text().strip() == "18"
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        again = EmbeddedPostgres(closed / "data" / "postgres", port=1)
        again.prepare()
        assert again.dsn == cluster.dsn
    finally:
        shutil.rmtree(cluster.directory.resolve(), ignore_errors=True)
