"""Commands about API keys."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from uuid import UUID

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.domain.api_key import ApiKey
from backend.domain.errors import Invalid, NotFound
from backend.domain.model import Model

PREFIX = "lgk_"


class ApiKeys:
    """Create and revoke the keys with which consumers call a model."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def create(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        name: str,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
    ) -> Accepted:
        """A new key; the answer's `secret` is the only place where it is ever shown."""
        if expires_at is not None and expires_at <= datetime.now(UTC):
            raise Invalid(
                "The key would have expired already.",
                remedy="Choose a time in the future.",
                field="expiresAt",
            )

        def decide() -> Decision:
            self._store.load(Model, model_id).require_existing()
            secret = PREFIX + secrets.token_urlsafe(32)
            prefix = secret[: len(PREFIX) + 6]
            key = ApiKey.create(
                model_id=model_id,
                name=name,
                prefix=prefix,
                sha256=hashlib.sha256(secret.encode()).hexdigest(),
                expires_at=expires_at,
                requests_per_minute=requests_per_minute,
            )
            return Decision([key], result={"prefix": prefix, "name": key.name}, secret=secret)

        return self._runner.run(context, decide)

    def revoke(self, context: CommandContext, model_id: UUID, key_id: UUID) -> Accepted:
        """Ends a key of the model."""

        def decide() -> Decision:
            key = self._store.load(ApiKey, key_id)
            if key.model_id != model_id:
                raise NotFound(
                    f"This model has no API key {key_id}.", remedy="Reload the list of keys."
                )
            key.revoke()
            return Decision([key])

        return self._runner.run(context, decide)
