"""The HTTP API as the command line uses it: one session, time-outs, errors with their remedy."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self
from uuid import UUID, uuid4

import httpx

from backend.cli import credentials
from backend.cli.output import fail

# Longer than the platform itself waits for other systems.
_TIMEOUT = httpx.Timeout(90, connect=10)
_PAGE = 100
_CSRF_COOKIE = "loggia_csrf"
#: A command that got no answer is repeated with the same key, which has one effect only.
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5


class Api:
    """A platform, spoken to as one person. Every refusal ends the command with its reason."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.http = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT)

    @classmethod
    def from_credentials(cls) -> Self:
        """The platform of the last login, or of the environment."""
        found = credentials.stored()
        if found is None:
            fail(
                "no platform to talk to",
                "run `loggia login http://127.0.0.1:8080`, or set LOGGIA_URL and LOGGIA_TOKEN",
            )
        return cls(found.url, found.token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.http.close()

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The answer to a question."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._json(self._send("GET", path, params=given))

    def text(self, path: str, **query: str) -> bytes:
        """An answer as it was sent."""
        response = self._send("GET", path, params=query)
        if response.is_error:
            refuse(response)
        return response.content

    def command(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: UUID | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Give a command once, however often the connection breaks; returns what it answered."""
        headers = {"Idempotency-Key": str(key or uuid4())}
        return self._json(self._send(method, path, json=body, headers=headers, params=query))

    def download(self, path: str, target: Path, **query: Any) -> int:
        """Write a file that appears under its name only when it is whole; returns its size."""
        partial = target.with_name(f".{target.name}.part")
        try:
            with self.http.stream("GET", path, params=query) as response:
                if response.is_error:
                    response.read()
                    refuse(response)
                with partial.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
            partial.replace(target)
        except httpx.TransportError as error:
            fail(f"the answer broke off: {error}", "give the command again")
        except OSError as error:
            fail(f"{target} cannot be written: {error.strerror}", "choose another file")
        finally:
            partial.unlink(missing_ok=True)
        return target.stat().st_size

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list."""
        cursor: str | None = None
        while True:
            page = self.get(path, cursor=cursor, limit=_PAGE, **query)
            yield from page["items"]
            cursor = page.get("nextCursor")
            if not cursor:
                return

    def model(self, reference: str) -> dict[str, Any]:
        """A model by its id or its exact name."""
        return self.get(f"/api/models/{_as_id(reference) or self._id_of(reference)}")

    def _id_of(self, name: str) -> str:
        listed = self.pages("/api/models", search=name)
        found: str | None = next((item["id"] for item in listed if item["name"] == name), None)
        if found is None:
            fail(f"there is no model named {name!r}", "see `loggia models list`")
        return found

    def unreachable(self, error: httpx.HTTPError) -> NoReturn:
        """End the command because the platform does not answer."""
        fail(
            f"{self.url} does not answer: {error or type(error).__name__}",
            "check the address and that Loggia is running",
        )

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = self.http.request(method, path, **options)
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    self.unreachable(error)
            else:
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or attempt == _ATTEMPTS:
                    return response
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or fails")

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        if response.is_error:
            refuse(response)
        if not response.content:
            return {}
        answer: dict[str, Any] = response.json()
        return answer


def refuse(response: httpx.Response) -> NoReturn:
    """End the command with what the platform said against it."""
    try:
        problem = response.json()
        detail = problem.get("detail") or problem["title"]
    except (ValueError, KeyError, AttributeError):
        fail(f"the platform answered {response.status_code} {response.reason_phrase}")
    fields = "".join(
        f"\n  {each.get('field')}: {each.get('message')}"
        for each in problem.get("errors") or []
        if each.get("message") != detail
    )
    if response.is_server_error and (correlation := problem.get("correlationId")):
        fields += f"\n  correlation id: {correlation}"
    remedy = problem.get("remedy")
    if response.status_code == httpx.codes.UNAUTHORIZED and not remedy:
        remedy = "run `loggia login` again: the token is unknown or was revoked"
    fail(f"{detail}{fields}", remedy)


def token_for(url: str, username: str, password: str) -> str:
    """Sign in for a moment and make a personal access token named after this computer."""
    with Api(url, None) as api:
        api.command("POST", "/api/session", {"username": username, "password": password})
        api.http.headers["X-CSRF-Token"] = api.http.cookies.get(_CSRF_COOKIE) or ""
        made = api.command("POST", "/api/tokens", {"name": f"loggia on {socket.gethostname()}"})
        api.command("DELETE", "/api/session")
    token: str = made["token"]
    return token


def _as_id(reference: str) -> UUID | None:
    try:
        return UUID(reference)
    except ValueError:
        return None
