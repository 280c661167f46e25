"""The roles, one process each, as production runs them and `loggia up` starts them."""

import importlib
import socket
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Annotated, NoReturn

import typer

from backend.cli.output import FAILED, fail
from backend.cli.settings import settings_or_fail
from backend.infra.settings import Settings

Role = Callable[[Settings], None]
Wait = Annotated[
    float, typer.Option(help="Seconds to wait for the database and the broker.", min=0)
]

#: Roles of the backend itself. Those of `projections` and `workers` register themselves as entry
#: points, because the backend must not import them.
_BACKEND_ROLES = {
    "api": "backend.api.server",
    "gateway": "backend.gateway.server",
    "relay": "backend.relay.service",
}
_ROLE_GROUP = "loggia.roles"
_BROKER_PROBE_SECONDS = 2.0
_POLL_SECONDS = 0.2

work = typer.Typer(no_args_is_help=True, help="Run a worker.")


def register(app: typer.Typer) -> None:
    """Add the roles to the command."""
    app.command(rich_help_panel=_PANEL)(api)
    app.command(rich_help_panel=_PANEL)(gateway)
    app.command(rich_help_panel=_PANEL)(relay)
    app.command(rich_help_panel=_PANEL)(project)
    app.command(rich_help_panel=_PANEL)(migrate)
    app.add_typer(work, name="work", rich_help_panel=_PANEL)


_PANEL = "Roles (one process each, for production)"
_WAIT_SECONDS = 60.0


def api(wait: Wait = _WAIT_SECONDS) -> None:
    """Serve the HTTP API and the web interface."""
    _run("api", wait)


def gateway(wait: Wait = _WAIT_SECONDS) -> None:
    """Serve the OpenAI-compatible gateway."""
    _run("gateway", wait)


def relay(wait: Wait = _WAIT_SECONDS) -> None:
    """Publish the event store on Kafka."""
    _run("relay", wait, broker=True)


def project(wait: Wait = _WAIT_SECONDS) -> None:
    """Keep every read model up to date."""
    _run("project", wait, broker=True)


@work.command("import")
def work_import(wait: Wait = _WAIT_SECONDS) -> None:
    """Unpack, validate and store uploaded models."""
    _run("work-import", wait, broker=True)


@work.command("deploy")
def work_deploy(wait: Wait = _WAIT_SECONDS) -> None:
    """Start, watch and stop inference engines."""
    _run("work-deploy", wait, broker=True)


def migrate(
    wait: Wait = _WAIT_SECONDS,
    administrator: Annotated[
        bool,
        typer.Option(
            "--administrator",
            help="Also make the administrator where there is no account, and print the password.",
        ),
    ] = False,
) -> None:
    """Bring the database schema up to date."""
    import psycopg

    from backend.infra import postgres

    settings = settings_or_fail()
    deadline = time.monotonic() + wait
    while True:
        try:
            applied = postgres.migrate(settings)
            break
        except (psycopg.OperationalError, FileNotFoundError) as error:
            if time.monotonic() >= deadline:
                _no_database(error)
            time.sleep(_POLL_SECONDS)
    for name in applied:
        print(f"applied {name}")
    print("the schema is up to date")
    if administrator:
        _make_administrator(settings)


def _make_administrator(settings: Settings) -> None:
    from backend.application.users import FIRST_ADMINISTRATOR, ensure_first_administrator

    password = ensure_first_administrator(settings)
    if password is not None:
        print(f"Administrator   {FIRST_ADMINISTRATOR}")
        print(f"First password  {password}   (shown this once; change it)")


def load_role(name: str) -> Role:
    """The body of a role. Ends the command when it is not installed."""
    if name in _BACKEND_ROLES:
        body: Role = importlib.import_module(_BACKEND_ROLES[name]).run
        return body
    found = list(entry_points(group=_ROLE_GROUP, name=name))
    if not found:
        fail(f"the role {name} is not installed", "install Loggia again: `pip install -e .`")
    loaded: Role = found[0].load()
    return loaded


def _run(name: str, wait: float, *, broker: bool = False) -> None:
    """Wait for what the role needs, then be the role until it is told to stop."""
    from backend.infra.logging import configure_logging, get_logger

    settings = settings_or_fail()
    configure_logging(name, settings.log_format)
    try:
        body = load_role(name)
        deadline = time.monotonic() + wait
        _wait_for_schema(settings, wait)
        if broker:
            _wait_for_broker(settings.bootstrap_servers, deadline)
        body(settings)
    except typer.Exit:
        raise
    except Exception as error:
        get_logger("backend.cli.roles").exception("the role ended with an error", error=repr(error))
        raise typer.Exit(FAILED) from None


def _wait_for_schema(settings: Settings, seconds: float) -> None:
    from backend.infra.postgres import wait_for_schema

    try:
        wait_for_schema(settings, seconds=seconds)
    except TimeoutError as error:
        fail(
            str(error),
            "start PostgreSQL, set LOGGIA_POSTGRES_DSN, and run `loggia migrate` once",
        )
    except FileNotFoundError as error:
        _no_database(error)


def _no_database(error: Exception) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        fail(
            "there is no embedded PostgreSQL in this data folder",
            "`loggia up` makes one; or name a server in LOGGIA_POSTGRES_DSN",
        )
    fail(f"PostgreSQL cannot be reached: {error}", "start it, or correct LOGGIA_POSTGRES_DSN")


def _wait_for_broker(servers: list[str], deadline: float) -> None:
    """Wait until one of the brokers takes connections."""
    while True:
        for server in servers:
            host, _, port = server.strip().rpartition(":")
            try:
                with socket.create_connection((host, int(port)), _BROKER_PROBE_SECONDS):
                    return
            except (OSError, ValueError) as error:
                problem = f"{server}: {error}"
        if time.monotonic() >= deadline:
            fail(
                f"no Kafka broker can be reached ({problem})",
                "start one, or correct LOGGIA_KAFKA_BOOTSTRAP_SERVERS",
            )
        time.sleep(_POLL_SECONDS)
