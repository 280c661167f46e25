"""One lock between those who remove objects and those who are about to refer to one.

Whoever removes an object holds it alone while looking that nothing refers to the object. Whoever
publishes a reference holds it together with others while looking that the object is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.rows import DictRow

from backend.infra.postgres import Pool, lock_number

_LOCK = "blobs"


@contextmanager
def nothing_removed(pool: Pool) -> Iterator[None]:
    """While the block runs, nobody removes an object."""
    with pool.connection() as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (lock_number(_LOCK),))
        yield


@contextmanager
def removing(pool: Pool) -> Iterator[psycopg.Connection[DictRow]]:
    """While the block runs, nobody publishes a reference. Gives the connection to look with."""
    with pool.connection() as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(_LOCK),))
        yield connection
