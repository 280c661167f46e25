"""Talks to a container registry: the OCI distribution protocol 1.1, and signing in to it.

Sign-in: HTTP Basic, or Docker's token authentication, in which the registry names a token service
that gives a short-lived token for the asked scope.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import msgspec

from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import Document, GuardedClient
from backend.sources.image_reference import ImageReference, parse_reference

_TOKEN_BYTES = 1 << 20


@dataclass(frozen=True)
class Credentials:
    """An account of a registry. The password may be an access token."""

    endpoint: str
    username: str
    password: str = field(repr=False)

    @property
    def host(self) -> str:
        """The registry that they are for, as references name it."""
        text = self.endpoint if "://" in self.endpoint else f"https://{self.endpoint}"
        return parse_reference(f"{urlsplit(text).netloc.lower()}/any/name").host

    @property
    def scheme(self) -> str:
        """http only where the connection says so."""
        return "http" if self.endpoint.lower().startswith("http://") else "https"


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class RegistryClient:
    """One registry, asked about one image or, without a reference, about the account alone."""

    def __init__(
        self,
        client: GuardedClient,
        api_host: str,
        *,
        credentials: Credentials | None = None,
        reference: ImageReference | None = None,
    ) -> None:
        self._client = client
        self._host = api_host
        self._scheme = credentials.scheme if credentials is not None else "https"
        self._credentials = credentials
        self._subject = str(reference) if reference is not None else None
        self._authorization: str | None = None

    @classmethod
    def for_image(
        cls, reference: ImageReference, credentials: Credentials | None, client: GuardedClient
    ) -> RegistryClient:
        """Refuses to send an account to another registry than its own."""
        if credentials is not None and credentials.host != reference.host:
            raise FetchRefused(
                "other_registry",
                f"The connection is for {credentials.host}, the image lies at {reference.host}.",
                "Choose a connection for that registry, or none for a public image.",
            )
        return cls(client, reference.api_host, credentials=credentials, reference=reference)

    def get(self, path: str, *, limit_bytes: int, accept: str = "*/*") -> Document:
        """A document below /v2; signs in when the registry asks for it."""
        address = f"{self._scheme}://{self._host}/v2{path}"
        for attempt in (1, 2):
            headers = {"accept": accept}
            if self._authorization is not None:
                headers["authorization"] = self._authorization
            try:
                return self._client.document(address, limit_bytes=limit_bytes, headers=headers)
            except FetchFailed as failure:
                if failure.status != 401 or attempt == 2:
                    raise self._explained(failure) from failure
                self._authorization = self._signed_in(failure.headers)
        raise RuntimeError("the second attempt returns or raises")

    def _signed_in(self, headers: Mapping[str, str]) -> str:
        """What proves who we are, in the way that the registry asks for (RFC 9110, 11.6.1)."""
        scheme, _, rest = headers.get("www-authenticate", "").strip().partition(" ")
        if scheme.lower() == "basic":
            if self._credentials is None:
                raise self._hidden()
            return _basic(self._credentials)
        if scheme.lower() != "bearer":
            raise FetchFailed(
                f"{self._host} asks for a way to sign in that is not known: '{scheme[:40]}'.",
                "Use a registry that supports Docker's token authentication.",
            )
        try:
            asked = parse_keqv_list(parse_http_list(rest))
        except ValueError:
            asked = {}
        realm = asked.get("realm", "")
        if self._scheme == "https" and not realm.lower().startswith("https://"):
            raise FetchRefused(
                "unsafe_sign_in",
                f"{self._host} wants accounts to sign in over an open connection.",
                "Ask whoever runs the registry to offer its token service over https.",
            )
        query = {name: asked[name] for name in ("service", "scope") if asked.get(name)}
        return self._token(realm + ("&" if "?" in realm else "?") + urlencode(query))

    def _token(self, address: str) -> str:
        own = self._credentials
        headers = {"authorization": _basic(own)} if own is not None else {}
        try:
            answer = self._client.get(address, limit_bytes=_TOKEN_BYTES, headers=headers)
            given = msgspec.json.decode(answer, type=_Token)
        except FetchFailed as failure:
            if failure.status in {400, 401, 403}:
                raise self._account_refused() from failure
            raise
        except (msgspec.DecodeError, RecursionError) as error:
            raise FetchFailed(
                f"The token service of {self._host} does not answer as one.", "Retry later."
            ) from error
        token = given.token or given.access_token
        if not token or not token.isascii() or not token.isprintable():
            raise self._account_refused()
        return f"Bearer {token}"

    def _explained(self, failure: FetchFailed) -> Exception:
        match failure.status:
            case 401 | 403:
                return self._account_refused() if self._subject is None else self._hidden()
            case 404 if self._subject is None:
                return FetchFailed(
                    f"{self._host} is no container registry.", "Check the registry's address."
                )
            case 404:
                return FetchRefused(
                    "image_missing",
                    f"{self._host} has no image {self._subject}.",
                    "Check name and tag for typing errors, and that the image has been pushed.",
                )
            case 429:
                return FetchFailed(
                    f"{self._host} answers no more requests for now: its rate limit is reached.",
                    "Retry later; a connection with an account has a higher limit.",
                    retryable=True,
                    status=429,
                    headers=failure.headers,
                )
            case _:
                return failure

    def _hidden(self) -> FetchRefused:
        own = self._credentials
        who = f"the account '{own.username}'" if own is not None else "somebody without an account"
        return FetchRefused(
            "image_refused",
            f"{self._host} does not show {self._subject or 'its images'} to {who}: it is private "
            "or does not exist.",
            "Check the name; for a private image choose a connection whose account may pull it.",
        )

    def _account_refused(self) -> FetchRefused:
        if self._credentials is None:
            return self._hidden()
        return FetchRefused(
            "account_refused",
            f"{self._host} does not accept the account '{self._credentials.username}'.",
            "Save the connection again with the right user name and password or access token.",
        )


def check_credentials(credentials: Credentials, client: GuardedClient) -> None:
    """Signs in to the registry. Raises `FetchRefused` and `FetchFailed`."""
    api_host = parse_reference(f"{credentials.host}/any/name").api_host
    RegistryClient(client, api_host, credentials=credentials).get("/", limit_bytes=_TOKEN_BYTES)


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return "Basic " + base64.b64encode(pair).decode()
