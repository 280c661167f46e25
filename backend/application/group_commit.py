"""One transaction for all commands that arrive together, and an outcome of its own for each.

Under the exclusive lock that every writer takes, what each command has relied on is compared with
what is stored. So a command is written only if it would be decided in the same way now, whatever
other processes did meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from eventsourcing.persistence import StoredEvent
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.infra.postgres import connect

# For a lock that others hold, for one statement, and for a client that was frozen meanwhile.
TIME_OUTS = "-c lock_timeout=2s -c statement_timeout=5s -c idle_in_transaction_session_timeout=15s"

# Runs in the transaction of the events, before them. May raise to undo its command alone.
InTransaction = Callable[[Cursor[DictRow]], None]

# Whose idempotency key, and which.
Key = tuple[str, str]


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
    sealed: bytes | None


@dataclass(frozen=True)
class Change:
    """What one command wants written, and which stored versions it has relied on.

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

_LOCK = "LOCK TABLE loggia.loggia_events IN EXCLUSIVE MODE"
_LAST_POSITION = "SELECT COALESCE(MAX(notification_id), 0) AS position FROM loggia.loggia_events"
# Each in a loop over its index, also where a plan was made while the tables were empty.
_VERSIONS = (
    "SELECT wanted.id, last.version, last.position FROM unnest(%s::uuid[]) AS wanted(id), "
    "LATERAL (SELECT originator_version AS version, notification_id AS position "
    "FROM loggia.loggia_events WHERE originator_id = wanted.id "
    "ORDER BY originator_version DESC LIMIT 1) AS last"
)
_EARLIER = (
    "SELECT found.*, (SELECT notification_id FROM loggia.loggia_events "
    "WHERE originator_id = found.aggregate_id AND originator_version = found.aggregate_version) "
    "AS position FROM unnest(%s::text[], %s::text[]) AS wanted(actor, key), "
    "LATERAL (SELECT actor, idempotency_key, fingerprint, aggregate_id, aggregate_version, "
    "result, sealed FROM loggia.commands WHERE actor = wanted.actor "
    "AND idempotency_key = wanted.key LIMIT 1) AS found"
)
_INSERT_EVENTS = (
    "INSERT INTO loggia.loggia_events "
    "(originator_id, originator_version, topic, state, notification_id) "
    "SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::text[], %s::bytea[], %s::bigint[])"
)
_INSERT_COMMANDS = (
    "INSERT INTO loggia.commands (actor, idempotency_key, fingerprint, aggregate_id, "
    "aggregate_version, result, sealed) SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], "
    "%s::uuid[], %s::bigint[], %s::jsonb[], %s::bytea[])"
)
_FORGET_SECRETS = (
    "UPDATE loggia.commands SET sealed = NULL "
    "WHERE sealed IS NOT NULL AND at < now() - interval '1 day'"
)


@dataclass
class _Checked:
    last_position: int
    versions: dict[UUID, int]
    positions: dict[UUID, int]
    earlier: dict[Key, Repeated]


class GroupCommit:
    """Writes changes on a connection of its own, one group at a time. Safe for many threads."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[DictRow] | None = None

    def close(self) -> None:
        """Lets go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

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
        writes = any(change.writes for change in changes)
        connection, checked = self._begin(changes, lock=writes)
        try:
            return self._settle(connection, changes, checked)
        finally:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self._undo(connection)

    def _begin(
        self, changes: Sequence[Change], *, lock: bool
    ) -> tuple[psycopg.Connection[DictRow], _Checked]:
        """Takes the lock where needed, and sees what is stored."""
        kept = self._connection
        if kept is not None:
            try:
                return kept, _check(kept, changes, lock=lock)
            except psycopg.Error:
                self._undo(kept)
                if not kept.closed:
                    raise
        # The first use, or the server has been restarted since the last one.
        self._connection = connect(self._dsn, options=TIME_OUTS)
        try:
            return self._connection, _check(self._connection, changes, lock=lock)
        except psycopg.Error:
            self._undo(self._connection)
            raise

    def _settle(
        self, connection: psycopg.Connection[DictRow], changes: Sequence[Change], checked: _Checked
    ) -> list[Outcome]:
        outcomes: list[Outcome] = []
        accepted: list[Change] = []
        position = checked.last_position
        taken: set[Key] = set()
        for change in changes:
            outcome = _judge(change, checked, taken) or _run_within(connection, change)
            if outcome is None:
                accepted.append(change)
                position += len(change.events)
                outcome = Written(position if change.events else None, checked.positions)
                if change.carried_out is not None:
                    taken.add(change.carried_out.key)
            outcomes.append(outcome)
        if any(change.writes for change in accepted):
            _store(connection, accepted, checked.last_position)
        return outcomes

    def _undo(self, connection: psycopg.Connection[DictRow]) -> None:
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            connection.close()


