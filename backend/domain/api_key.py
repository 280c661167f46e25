"""The ApiKey aggregate: a consumer's right to call one model."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from backend.domain.errors import Invalid
from backend.domain.events import Aggregate, event_header

MAX_NAME_LENGTH = 64


class ApiKey(Aggregate):
    """Knows the key by its SHA-256 only; the secret is shown once and kept nowhere."""

    TOPIC = "ApiKey"

    class Created(Aggregate.Created):
        TOPIC = "ApiKeyCreated"
        key_id: UUID
        model_id: UUID
        name: str
        prefix: str
        sha256: str
        expires_at: datetime | None
        requests_per_minute: int | None

    class Revoked(Aggregate.Event):
        TOPIC = "ApiKeyRevoked"
        key_id: UUID
        model_id: UUID

        def apply(self, aggregate: ApiKey) -> None:
            aggregate.revoked = True

    def __init__(self, *, model_id: UUID, name: str, prefix: str) -> None:
        self.model_id = model_id
        self.name = name
        self.prefix = prefix
        self.revoked = False

    @classmethod
    def create(
        cls,
        *,
        model_id: UUID,
        name: str,
        prefix: str,
        sha256: str,
        expires_at: datetime | None,
        requests_per_minute: int | None,
    ) -> ApiKey:
        """A new key for a model. Raises `Invalid`."""
        if not 1 <= len(name.strip()) <= MAX_NAME_LENGTH:
            raise Invalid(
                f"A key needs a name of 1 to {MAX_NAME_LENGTH} characters.",
                remedy="Say what the key is for, so that you can revoke the right one later.",
                field="name",
            )
        if requests_per_minute is not None and not 1 <= requests_per_minute <= 1_000_000:
            raise Invalid(
                f"{requests_per_minute} requests a minute is not a usable limit.",
                remedy="Give 1 to 1000000, or leave it out for no limit.",
                field="requestsPerMinute",
            )
        key_id = uuid4()
        return cls._create(
            cls.Created,
            id=key_id,
            key_id=key_id,
            model_id=model_id,
            name=name.strip(),
            prefix=prefix,
            sha256=sha256,
            expires_at=expires_at,
            requests_per_minute=requests_per_minute,
            **event_header(),
        )

    def revoke(self) -> None:
        """Ends the key. Repeating it changes nothing."""
        if not self.revoked:
            self.record(self.Revoked, key_id=self.id, model_id=self.model_id)

    @property
    def state_for_caller(self) -> dict[str, Any]:
        return {**super().state_for_caller, "name": self.name, "revoked": self.revoked}
