"""What the handlers work with, opened once for each process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from backend.api.accounts import Accounts
from backend.api.backlog_metrics import BacklogMetrics
from backend.api.callers import Callers
from backend.api.lanes import Gathered, Lane
from backend.api.live import LiveHub
from backend.api.looking import Looking
from backend.api.metrics import Metrics
from backend.api.upload_end import UploadEnd
from backend.application.adapters import Adapters
from backend.application.api_keys import ApiKeys
from backend.application.batches import Batches
from backend.application.commands import Accepted, CommandRunner
from backend.application.connections import Connections
from backend.application.deployments import Deployments
from backend.application.engine_facts import EngineFactsTable
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.application.users import Users
from backend.infra.connections import ConnectionStore, Seal
from backend.infra.dry_runs import DryRuns
from backend.infra.object_store import ObjectStore
from backend.infra.playground_tokens import PlaygroundTokens
from backend.infra.postgres import TIME_OUTS, Pool, open_pool
from backend.infra.settings import Settings
from backend.infra.telemetry import TelemetryPublisher
from backend.infra.uploads import Uploads
from backend.readmodels import backlog
from backend.readmodels.cursors import Cursors
from backend.readmodels.freshness import Freshness
from backend.readmodels.gallery import Gallery

T = TypeVar("T")

# As many commands are written together.
_COMMAND_THREADS = 16
_QUERY_THREADS = 8
_FILE_THREADS = 16
_FETCH_THREADS = 8
_FETCH_SECONDS = 60.0
_PASSWORD_THREADS = 2  # each verification takes 64 MiB
_WAITING = 200
# PostgreSQL's own time-outs are shorter; this one is for when it is frozen.
_ANSWER_SECONDS = 10.0


@dataclass
class Services:
    """Commands, queries and files, with a lane of threads for each."""

    settings: Settings
    pool: Pool
    store: EventStore
    accounts: Accounts
    callers: Callers
    models: Models
    batches: Batches
    connections: Connections
    connection_store: ConnectionStore
    looking: Looking
    deployments: Deployments
    adapters: Adapters
    engine_facts: EngineFactsTable
    api_keys: ApiKeys
    users: Users
    uploads: Uploads
    upload_end: UploadEnd
    dry_runs: DryRuns
    object_store: ObjectStore
    telemetry: TelemetryPublisher
    playground_tokens: PlaygroundTokens
    cursors: Cursors
    gallery: Gallery
    freshness: Freshness
    metrics: Metrics
    live: LiveHub
    commands: Lane = field(default_factory=lambda: _lane("command", _COMMAND_THREADS))
    queries: Lane = field(default_factory=lambda: _lane("query", _QUERY_THREADS))
    files: Lane = field(default_factory=lambda: _lane("file", _FILE_THREADS, seconds=None))
    fetches: Lane = field(
        default_factory=lambda: _lane("fetch", _FETCH_THREADS, seconds=_FETCH_SECONDS)
    )
    passwords: Lane = field(default_factory=lambda: _lane("password", _PASSWORD_THREADS))

    def __post_init__(self) -> None:
        self.backlog = BacklogMetrics(lambda: self.query(lambda: backlog.read(self.pool)))
        self.metrics.registry.register(self.backlog)
        self.people_by_token = Gathered(self.queries, self.callers.by_tokens)
        self.people_by_session = Gathered(self.queries, self.callers.by_sessions)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connects to PostgreSQL and to the object store. Kafka is not waited for."""
        pool = open_pool(settings, size=_QUERY_THREADS + _FILE_THREADS // 2, time_outs=TIME_OUTS)
        store = EventStore(settings)
        runner = CommandRunner(store, settings.secret_key)
        models = Models(runner)
        seal = Seal(settings.secret_key)
        connection_store = ConnectionStore(pool, seal)
        uploads = Uploads(pool)
        object_store = ObjectStore.from_settings(settings)
        metrics = Metrics()
        return cls(
            settings=settings,
            pool=pool,
            store=store,
            accounts=Accounts(pool, session_hours=settings.session_hours),
            callers=Callers(settings.dsn),
            models=models,
            batches=Batches(runner),
            connections=Connections(runner, seal),
            connection_store=connection_store,
            looking=Looking(settings, connection_store),
            deployments=Deployments(runner, EngineFactsTable(pool)),
            adapters=Adapters(runner),
            engine_facts=EngineFactsTable(pool),
            api_keys=ApiKeys(runner),
            users=Users(runner),
            uploads=uploads,
            upload_end=UploadEnd(pool, uploads, object_store, models),
            dry_runs=DryRuns(pool),
            object_store=object_store,
            telemetry=TelemetryPublisher(settings, client_id="loggia-api"),
            playground_tokens=PlaygroundTokens(settings.secret_key),
            cursors=Cursors(settings.secret_key),
            gallery=Gallery(pool),
            freshness=Freshness(settings.dsn),
            metrics=metrics,
            live=LiveHub(settings, EventFeed(store, settings.dsn), metrics),
        )

    def close(self) -> None:
        """Lets go of everything."""
        for lane in (self.commands, self.queries, self.files, self.fetches, self.passwords):
            lane.close()
        self.telemetry.close()
        self.callers.close()
        self.store.close()
        self.pool.close(timeout=2)

    async def command(self, call: Callable[[], Accepted]) -> Accepted:
        """Runs a command in its lane."""
        return await self.commands.run(call)

    async def query(self, call: Callable[[], T]) -> T:
        """Runs a query in its lane."""
        return await self.queries.run(call)

    async def command_if_any(self, call: Callable[[], Accepted | None]) -> Accepted | None:
        """Runs something that may turn out to need no command."""
        return await self.commands.run(call)

    def is_stopping(self) -> bool:
        """Whether the process has been told to end."""
        return self.live.stopping


def _lane(name: str, threads: int, *, seconds: float | None = _ANSWER_SECONDS) -> Lane:
    return Lane(name, threads=threads, waiting=_WAITING, seconds=seconds)


def services_of(state: Any) -> Services:
    """The services of the application that a request belongs to."""
    found: Services = state.services
    return found
