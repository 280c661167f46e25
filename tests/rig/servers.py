"""PostgreSQL and the broker as tests use them: the embedded ones, started, killed, restarted."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from backend.embedded.broker import EmbeddedBroker
from backend.embedded.postgres import EmbeddedPostgres
from backend.infra.postgres import migrate
from backend.infra.processes import death_signal
from backend.infra.settings import Settings
from tests.rig.ports import free_port
from tests.rig.waiting import eventually


class PostgresServer:
    """One embedded cluster in a folder of its own; databases are made and dropped in it."""

    def __init__(self, folder: Path | None = None) -> None:
        # Not pytest's folder: its parents may be closed to the user the server runs as.
        self.directory = Path(tempfile.mkdtemp(prefix="loggia-postgres-", dir=folder))
        self.directory.chmod(0o755)
        self.embedded = EmbeddedPostgres(self.directory / "postgres", free_port())
        self.log = self.directory / "postgres.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._template: str | None = None

    @property
    def dsn(self) -> str:
        """The maintenance database."""
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        return self.embedded.dsn.rpartition("/")[0] + f"/{database}"

    def start(self) -> None:
        self.embedded.prepare()
        account = self.embedded.account
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.embedded.command,
                stdout=log,
                stderr=log,
                cwd="/",
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                start_new_session=True,
                preexec_fn=death_signal(signal.SIGQUIT),
            )
        eventually(self._answers, f"PostgreSQL answers: {self.log.read_text()[-500:]}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=20)
            self.process = None

    def kill(self) -> None:
        """As a crash: every server process dies at once."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=20)
        self.process = None

    def freeze(self) -> None:
        """Every server process stands still, with its sockets open."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """They go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        postmaster = psutil.Process(self.process.pid)
        for process in (postmaster, *postmaster.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def empty_database(self) -> str:
        """The DSN of a new database with nothing in it."""
        return self._create("")

    def database(self) -> str:
        """The DSN of a new database with the schema in place."""
        if self._template is None:
            dsn = self.empty_database()
            migrate(Settings(_env_file=None, postgres_dsn=dsn))
            self._template = dsn.rpartition("/")[2]
        return self._create(f"TEMPLATE {self._template}")

    def drop(self, dsn: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {dsn.rpartition('/')[2]} WITH (FORCE)")

    def _create(self, clause: str) -> str:
        name = f"test_{uuid.uuid4().hex}"
        self._run(f"CREATE DATABASE {name} {clause}")
        return self.dsn_of(name)

    def _run(self, statement: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class BrokerServer:
    """One embedded broker. It keeps nothing: a restarted one is empty, on the same port."""

    def __init__(self, log: Path) -> None:
        self.embedded = EmbeddedBroker(free_port())
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        return self.embedded.bootstrap_servers

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.embedded.command,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=death_signal(signal.SIGKILL),
            )
        eventually(self.embedded.is_ready, f"the broker answers, see {self.log}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=20)
            self.process = None

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill it and start an empty one in its place."""
        self.kill()
        self.start()
