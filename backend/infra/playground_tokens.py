"""Short-lived bearer tokens with which the playground calls one model through the gateway.

`lgs_` and base64url of: model id (16 bytes), expiry (8 bytes, Unix seconds), HMAC-SHA256. Nothing
is stored: the server's secret proves a token, and its expiry ends it.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

PREFIX = "lgs_"
_CLAIMS = 24
_LENGTH = _CLAIMS + hashlib.sha256().digest_size


class InvalidToken(Exception):
    """The token was not signed here, or has expired; the text says which."""


class PlaygroundTokens:
    """Signs and verifies with a key of its own, derived from the server's secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"loggia playground token v1", "sha256")

    def sign(self, model_id: UUID, expires_at: int) -> str:
        """A token for the model that ends at `expires_at` (Unix seconds)."""
        claims = model_id.bytes + expires_at.to_bytes(8, "big")
        return PREFIX + urlsafe_b64encode(claims + self._mac(claims)).decode().rstrip("=")

    def verify(self, token: str, now: float) -> UUID:
        """The model that the token is for. Raises `InvalidToken`."""
        text = token.removeprefix(PREFIX)
        try:
            raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError) as error:
            raise InvalidToken("it is not a playground token") from error
        if len(raw) != _LENGTH or not hmac.compare_digest(raw[_CLAIMS:], self._mac(raw[:_CLAIMS])):
            raise InvalidToken("it is not a playground token")
        if int.from_bytes(raw[16:_CLAIMS], "big") <= now:
            raise InvalidToken("it has expired")
        return UUID(bytes=raw[:16])

    def _mac(self, claims: bytes) -> bytes:
        return hmac.digest(self._key, claims, "sha256")
