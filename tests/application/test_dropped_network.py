"""A network that is dropped without a word leaves nobody waiting for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from backend.application.store import EventStore, StoreUnavailable
from backend.domain.model import Model
from backend.infra.postgres import Exclusive, KeptConnection, connect, open_pool
from backend.infra.settings import Settings
from tests.rig.network import Network

LOST = (psycopg.OperationalError, PoolTimeout, StoreUnavailable)
# Far more than it takes, and far less than the quarter of an hour of an unwatched connection.
WELL_BEFORE = 120


def test_every_client_notices_that_the_network_is_gone(postgres: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads, Network(postgres) as network:
        far = Settings(
            _env_file=None,
            data_dir=tmp_path,
            postgres_dsn=network.dsn,
            kafka_bootstrap_servers="127.0.0.1:1",
        )
        waiting, idle, kept = connect(far.dsn), connect(far.dsn), KeptConnection(far.dsn)
        pool, store, lock = open_pool(far), EventStore(far), Exclusive(far.dsn, "a lock")
        assert lock.acquire(threading.Event())
        lent = pool.getconn()
        asks: dict[str, Callable[[], object]] = {
            "waits for an answer": lambda: waiting.execute("SELECT pg_sleep(600)"),
            "asks when it is gone": lambda: idle.execute("SELECT 1"),
            "keeps a connection": lambda: kept.get().execute("SELECT 1"),
            "has one of the pool": lambda: lent.execute("SELECT 1"),
            "loads from the store": lambda: store.find(Model, uuid4()),
            "confirms its lock": lock.confirm,
        }
        for name, ask in asks.items():
            if name != "waits for an answer":
                ask()
        first = threads.submit(asks.pop("waits for an answer"))
        _until_it_waits(postgres)
        network.drop()
        running = [threads.submit(ask) for ask in asks.values()]
        for future in (first, *running):
            with pytest.raises(LOST):
                future.result(timeout=WELL_BEFORE)
        pool.putconn(lent)
        for each in (waiting, idle, kept, lock, pool, store):
            each.close()


def _until_it_waits(postgres: str) -> None:
    with closing(connect(postgres)) as watching:
        while not watching.execute(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' "
            "AND state = 'active'"
        ).fetchall():
            pass
