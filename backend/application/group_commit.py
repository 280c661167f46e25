"""One transaction for all commands that arrive together, and an outcome of its own for each.

Under the exclusive lock that every writer takes, what each command has relied on is compared with
what is stored. So a command is written only if it would be decided in the same way now, whatever
other processes did meanwhile. The database's side is the function `loggia.write_changes`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import Cursor
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow

from backend.infra.postgres import TIME_OUTS, KeptConnection, Pool

# Runs in the transaction of the events, before them. May raise to undo its command alone.
InTransaction = Callable[[Cursor[DictRow]], None]

# Whose idempotency key, and which.
Key = tuple[str, str]

# For so long a command that comes again under its key answers as the first did.
REMEMBERED_DAYS = 30
_FORGOTTEN_TOGETHER = 10_000


class StoreUnavailable(Exception):
    """PostgreSQL did not answer in time; nothing was written, or the answer was lost."""


@dataclass(frozen=True)
class CarriedOut:
    """A command under an idempotency key, as it is remembered with its events."""

    key: Key
    fingerprint: str
    aggregate_id: UUID
    aggregate_version: int
    result: dict[str, Any]
    # What was shown once, encrypted.
    sealed: str | None


@dataclass(frozen=True)
class Change:
    """What one command wants written, and which stored versions it has relied on (0: none).

    One that wants nothing written is only checked.
    """

    relied_on: Mapping[UUID, int]
    key: Key | None = None
    events: Sequence[StoredEvent] = ()
    within: Sequence[InTransaction] = ()
    carried_out: CarriedOut | None = None

    @property
    def writes(self) -> bool:
        """Whether there is more to do than to check."""
        return bool(self.events or self.within or self.carried_out)


@dataclass(frozen=True)
class Written:
    """It is stored. `positions` are those of the last events of what was relied on, before it."""

    last_position: int | None
    positions: Mapping[UUID, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Repeated:
    """Nothing was written: the key's command was carried out before, up to this position."""

    earlier: CarriedOut
    position: int


@dataclass(frozen=True)
class Outdated:
    """Nothing was written: these aggregates are not what they were; decide again."""

    aggregate_ids: frozenset[UUID]


@dataclass(frozen=True)
class Refused:
    """Nothing was written: a statement of the command raised this."""

    error: Exception


Outcome = Written | Repeated | Outdated | Refused


class GroupCommit:
    """Writes changes on a connection of its own, one group at a time. Safe for many threads."""

    def __init__(self, dsn: str) -> None:
        self._lock = threading.Lock()
        self._connection = KeptConnection(dsn, options=TIME_OUTS)

    def close(self) -> None:
        """Lets go of the connection."""
        self._connection.close()

    def write(self, changes: Sequence[Change]) -> list[Outcome]:
        """Each change's outcome; what is `Written` is stored together. Raises `StoreUnavailable`.

        Where it raises, either nothing is stored or everything that could be.
        """
        try:
            with self._lock:
                return self._write(changes)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise StoreUnavailable(str(error).strip()) from error
        except psycopg.Error as error:
            # Something in one change that PostgreSQL does not take must not be the others' harm.
            if len(changes) > 1:
                return [outcome for change in changes for outcome in self.write([change])]
            if isinstance(error, psycopg.IntegrityError):
                return [Outdated(frozenset(changes[0].relied_on))]
            return [Refused(error)]

    def _write(self, changes: Sequence[Change]) -> list[Outcome]:
        if any(change.within for change in changes):
            return self._write_in_steps(changes)
        if any(change.relied_on or change.key or change.writes for change in changes):
            return _call(self._connection.get(), changes, locked=any(c.writes for c in changes))
        return [Written(None) for _ in changes]

    def _write_in_steps(self, changes: Sequence[Change]) -> list[Outcome]:
        """The same where some changes have statements of their own."""
        connection = self._connection.get()
        try:
            connection.execute("BEGIN")
            checked = [replace(change, events=(), carried_out=None) for change in changes]
            outcomes = _call(connection, checked, locked=True)
            holding: list[int] = []
            for number, change in enumerate(changes):
                if isinstance(outcomes[number], Written):
                    if refused := _run_within(connection, change):
                        outcomes[number] = refused
                    else:
                        holding.append(number)
            written = _call(connection, [changes[number] for number in holding], locked=True)
            connection.execute("COMMIT")
        finally:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                _undo(connection)
        for number, outcome in zip(holding, written, strict=True):
            outcomes[number] = outcome
        return outcomes


