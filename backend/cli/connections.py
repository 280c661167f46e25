"""Connections to other systems. A secret is asked for or read from standard input, never an
argument, which every user of the machine could read."""

from typing import Annotated, Any

import typer

from backend.cli.login import secret
from backend.cli.output import AsJson, print_json, print_table

connections = typer.Typer(no_args_is_help=True, help="Connections to hubs, registries and stores.")

PATH = "/api/connections"
Name = Annotated[str, typer.Argument(help="The connection's name.")]
Kind = Annotated[str, typer.Option(help="huggingface, registry, s3 or http.")]
Endpoint = Annotated[str, typer.Option(help="The address of the other system.")]
Public = Annotated[
    bool, typer.Option("--no-secret", help="Nothing is asked for: the other side needs none.")
]

_SECRETS = {
    "registry": "User name and password, with a colon between them",
    "s3": "Access key and secret key, with a colon between them",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(connections, name="connections", rich_help_panel="Client")


@connections.command("list")
def list_connections(as_json: AsJson = False) -> None:
    """List the saved connections, without their secrets."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.get(PATH)["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ["NAME", "KIND", "ENDPOINT", "BY", "AT"],
        [[c["name"], c["kind"], c["endpoint"], c["savedBy"], c["savedAt"]] for c in found],
        empty="no connections",
    )


@connections.command("save")
def save_connection(
    name: Name, kind: Kind, endpoint: Endpoint, no_secret: Public = False, as_json: AsJson = False
) -> None:
    """Try a connection for real, and save it. One of this name is replaced."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        accepted = api.command("POST", PATH, _body(name, kind, endpoint, no_secret=no_secret))
    print_json(accepted) if as_json else print(f"{name} works and is saved")


@connections.command("test")
def try_connection(
    kind: Kind, endpoint: Endpoint, no_secret: Public = False, as_json: AsJson = False
) -> None:
    """Try a connection without saving it."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        tried = api.command("POST", f"{PATH}/test", _body("test", kind, endpoint,
                                                         no_secret=no_secret))  # fmt: skip
    print_json(tried) if as_json else print(tried["message"])


@connections.command("remove")
def remove_connection(name: Name, as_json: AsJson = False) -> None:
    """Forget a connection and its secret. Imports that name it fail from now on."""
    from urllib.parse import quote

    from backend.cli.client import Api

    with Api.from_credentials() as api:
        accepted = api.command("DELETE", f"{PATH}/{quote(name, safe='')}")
    print_json(accepted) if as_json else print(f"{name} is forgotten")


def _body(name: str, kind: str, endpoint: str, *, no_secret: bool) -> dict[str, Any]:
    asked = None if no_secret else secret(_SECRETS.get(kind, "Token")) or None
    return {"name": name, "kind": kind, "endpoint": endpoint, "secret": asked}
