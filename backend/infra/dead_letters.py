"""Records that a consumer could not apply: set aside with their reason, and applied again later."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import psycopg
from kafka.errors import KafkaError
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from backend.contracts.codec import (
    TYPE_PREFIX,
    Headers,
    MalformedEvent,
    PublicEvent,
    encode,
    position_of,
)
from backend.infra.kafka import DEAD_LETTERS, producer
from backend.infra.logging import get_logger
from backend.infra.postgres import Pool
from backend.infra.records import Record
from backend.infra.settings import Settings

_log = get_logger(__name__)

R = TypeVar("R")

FOLLOWS = "an earlier event of the same key is parked"
RESOLVED_KEPT_DAYS = 30


@dataclass(frozen=True)
class DeadLetter:
    """A record as it stood on the topic, and why it could not be applied."""

    consumer: str
    position: int | None
    partition: int
    offset: int
    partition_key: str
    event_type: str | None
    error: str
    key: bytes | None
    value: bytes | None
    headers: Headers

    @classmethod
    def of(cls, record: Record, consumer: str, error: str) -> Self:
        """The letter of a record that is no event."""
        # A header without a value is none of ours.
        headers = [(name, value or b"") for name, value in record.headers() or []]
        key = record.key()
        try:
            position: int | None = position_of(headers)
        except MalformedEvent:
            position = None
        event_type = dict(headers).get("ce_type")
        return cls(
            consumer=consumer,
            position=position,
            partition=record.partition(),
            offset=record.offset(),
            partition_key=(key or b"").decode(errors="replace"),
            event_type=event_type.decode(errors="replace") if event_type else None,
            error=error[:4000],
            key=key,
            value=record.value(),
            headers=headers,
        )

    @classmethod
    def of_event(
        cls, event: PublicEvent, place: tuple[int, int], consumer: str, error: str
    ) -> Self:
        """The letter of an event that was read from this partition and offset."""
        value, headers = encode(event)
        return cls(
            consumer=consumer,
            position=event.position,
            partition=place[0],
            offset=place[1],
            partition_key=event.partition_key,
            event_type=f"{TYPE_PREFIX}{event.type}",
            error=error[:4000],
            key=event.partition_key.encode(),
            value=value,
            headers=headers,
        )


def park(cursor: Cursor[DictRow], letters: Sequence[DeadLetter]) -> None:
    """Keeps letters in the caller's transaction."""
    if not letters:
        return
    cursor.executemany(
        "INSERT INTO loggia.dead_letters (consumer, position, partition, record_offset, "
        "partition_key, event_type, error, record_key, record_value, headers) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            (
                letter.consumer,
                letter.position,
                letter.partition,
                letter.offset,
                letter.partition_key,
                letter.event_type,
                letter.error,
                letter.key,
                letter.value,
                Jsonb([[name, base64.b64encode(v).decode()] for name, v in letter.headers]),
            )
            for letter in letters
        ],
    )


def parked_keys(connection: psycopg.Connection[DictRow], consumer: str) -> set[str]:
    """The keys whose events wait, so that later ones must wait too."""
    rows = connection.execute(
        "SELECT DISTINCT partition_key FROM loggia.dead_letters "
        "WHERE consumer = %s AND resolved_at IS NULL",
        (consumer,),
    ).fetchall()
    return {row["partition_key"] for row in rows}


def still_parked(cursor: Cursor[DictRow], consumer: str, letters: Sequence[DeadLetter]) -> bool:
    """Whether the events that these letters follow still wait; holds them until the commit.

    What follows another one of these letters waits with it in any case.
    """
    causes = {letter.partition_key for letter in letters if letter.error != FOLLOWS}
    keys = {letter.partition_key for letter in letters if letter.error == FOLLOWS} - causes
    if not keys:
        return True
    rows = cursor.execute(
        "SELECT partition_key FROM loggia.dead_letters WHERE consumer = %s "
        "AND partition_key = ANY(%s) AND resolved_at IS NULL FOR SHARE",
        (consumer, list(keys)),
    ).fetchall()
    return {row["partition_key"] for row in rows} == keys


def forget_resolved(pool: Pool) -> int:
    """Removes letters that were applied long ago; returns how many."""
    with pool.connection() as connection:
        return connection.execute(
            "DELETE FROM loggia.dead_letters WHERE resolved_at < now() - make_interval(days => %s)",
            (RESOLVED_KEPT_DAYS,),
        ).rowcount


def announce(settings: Settings, letters: Sequence[DeadLetter]) -> None:
    """Copies letters to the dead-letter topic. The table is what counts; this may fail."""
    for letter in letters:
        _log.error(
            "parked",
            consumer=letter.consumer,
            position=letter.position,
            event_type=letter.event_type,
            error=letter.error,
        )
    try:
        sender = producer(settings, client_id="loggia-dead-letters")
        try:
            for letter in letters:
                more = [
                    ("loggia-consumer", letter.consumer.encode()),
                    ("loggia-error", letter.error.encode()),
                ]
                sender.send(
                    DEAD_LETTERS, key=letter.key, value=letter.value, headers=letter.headers + more
                )
            sender.flush(timeout=5)
        finally:
            sender.close(timeout=1)
    except KafkaError as error:
        _log.warning("dead letters not copied to the topic", error=str(error))


def redrive(
    pool: Pool,
    consumer: str,
    handle: Callable[[Cursor[DictRow], Sequence[R]], object],
    read: Callable[[bytes | None, bytes | None, Headers], R],
) -> int:
    """Applies a consumer's parked records again, in order; returns how many are left parked.

    `read` makes of a record's key, value and headers what `handle` applies. The consumer may run
    meanwhile: it waits for these rows before it parks more of their keys.
    """
    with (
        pool.connection() as connection,
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        rows = cursor.execute(
            "SELECT * FROM loggia.dead_letters WHERE consumer = %s AND resolved_at IS NULL "
            "ORDER BY position NULLS LAST, id FOR UPDATE",
            (consumer,),
        ).fetchall()
        failed: set[str] = set()
        for row in rows:
            if row["partition_key"] in failed:
                continue
            headers = [(name, base64.b64decode(v)) for name, v in row["headers"]]
            try:
                record = read(row["record_key"], row["record_value"], headers)
                with connection.transaction():
                    handle(cursor, [record])
            except (psycopg.OperationalError, psycopg.InterfaceError):
                raise
            except Exception as error:
                failed.add(row["partition_key"])
                cursor.execute(
                    "UPDATE loggia.dead_letters SET error = %s WHERE id = %s",
                    (repr(error)[:4000], row["id"]),
                )
                continue
            cursor.execute(
                "UPDATE loggia.dead_letters SET resolved_at = now() WHERE id = %s",
                (row["id"],),
            )
        left = cursor.execute(
            "SELECT count(*) AS left FROM loggia.dead_letters "
            "WHERE consumer = %s AND resolved_at IS NULL",
            (consumer,),
        ).fetchone()
    return int(left["left"]) if left else 0
