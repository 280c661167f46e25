"""Signing in: a personal access token for this user's commands."""

import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from backend.cli import credentials
from backend.cli.credentials import Credentials
from backend.cli.output import fail


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Client")(login)


def login(
    url: Annotated[str, typer.Argument(help="Address of the platform.")],
    username: Annotated[
        str | None,
        typer.Option(help="Sign in with a password and make a token; else a token is asked for."),
    ] = None,
) -> None:
    """Remember a platform and a personal access token for it.

    The password or the token is asked for, or read from standard input if that is no terminal.
    """
    from backend.cli.client import Api, token_for

    address = url.rstrip("/")
    if urlsplit(address).scheme not in ("http", "https"):
        fail(f"{url!r} is no web address", "begin it with http:// or https://")
    if username is None:
        token = secret("Personal access token")
    else:
        token = token_for(address, username, secret("Password"))
    with Api(address, token) as api:
        person = api.get("/api/session")["user"]
    file = credentials.store(Credentials(address, token))
    print(f"signed in to {address} as {person['username']} ({person['role']}); kept in {file}")


def secret(prompt: str) -> str:
    """What the person types without seeing it, or the first line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    answer: str = typer.prompt(prompt, hide_input=True)
    return answer
