"""Tries a connection for real, so that a wrong token is noticed when it is saved and not later."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub
from backend.sources.registry_client import Credentials, check_credentials
from backend.sources.s3_api import S3Access, S3Api, S3Refused
from backend.sources.transport import resolve


def try_connection(
    kind: str, endpoint: str, secret: str | None, client: GuardedClient, *, name: str = ""
) -> str:
    """What the other side says to these credentials, in a sentence.

    The secret is a token (huggingface, http), 'user:password' (registry) or 'key:secret' (s3).
    Raises `FetchRefused` and `FetchFailed`, which say what is wrong and what to do.
    """
    return _TRIES[kind](endpoint, secret, client, name)


def pair(secret: str, what: str) -> tuple[str, str]:
    """The two parts of a secret. Raises `FetchRefused`."""
    first, colon, second = secret.partition(":")
    if not colon or not first or not second:
        raise FetchRefused(
            "secret_malformed",
            f"The secret does not consist of {what} with a colon between them.",
            f"Write {what} with a colon between them.",
        )
    return first, second


def _huggingface(endpoint: str, secret: str | None, client: GuardedClient, name: str) -> str:
    with Hub(endpoint, secret, client, name=name) as hub:
        if secret is None:
            hub.reach()
            return "The hub answers; without a token only what is public can be imported."
        return f"The hub accepts the token of '{hub.account()}'."


def _registry(endpoint: str, secret: str | None, client: GuardedClient, _name: str) -> str:
    if secret is None:
        raise FetchRefused(
            "secret_missing",
            "A connection to a registry needs an account.",
            "Give user name and password with a colon between them; public images need no "
            "connection.",
        )
    user, password = pair(secret, "user name and password")
    check_credentials(Credentials(endpoint, user, password), client)
    return f"The registry accepts the account '{user}'."


def _http(endpoint: str, secret: str | None, client: GuardedClient, _name: str) -> str:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    try:
        with client.stream(endpoint, headers=headers):
            return "The server answers."
    except FetchFailed as failure:
        if failure.status in {401, 403}:
            raise FetchRefused(
                "token_refused",
                f"{endpoint} does not accept the token (status {failure.status}).",
                "Make a new token on that server and save it in the connection.",
            ) from failure
        if failure.status in {404, 405}:
            return "The server answers; it shows nothing at this very address."
        raise


def _s3(endpoint: str, secret: str | None, client: GuardedClient, _name: str) -> str:
    # Whoever signs a request takes it for granted that the address has a host.
    url = client.rules.parsed(endpoint)
    if secret is None:
        port = url.port or (443 if url.scheme == "https" else 80)
        client.rules.check_resolved(url.host, resolve(url.host, port))
        return "The address may be opened; without keys only what is public can be imported."
    key, value = pair(secret, "access key and secret key")
    try:
        count = S3Api(S3Access(endpoint, key, value), client).buckets()
    except S3Refused as refused:
        if refused.code == "AccessDenied":
            # Keys for a single bucket may not list all of them.
            return "The store answers; the keys may not list its buckets, so they are untried."
        if refused.status is not None and refused.status >= 500:
            raise
        raise FetchRefused(
            "keys_refused",
            f"{endpoint} does not accept the keys ({refused.code}).",
            "Check access key and secret key; save the connection again with the right ones.",
        ) from refused
    return f"The store accepts the keys; they see {count} buckets."


_TRIES: Mapping[str, Callable[[str, str | None, GuardedClient, str], str]] = {
    "huggingface": _huggingface,
    "registry": _registry,
    "http": _http,
    "s3": _s3,
}
