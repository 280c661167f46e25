from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest
from psycopg import Cursor
from psycopg.rows import DictRow

from backend.application.commands import CommandContext, CommandRunner
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.contracts.codec import PublicEvent
from backend.infra.consumer import Consumer, Handler
from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings
from backend.infra.uploads import Uploads
from backend.relay.relay import Relay
from tests.application.conftest import Importer


class Line:
    """Events in the store, the relay, and consumers, all in this process."""

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self.settings = settings
        self.pool: Pool = stack.enter_context(open_pool(settings))
        self.store = EventStore(settings)
        stack.callback(self.store.close)
        self.feed = EventFeed(self.store, settings.dsn)
        self.models = Models(CommandRunner(self.store, settings.secret_key))
        self.importer = Importer(self.models, Uploads(self.pool))
        self._stack = stack

    def write(self, models: int, edits: int = 0, prefix: str = "m") -> None:
        """Imports models, and edits each of them."""
        for number in range(models):
            model_id = self.importer.import_model(f"{prefix}{number}")
            for edit in range(edits):
                self.models.edit_configuration(
                    CommandContext(actor="user:ada"), model_id, description=f"edit {edit}"
                )

    def relay(self) -> threading.Event:
        """Runs a relay in a thread; set the returned event to stop it."""
        return self._run(lambda stop: Relay(self.settings, self.feed).run(stop))

    def consume(
        self, name: str, handle: Handler, on_ready: Callable[[], None] = lambda: None
    ) -> threading.Event:
        """Runs a consumer in a thread."""
        return self._run(Consumer(self.settings, self.pool, name, handle, on_ready=on_ready).run)

    def watermark(self, name: str) -> int:
        with self.pool.connection() as connection:
            row = connection.execute(
                "SELECT position FROM loggia.consumer_watermark WHERE consumer = %s", (name,)
            ).fetchone()
        return int(row["position"]) if row else 0

    def caught_up(self, name: str = "ledger") -> bool:
        """Whether a consumer has everything that is stored."""
        return self.watermark(name) == self.feed.last_position()

    def _run(self, target: Callable[[threading.Event], None]) -> threading.Event:
        stop = threading.Event()
        thread = threading.Thread(target=target, args=(stop,), daemon=True)
        thread.start()
        self._stack.callback(thread.join, timeout=15)
        self._stack.callback(stop.set)
        return stop


class Ledger:
    """A consumer's rows: every event that was applied, in the order of application."""

    def __init__(self, line: Line, name: str = "ledger") -> None:
        self.line, self.name = line, name
        with line.pool.connection() as connection:
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {name} (n bigserial, position bigint, key text)"
            )

    def handle(self, cursor: Cursor[DictRow], events: Sequence[PublicEvent]) -> None:
        cursor.executemany(
            f"INSERT INTO {self.name} (position, key) VALUES (%s, %s)",
            [(event.position, event.partition_key) for event in events],
        )

    def rows(self) -> list[tuple[int, str]]:
        with self.line.pool.connection() as connection:
            found = connection.execute(f"SELECT position, key FROM {self.name} ORDER BY n")
            return [(row["position"], row["key"]) for row in found]

    def assert_complete(self) -> None:
        """Every event of the store once, and in order for each key."""
        rows = self.rows()
        last = self.line.feed.last_position()
        assert sorted(position for position, _ in rows) == list(range(1, last + 1))
        by_key: dict[str, list[int]] = {}
        for position, key in rows:
            by_key.setdefault(key, []).append(position)
        assert all(positions == sorted(positions) for positions in by_key.values())


@pytest.fixture
def line(settings: Settings) -> Iterator[Line]:
    with ExitStack() as stack:
        yield Line(settings, stack)


@pytest.fixture
def ledger(line: Line) -> Ledger:
    return Ledger(line)
