"""What commands and listings are compared with: the library, an empty handler, the bare SQL."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import httpx
import psycopg
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from psycopg.conninfo import conninfo_to_dict

from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from backend.readmodels.batches import existing
from tests.rig.ports import free_port
from tests.rig.statements import statements
from tests.rig.waiting import eventually

HELLO = """
from litestar import Litestar, get
@get("/")
async def hello() -> dict[str, str]:
    return {"hello": "world"}
app = Litestar([hello], openapi_config=None)
"""
PAGE = 50


class Thing(Aggregate):
    """The yardstick's aggregate."""

    @event("Changed")
    def change(self, text: str) -> None:
        self.text = text


class Things(Application[UUID]):
    """The library as it comes."""

    env: ClassVar[dict[str, str]] = {"PERSISTENCE_MODULE": "eventsourcing.postgres"}


def _plain(dsn: str, *, functions: bool) -> Things:
    database = conninfo_to_dict(dsn)
    return Things(
        env={
            "POSTGRES_DBNAME": str(database["dbname"]),
            "POSTGRES_HOST": str(database["host"]),
            "POSTGRES_PORT": str(database["port"]),
            "POSTGRES_USER": str(database["user"]),
            "POSTGRES_PASSWORD": str(database.get("password", "")),
            "POSTGRES_SCHEMA": "public",
            "POSTGRES_ENABLE_DB_FUNCTIONS": "y" if functions else "n",
        }
    )


def save_latency(dsn: str, count: int) -> list[float]:
    """`save` of one event, one process, the library's defaults."""
    application = _plain(dsn, functions=False)
    taken = []
    for _ in range(count):
        thing = Thing()
        started = time.perf_counter()
        application.save(thing)
        taken.append(time.perf_counter() - started)
    application.close()
    return taken


def _save_for(dsn: str, seconds: float, count: Any) -> None:
    application = _plain(dsn, functions=True)
    end = time.perf_counter() + seconds
    done = 0
    while time.perf_counter() < end:
        application.save(Thing())
        done += 1
    application.close()
    with count.get_lock():
        count.value += done


def save_rate(dsn: str, processes: int = 4, seconds: float = 4.0) -> float:
    """Saves a second by several processes, with the database functions on."""
    _plain(dsn, functions=True).close()
    context = multiprocessing.get_context("spawn")
    count = context.Value("i", 0)
    workers = [
        context.Process(target=_save_for, args=(dsn, seconds, count)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return float(count.value / seconds)


@contextmanager
def hello_server() -> Iterator[str]:
    """An empty Litestar handler on the same server software."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hello.py").write_text(HELLO)
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "hello:app", "--port", str(port),
             "--no-access-log", "--log-level", "error"],
            cwd=folder,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: _answers(url), "hello answers")
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.TransportError:
        return False


def sql_page(settings: Settings, models: int, count: int = 400) -> list[float]:
    """The bare keyset query at random depth."""
    taken = []
    with psycopg.connect(settings.dsn, autocommit=True) as connection:
        for _ in range(count):
            after = random.randrange(PAGE, models)
            started = time.perf_counter()
            connection.execute(
                "SELECT * FROM gallery.models WHERE created_position < %s "
                "ORDER BY created_position DESC LIMIT 50",
                (after,),
                prepare=True,
            ).fetchall()
            taken.append(time.perf_counter() - started)
    return taken


def sql_facets(settings: Settings, count: int = 30) -> list[float]:
    """The bare count of one facet."""
    taken = []
    with psycopg.connect(settings.dsn, autocommit=True) as connection:
        for _ in range(count):
            started = time.perf_counter()
            connection.execute(
                "SELECT state, count(*) FROM gallery.models GROUP BY 1", prepare=True
            ).fetchall()
            taken.append(time.perf_counter() - started)
    return taken


def sql_existing(settings: Settings, names: list[str], count: int = 30) -> list[float]:
    """The bare look at which of these names are taken."""
    taken = []
    with psycopg.connect(settings.dsn, autocommit=True) as connection:
        for _ in range(count):
            started = time.perf_counter()
            connection.execute(
                "SELECT name_key, model_id FROM loggia.model_names WHERE name_key = ANY(%s)",
                (names,),
                prepare=True,
            ).fetchall()
            taken.append(time.perf_counter() - started)
    return taken


def existing_statements(settings: Settings, names: list[str]) -> int:
    """How often greying out asks the database."""
    with open_pool(settings) as pool, statements() as told:
        found = existing(pool, names)
    assert len(found) == len(names) // 2
    return len(told)