def _check(
    connection: psycopg.Connection[DictRow], changes: Sequence[Change], *, lock: bool
) -> _Checked:
    wanted = list({aggregate_id for change in changes for aggregate_id in change.relied_on})
    keys = list({change.key for change in changes if change.key is not None})
    if not (lock or wanted or keys):
        return _Checked(0, {}, {}, {})
    last: Cursor[DictRow] | None = None
    with connection.pipeline():
        if lock:
            connection.execute("BEGIN")
            connection.execute(_LOCK)
            last = connection.execute(_LAST_POSITION)
        versions = connection.execute(_VERSIONS, (wanted,))
        earlier = connection.execute(_EARLIER, ([k[0] for k in keys], [k[1] for k in keys]))
    found = versions.fetchall()
    newest = last.fetchone() if last is not None else None
    return _Checked(
        last_position=newest["position"] if newest else 0,
        versions={row["id"]: row["version"] for row in found},
        positions={row["id"]: row["position"] for row in found},
        earlier={(row["actor"], row["idempotency_key"]): _repeated(row) for row in earlier},
    )


def _repeated(row: DictRow) -> Repeated:
    return Repeated(
        CarriedOut(
            key=(row["actor"], row["idempotency_key"]),
            fingerprint=row["fingerprint"],
            aggregate_id=row["aggregate_id"],
            aggregate_version=row["aggregate_version"],
            result=row["result"],
            sealed=row["sealed"],
        ),
        row["position"] or 0,
    )


def _judge(change: Change, checked: _Checked, taken: set[Key]) -> Outcome | None:
    if change.key is not None and change.key in checked.earlier:
        return checked.earlier[change.key]
    outdated = frozenset(
        aggregate_id
        for aggregate_id, version in change.relied_on.items()
        if checked.versions.get(aggregate_id, 0) != version
    )
    if outdated or change.key in taken:
        return Outdated(outdated)
    return None


def _run_within(connection: psycopg.Connection[DictRow], change: Change) -> Outcome | None:
    """The change's own statements, which fail for themselves."""
    if not change.within:
        return None
    try:
        with connection.transaction():  # a savepoint
            cursor = connection.cursor()
            for statement in change.within:
                statement(cursor)
    except psycopg.IntegrityError:
        return Outdated(frozenset(change.relied_on))
    except psycopg.OperationalError as error:
        if connection.closed:
            raise
        return Refused(StoreUnavailable(str(error).strip()))
    except Exception as error:
        if connection.closed:
            raise
        return Refused(error)
    return None


def _store(
    connection: psycopg.Connection[DictRow], accepted: Sequence[Change], last_position: int
) -> None:
    events = [event for change in accepted for event in change.events]
    commands = [change.carried_out for change in accepted if change.carried_out is not None]
    with connection.pipeline():
        if events:
            connection.execute(
                _INSERT_EVENTS,
                (
                    [event.originator_id for event in events],
                    [event.originator_version for event in events],
                    [event.topic for event in events],
                    [event.state for event in events],
                    list(range(last_position + 1, last_position + 1 + len(events))),
                ),
            )
            connection.execute("NOTIFY loggia_events")
        if commands:
            connection.execute(
                _INSERT_COMMANDS,
                (
                    [command.key[0] for command in commands],
                    [command.key[1] for command in commands],
                    [command.fingerprint for command in commands],
                    [command.aggregate_id for command in commands],
                    [command.aggregate_version for command in commands],
                    [Jsonb(command.result) for command in commands],
                    [command.sealed for command in commands],
                ),
            )
        if any(command.sealed is not None for command in commands):
            connection.execute(_FORGET_SECRETS)
        connection.execute("COMMIT")
