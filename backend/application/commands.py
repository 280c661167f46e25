"""How every command runs: once for each idempotency key, and never over somebody else's change."""

from __future__ import annotations

import hashlib
import random
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from cryptography.fernet import Fernet
from eventsourcing.persistence import IntegrityError
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.application.store import EventStore, InTransaction
from backend.domain.errors import Conflict, IdempotencyKeyReused
from backend.domain.events import Aggregate, Cause, caused_by

_ATTEMPTS = 50
_MAX_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class CommandContext:
    """Who asks, in which chain of causes, and under which conditions.

    `fingerprint` tells one request from another under the same idempotency key;
    `expected_version` is the version of the aggregate that the caller has seen.
    """

    actor: str
    correlation_id: UUID = field(default_factory=uuid4)
    causation_id: UUID | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    expected_version: int | None = None

    @property
    def cause(self) -> Cause:
        """What the events will say."""
        return Cause(self.actor, self.correlation_id, self.causation_id)

    def keyed(self, key: str) -> CommandContext:
        """The same, under an idempotency key."""
        return replace(self, idempotency_key=key)


@dataclass(frozen=True)
class Accepted:
    """A command's answer: the aggregate, its version, and the position to wait for.

    `secret` is shown once and is in no event; `repeated` says that nothing was written, because
    the command had been carried out before.
    """

    id: UUID
    version: int
    position: int
    result: dict[str, Any] = field(default_factory=dict)
    secret: str | None = None
    repeated: bool = False


@dataclass
class Decision:
    """What a command wants written: events of aggregates, and statements that go with them.

    The first aggregate is the one that the command is about, unless `subject` names another one.
    """

    aggregates: Sequence[Aggregate]
    within: list[InTransaction] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    secret: str | None = None
    subject: Aggregate | None = None


class CommandRunner:
    """Runs decisions against the store."""

    def __init__(self, store: EventStore, secret_key: bytes) -> None:
        self.store = store
        self._seal = Fernet(_fernet_key(secret_key))

    def run(self, context: CommandContext, decide: Callable[[], Decision]) -> Accepted:
        """Decides and writes, at most once for the context's idempotency key.

        `decide` loads what it needs and triggers events; it runs again when somebody else was
        faster and the caller named no expected version. Raises `Conflict`,
        `IdempotencyKeyReused`, `StoreUnavailable`, and what `decide` raises.
        """
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(random.uniform(0, _MAX_PAUSE_SECONDS))
            earlier = self._earlier(context)
            if earlier is not None:
                return earlier
            with caused_by(context.cause):
                decision = decide()
            subject = decision.subject or decision.aggregates[0]
            before = subject.version - len(subject.pending_events)
            if context.expected_version not in (None, before):
                raise self._stale(context, subject, before)
            within = list(decision.within)
            if context.idempotency_key is not None:
                within.append(self._remember(context, subject, decision))
            try:
                position = self.store.commit(decision.aggregates, within)
            except IntegrityError:
                # Somebody was faster, or our own answer was lost after the commit.
                continue
            return Accepted(
                id=subject.id,
                version=subject.version,
                position=position or self.store.position_of(subject.id, subject.version),
                result=decision.result,
                secret=decision.secret,
            )
        raise Conflict(
            "Too many commands changed this at the same time.",
            remedy="Try again in a moment.",
            current={},
        )

    def _stale(self, context: CommandContext, subject: Aggregate, before: int) -> Conflict:
        current = self.store.find(type(subject), subject.id)
        return Conflict(
            f"This was changed since you saw it: you saw version {context.expected_version}, "
            f"it is at version {before} now.",
            remedy="Look at the current state and decide again.",
            current=current.state_for_caller if current else {"version": before},
        )

    def _earlier(self, context: CommandContext) -> Accepted | None:
        if context.idempotency_key is None:
            return None
        with self.store.recorder.datastore.get_connection() as connection:
            row = connection.execute(
                "SELECT fingerprint, aggregate_id, aggregate_version, result, sealed "
                "FROM loggia.commands WHERE actor = %s AND idempotency_key = %s",
                (context.actor, context.idempotency_key),
            ).fetchone()
        if row is None:
            return None
        if row["fingerprint"] != context.fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key was used for another request before.",
                remedy="Make a new key for each command; repeat a key only to repeat the command.",
            )
        sealed = row["sealed"]
        return Accepted(
            id=row["aggregate_id"],
            version=row["aggregate_version"],
            position=self.store.position_of(row["aggregate_id"], row["aggregate_version"]),
            result=row["result"],
            secret=self._seal.decrypt(bytes(sealed)).decode() if sealed else None,
            repeated=True,
        )

    def _remember(
        self, context: CommandContext, subject: Aggregate, decision: Decision
    ) -> InTransaction:
        secret = decision.secret
        sealed = self._seal.encrypt(secret.encode()) if secret is not None else None

        def write(cursor: Cursor[DictRow]) -> None:
            cursor.execute(
                "INSERT INTO loggia.commands (actor, idempotency_key, fingerprint, aggregate_id, "
                "aggregate_version, result, sealed) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    context.actor,
                    context.idempotency_key,
                    context.fingerprint,
                    subject.id,
                    subject.version,
                    Jsonb(decision.result),
                    sealed,
                ),
            )
            if sealed is not None:
                cursor.execute(
                    "UPDATE loggia.commands SET sealed = NULL "
                    "WHERE sealed IS NOT NULL AND at < now() - interval '1 day'"
                )

        return write


def _fernet_key(secret_key: bytes) -> bytes:
    return urlsafe_b64encode(hashlib.sha256(b"sealed results\0" + secret_key).digest())