def forget_old_commands(pool: Pool) -> int:
    """Removes the keys of commands that are no longer remembered; returns how many."""
    forgotten = 0
    while True:
        with pool.connection() as connection:
            gone = connection.execute(
                "DELETE FROM loggia.commands WHERE ctid = ANY(ARRAY("
                "SELECT ctid FROM loggia.commands "
                "WHERE at < now() - make_interval(days => %s) LIMIT %s))",
                (REMEMBERED_DAYS, _FORGOTTEN_TOGETHER),
            ).rowcount
        forgotten += gone
        if gone < _FORGOTTEN_TOGETHER:
            return forgotten


def _undo(connection: psycopg.Connection[DictRow]) -> None:
    try:
        connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()


def _run_within(connection: psycopg.Connection[DictRow], change: Change) -> Outcome | None:
    """Why the change's own statements do not let it through; None where they do."""
    if not change.within:
        return None
    try:
        with connection.transaction():  # a savepoint
            cursor = connection.cursor()
            for statement in change.within:
                statement(cursor)
    except psycopg.IntegrityError:
        return Outdated(frozenset(change.relied_on))
    except Exception as error:
        if connection.closed:
            raise
        if isinstance(error, psycopg.OperationalError):
            return Refused(StoreUnavailable(str(error).strip()))
        return Refused(error)
    return None


class _Stored(msgspec.Struct):
    """The newest event of an aggregate."""

    id: UUID
    version: int
    position: int


class _Earlier(msgspec.Struct, rename="camel"):
    """A command whose key is asked for again; its last event has the position."""

    actor: str
    key: str
    fingerprint: str
    aggregate_id: UUID
    aggregate_version: int
    result: dict[str, Any]
    sealed: str | None
    position: int | None


class _Found(msgspec.Struct, rename="camel"):
    """What the database found before it wrote."""

    last_position: int
    stored: list[_Stored] | None
    earlier: list[_Earlier] | None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Found).decode


def _call(
    connection: psycopg.Connection[DictRow], changes: Sequence[Change], *, locked: bool
) -> list[Outcome]:
    """Checks the changes, and writes those that still hold if the table is to be locked."""
    row = connection.execute(
        "SELECT loggia.write_changes(%s::json, %s)::text AS found", (_asked(changes), locked)
    ).fetchone()
    return _outcomes(changes, _decode(row["found"] if row else b""))


def _asked(changes: Sequence[Change]) -> str:
    numbered = list(enumerate(changes))
    asked = {
        "reliedOn": [
            {"n": n, "id": aggregate_id, "version": version}
            for n, change in numbered
            for aggregate_id, version in change.relied_on.items()
        ],
        "keys": [
            {"n": n, "actor": change.key[0], "key": change.key[1]}
            for n, change in numbered
            if change.key is not None
        ],
        "events": [
            {
                "n": n,
                "id": event.originator_id,
                "version": event.originator_version,
                "topic": event.topic,
                "state": event.state.decode(),
            }
            for n, change in numbered
            for event in change.events
        ],
        "commands": [
            {
                "n": n,
                "actor": done.key[0],
                "key": done.key[1],
                "fingerprint": done.fingerprint,
                "aggregateId": done.aggregate_id,
                "aggregateVersion": done.aggregate_version,
                "result": done.result,
                "sealed": done.sealed,
            }
            for n, change in numbered
            if (done := change.carried_out) is not None
        ],
    }
    return _encode(asked).decode()


def _outcomes(changes: Sequence[Change], found: _Found) -> list[Outcome]:
    """The same conclusions that the database has drawn, by the same rules."""
    stored = {each.id: each for each in found.stored or ()}
    positions = {each.id: each.position for each in stored.values()}
    earlier = {(each.actor, each.key): each for each in found.earlier or ()}
    position = found.last_position
    outcomes: list[Outcome] = []
    for change in changes:
        outdated = frozenset(
            aggregate_id
            for aggregate_id, version in change.relied_on.items()
            if (stored[aggregate_id].version if aggregate_id in stored else 0) != version
        )
        if change.key is not None and change.key in earlier:
            outcomes.append(_repeated(earlier[change.key]))
        elif outdated:
            outcomes.append(Outdated(outdated))
        else:
            position += len(change.events)
            outcomes.append(Written(position if change.events else None, positions))
    return outcomes


def _repeated(earlier: _Earlier) -> Repeated:
    return Repeated(
        CarriedOut(
            key=(earlier.actor, earlier.key),
            fingerprint=earlier.fingerprint,
            aggregate_id=earlier.aggregate_id,
            aggregate_version=earlier.aggregate_version,
            result=earlier.result,
            sealed=earlier.sealed,
        ),
        earlier.position or 0,
    )
