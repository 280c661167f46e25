"""Tries a connection for real, so that a wrong token is noticed when it is saved and not later."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import botocore.config  # type: ignore[import-untyped]
import botocore.exceptions  # type: ignore[import-untyped]
import botocore.session  # type: ignore[import-untyped]

from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub
from backend.sources.registry_client import Credentials, check_credentials
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
    url = client.rules.parsed(endpoint)
    port = url.port or (443 if url.scheme == "https" else 80)
    client.rules.check_resolved(url.host, resolve(url.host, port))
    if secret is None:
        return "The address may be opened; without keys only what is public can be imported."
    key, value = pair(secret, "access key and secret key")
    store = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=value,
        config=botocore.config.Config(
            connect_timeout=10, read_timeout=20, retries={"max_attempts": 2}, proxies={}
        ),
    )
    try:
        buckets = store.list_buckets()["Buckets"]
    except botocore.exceptions.ClientError as error:
        return _s3_answer(url.host, error)
    except (botocore.exceptions.BotoCoreError, KeyError) as error:
        raise FetchFailed(
            f"{url.host} does not answer as an S3 store does: {error}",
            "Check the endpoint; else retry later.",
            retryable=True,
        ) from error
    finally:
        store.close()
    return f"The store accepts the keys; they see {len(buckets)} buckets."


def _s3_answer(host: str, error: botocore.exceptions.ClientError) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))[:60]
    if code == "AccessDenied":
        # Keys for a single bucket may not list all of them.
        return "The store answers; the keys may not list its buckets, so they are untried."
    raise FetchRefused(
        "keys_refused",
        f"{host} does not accept the keys ({code}).",
        "Check access key and secret key; save the connection again with the right ones.",
    ) from error


_TRIES: Mapping[str, Callable[[str, str | None, GuardedClient, str], str]] = {
    "huggingface": _huggingface,
    "registry": _registry,
    "http": _http,
    "s3": _s3,
}
