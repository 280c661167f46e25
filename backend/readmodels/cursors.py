"""Page cursors: where a list goes on, opaque to the client and signed against tampering."""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec

from backend.domain.errors import Invalid

_MAC_BYTES = 12


class Cursors:
    """Writes and reads cursors under a key of their own."""

    def __init__(self, secret_key: bytes) -> None:
        self._key = hmac.digest(secret_key, b"loggia cursors v1", "sha256")

    def write(self, scope: str, values: list[Any]) -> str:
        """A cursor that only a list of the same scope (its sort order and filters) accepts."""
        body = msgspec.json.encode(values)
        return urlsafe_b64encode(self._mac(scope, body) + body).decode().rstrip("=")

    def read(self, scope: str, cursor: str) -> list[Any]:
        """The values in a cursor. Raises `Invalid`."""
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raw = b""
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(scope, body)):
            raise Invalid(
                "The cursor does not belong to this list.",
                remedy="Begin again at the first page; keep the filters while paging.",
                field="cursor",
            )
        values: list[Any] = msgspec.json.decode(body)
        return values

    def _mac(self, scope: str, body: bytes) -> bytes:
        return hmac.digest(self._key, scope.encode() + b"\0" + body, "sha256")[:_MAC_BYTES]
