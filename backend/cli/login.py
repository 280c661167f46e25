"""Signing in: a personal access token for this user's commands."""

import socket
import sys
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import typer

from backend.cli import credentials
from backend.cli.client import Api, refuse
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
    address = url.rstrip("/")
    if urlsplit(address).scheme not in ("http", "https"):
        fail(f"{url!r} is no web address", "begin it with http:// or https://")
    if username is None:
        token = _secret("Personal access token")
    else:
        token = _new_token(address, username, _secret("Password"))
    with Api(address, token) as api:
        person = api.get("/api/session")["user"]
    file = credentials.store(Credentials(address, token))
    print(f"signed in to {address} as {person['username']} ({person['role']}); kept in {file}")


def _secret(prompt: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    answer: str = typer.prompt(prompt, hide_input=True)
    return answer


def _new_token(url: str, username: str, password: str) -> str:
    """Sign in for a moment and make a token named after this computer."""
    with Api(url, None) as api:
        try:
            _post(api, "/api/session", {"username": username, "password": password})
            api.http.headers["X-CSRF-Token"] = api.http.cookies.get("loggia_csrf") or ""
            made = _post(api, "/api/tokens", {"name": f"loggia on {socket.gethostname()}"})
            api.http.delete("/api/session")
        except httpx.TransportError as error:
            api.unreachable(error)
    token: str = made["token"]
    return token


def _post(api: Api, path: str, body: dict[str, str]) -> dict[str, Any]:
    response = api.http.post(path, json=body, headers={"Idempotency-Key": str(uuid4())})
    if response.is_error:
        refuse(response)
    answer: dict[str, Any] = response.json()
    return answer
