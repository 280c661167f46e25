"""`loggia up`: the whole platform on one machine, under one process.

Order of a start: take the data folder, clear what a killed run left, check the ports, PostgreSQL
and the broker, the schema, then every role at once. Order of a stop: what people and engines use,
then what follows the event store, then the broker and the store itself.
"""

import asyncio
import contextlib
import http.client
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from backend.embedded import postgres
from backend.embedded.broker import EmbeddedBroker
from backend.embedded.children import Child, RunningChild, python_role
from backend.embedded.errors import EmbeddedError
from backend.embedded.joined_log import JoinedLog
from backend.embedded.ports import Port, require_free
from backend.embedded.postgres import EmbeddedPostgres
from backend.embedded.run_directory import RunDirectory
from backend.infra.settings import Settings

#: Stages of the shutdown, lowest first. The longest child of each stage counts: with the engines'
#: two seconds they add up to less than 20 s.
FRONT, FOLLOWERS, FOUNDATION = 0, 1, 2
_START_SECONDS = 120
_PROBE_SECONDS = 2.0
#: A signal to a whole process group arrives twice when `make` passes its own copy on.
_ECHO_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Preparation:
    """What happens in a running database and broker before the roles start.

    `migrate` brings the schema up to date. `topics` makes the topics of an embedded broker, which
    is empty at every start, so that no role finds them missing. `first_administrator` returns the
    password of the administrator it made, or None when there is one already.
    """

    migrate: Callable[[Settings], object]
    topics: Callable[[Settings], object]
    first_administrator: Callable[[Settings], str | None]


def roles(settings: Settings) -> list[Child]:
    """Every role of the platform, as a child."""
    return [
        Child("relay", python_role("relay"), FOLLOWERS, 3),
        Child("project", python_role("project"), FOLLOWERS, 3),
        Child("work import", python_role("work", "import"), FRONT, 8),
        # Killed with the supervisor, it leaves its engines running, and the next start adopts
        # them; an orderly stop gives it the time to drain and stop them.
        Child("work deploy", python_role("work", "deploy"), FRONT, 10, death=signal.SIGKILL),
        Child(
            "gateway", python_role("gateway"), FRONT, 8, _answers(settings, settings.gateway_port)
        ),
        Child("api", python_role("api"), FRONT, 8, _answers(settings, settings.port)),
    ]


def listening_ports(settings: Settings) -> list[Port]:
    """Every port that the platform listens on with these settings."""
    ports = [
        Port(settings.port, "web interface and API", "LOGGIA_PORT", settings.host),
        Port(settings.gateway_port, "gateway", "LOGGIA_GATEWAY_PORT", settings.host),
    ]
    if settings.postgres_dsn is None:
        ports.append(Port(settings.postgres_port, "PostgreSQL", "LOGGIA_POSTGRES_PORT"))
    if settings.kafka_bootstrap_servers is None:
        ports.append(Port(settings.kafka_port, "Kafka broker", "LOGGIA_KAFKA_PORT"))
    return ports


