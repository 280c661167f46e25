"""Counts what a piece of code asks the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psycopg


@contextmanager
def statements(*, of_every_thread: bool = False) -> Iterator[list[str]]:
    """The statements of this thread while the block runs; a pool's look at a connection is none."""
    told: list[str] = []
    here = threading.get_ident()
    execute, executemany = psycopg.Cursor.execute, psycopg.Cursor.executemany

    def note(query: Any) -> None:
        text = query if isinstance(query, str) else str(query)
        if text and (of_every_thread or threading.get_ident() == here):
            told.append(text)

    def one(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        note(query)
        return execute(cursor, query, *arguments, **options)

    def many(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        note(query)
        return executemany(cursor, query, *arguments, **options)

    with (
        patch.object(psycopg.Cursor, "execute", one),
        patch.object(psycopg.Cursor, "executemany", many),
    ):
        yield told
