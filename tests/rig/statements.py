"""Counts what a piece of code asks the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import psycopg


@contextmanager
def statements() -> Iterator[list[str]]:
    """The statements of this thread while the block runs; a pool's look at a connection is none."""
    told: list[str] = []
    thread = threading.get_ident()
    original = psycopg.Cursor.execute

    def execute(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        text = query if isinstance(query, str) else str(query)
        if text and threading.get_ident() == thread:
            told.append(text)
        return original(cursor, query, *arguments, **options)

    with patch.object(psycopg.Cursor, "execute", execute):
        yield told