class Supervisor:
    """Brings the platform up, keeps it up, takes it down."""

    def __init__(
        self,
        settings: Settings,
        children: Sequence[Child],
        preparation: Preparation,
    ) -> None:
        self._settings = settings
        self._roles = children
        self._preparation = preparation
        self._run_directory = RunDirectory(settings.data)
        self._run_id = uuid.uuid4().hex
        width = max(len(name) for name in ("postgres", *(child.name for child in children)))
        self._log = JoinedLog(settings.data / "logs" / "loggia.log", width=width)
        self._running: list[RunningChild] = []
        self._watching: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[EmbeddedError] | None = None
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._asked_to_stop_at = 0.0

    async def run(self) -> int:
        """Run until a signal asks for the end or a part cannot be started; the exit status."""
        loop = asyncio.get_running_loop()
        self._failed = loop.create_future()
        self._run_directory.acquire()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Started under nohup, it outlives its terminal.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        starting = asyncio.create_task(self._start())
        stopped = asyncio.create_task(self._stop.wait())
        ends: set[asyncio.Future[Any]] = {stopped, self._failed}
        try:
            await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                raise self._failed.result()
            return 0
        finally:
            starting.cancel()
            stopped.cancel()
            await asyncio.gather(starting, stopped, return_exceptions=True)
            await self._shut_down()
            self._run_directory.release()
            self._log.close()

    async def _start(self) -> None:
        started = time.monotonic()
        left = await asyncio.to_thread(self._run_directory.stop_leftovers)
        if left:
            self._log.say(f"stopped what an earlier run had left: {', '.join(left)}")
        await asyncio.to_thread(require_free, listening_ports(self._settings))
        await self._start_foundation()
        applied = await asyncio.to_thread(self._preparation.migrate, self._settings)
        if applied:
            self._log.say("the database schema is up to date")
        if self._settings.kafka_bootstrap_servers is None:
            await asyncio.to_thread(self._preparation.topics, self._settings)
        parts = [self._launch(child) for child in self._roles]
        await self._all_ready(parts)
        # Last, so that a start that fails does not swallow the password.
        password = await asyncio.to_thread(self._preparation.first_administrator, self._settings)
        self._announce(time.monotonic() - started, password)

    async def _start_foundation(self) -> None:
        """PostgreSQL and the broker, those of them that the settings do not find elsewhere."""
        foundation: list[Child] = []
        if self._settings.postgres_dsn is None:
            server = EmbeddedPostgres(
                self._settings.data / "postgres", self._settings.postgres_port
            )
            if not (server.directory / "PG_VERSION").exists():
                self._log.say("making a PostgreSQL cluster")
            await asyncio.to_thread(server.prepare)
            if server.directory.is_symlink():
                self._log.say(
                    f"the cluster is in {server.directory.resolve()}, because the user PostgreSQL "
                    f"runs as may not enter {server.directory.parent}"
                )
            foundation.append(
                Child(
                    "postgres",
                    tuple(server.command),
                    FOUNDATION,
                    4,
                    server.is_ready,
                    stop_signal=postgres.STOP_SIGNAL,
                    death=postgres.STOP_SIGNAL,
                    account=server.account,
                )
            )
        if self._settings.kafka_bootstrap_servers is None:
            broker = EmbeddedBroker(self._settings.kafka_port)
            foundation.append(
                Child("broker", tuple(broker.command), FOUNDATION, 1, broker.is_ready)
            )
        await self._all_ready([self._launch(child) for child in foundation])

    def _launch(self, child: Child) -> RunningChild:
        data = {"LOGGIA_DATA_DIR": str(self._settings.data)}
        running = RunningChild(
            replace(child, environment={**data, **child.environment}),
            run_directory=self._run_directory.path,
            run_id=self._run_id,
            log=self._log,
        )
        task = asyncio.create_task(running.run())
        task.add_done_callback(self._watched)
        self._running.append(running)
        self._watching.append(task)
        return running

    def _watched(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._failed is None or self._failed.done():
            return
        error = task.exception()
        if error is not None:
            known = isinstance(error, EmbeddedError)
            self._failed.set_result(
                error
                if known and isinstance(error, EmbeddedError)
                else EmbeddedError(f"a part could not be supervised: {error!r}", "report this")
            )

    async def _all_ready(self, parts: list[RunningChild]) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                for part in parts:
                    await part.ready.wait()
        except TimeoutError:
            late = ", ".join(part.child.name for part in parts if not part.ready.is_set())
            raise EmbeddedError(
                f"not ready after {_START_SECONDS} s: {late}", "its lines above say why"
            ) from None

    def _announce(self, seconds: float, password: str | None) -> None:
        settings = self._settings
        shown = "localhost" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
        lines = [
            "",
            f"Loggia is ready ({seconds:.1f} s)",
            f"  Address         http://{shown}:{settings.port}",
            f"  Gateway         {settings.public_gateway_url}/v1",
            "  Administrator   admin",
        ]
        if password is not None:
            lines.append(f"  First password  {password}   (shown this once; change it)")
        lines += ["  Ctrl-C stops everything", ""]
        for line in lines:
            self._log.show(line)

    def _on_signal(self, number: signal.Signals) -> None:
        now = time.monotonic()
        if not self._stop.is_set():
            self._log.say("stopping; once more stops at once")
            self._stop.set()
            self._asked_to_stop_at = now
        elif number != signal.SIGHUP and now - self._asked_to_stop_at > _ECHO_SECONDS:
            self._hurry.set()

    async def _shut_down(self) -> None:
        started = time.monotonic()
        for stage in (FRONT, FOLLOWERS, FOUNDATION):
            stopping = [each for each in self._running if each.child.stage == stage]
            await asyncio.gather(*(each.stop(self._hurry) for each in stopping))
            if stage == FRONT:
                killed = await asyncio.to_thread(self._run_directory.stop_engines)
                if killed:
                    self._log.say(f"stopped {killed} engines that were left", level="warning")
        await asyncio.gather(*self._watching, return_exceptions=True)
        if self._running:
            self._log.say(f"everything has stopped ({time.monotonic() - started:.1f} s)")


def supervise(settings: Settings, children: Sequence[Child], preparation: Preparation) -> int:
    """Run the platform in this process until it is asked to stop; returns the exit status.

    Raises EmbeddedError when it cannot be brought up, after everything started has been stopped.
    """
    _require_writable(settings.data)
    return asyncio.run(_supervise(settings, children, preparation))


def _require_writable(folder: Path) -> None:
    """Make the data folder. Raises EmbeddedError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise EmbeddedError(
            f"nothing can be written to {folder}: {error.strerror}",
            "change its owner or free some space, or name another folder in LOGGIA_DATA_DIR",
        ) from None


async def _supervise(
    settings: Settings, children: Sequence[Child], preparation: Preparation
) -> int:
    return await Supervisor(settings, children, preparation).run()


def _answers(settings: Settings, port: int) -> Callable[[], bool]:
    """A probe of a role's own readiness address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104

    def probe() -> bool:
        connection = http.client.HTTPConnection(host, port, timeout=_PROBE_SECONDS)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        return False

    return probe
