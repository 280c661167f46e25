"""A deployment's history as a file, made while it is sent."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import msgspec

from backend.readmodels.deployment_history import HistoryEntry

PHASES = (
    "preparing", "queued", "environment", "files", "optimizing", "starting", "switching",
    "draining",
)  # fmt: skip
_TIMES = ("requested_at", "deployed_at", "failed_at", "retired_at")
_COLUMNS = [
    "revision", "trigger", "actor", "requestedAt", "modelVersion", "reason", "restoredRevision",
    "outcome", "deployedAt", "failedAt", "retiredAt", "seconds",
    *(f"{phase}Seconds" for phase in PHASES),
    "failure", "remedy", "changes", "logTail", "configuration",
]  # fmt: skip
# What spreadsheets take for a formula where a cell begins with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ENTRIES_AT_ONCE = 50


def as_json(entries: Iterator[HistoryEntry]) -> Iterator[bytes]:
    """A JSON list of the entries as the API answers them."""
    before = b"["
    for entry in entries:
        yield before + b"\n" + msgspec.json.encode(entry)
        before = b","
    yield b"\n]\n"


def as_csv(entries: Iterator[HistoryEntry]) -> Iterator[bytes]:
    """A header, and a row for each revision; times in ISO 8601, lists and objects in JSON."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(_COLUMNS)
    for number, entry in enumerate(entries, 1):
        table.writerow([_cell(value) for value in _row(entry)])
        if number % _ENTRIES_AT_ONCE == 0:
            yield _taken(text)
    yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    written = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return written


def _row(entry: HistoryEntry) -> list[Any]:
    seconds = {phase.name: phase.seconds for phase in entry.phases}
    requested, deployed, failed, retired = (
        time.isoformat() if (time := getattr(entry, name)) else None for name in _TIMES
    )
    return [
        entry.revision, entry.trigger, entry.actor, requested, entry.model_version, entry.reason,
        entry.restored_revision, entry.outcome, deployed, failed, retired, entry.seconds,
        *(seconds.get(phase) for phase in PHASES),
        entry.failure, entry.remedy, _json(entry.changes), "\n".join(entry.log_tail or []),
        _json(entry.configuration),
    ]  # fmt: skip


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
