"""Which models fit, how many there are, and how many more each other choice would give."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable

from backend.domain.values import name_key

Facets = dict[str, dict[str, int]]

_REMEMBERED = 256
# Facet on the wire, column, and the filter's name.
_COLUMNS: dict[str, LiteralString] = {
    "state": "state",
    "kind": "kind",
    "publication": "publication",
    "deployment_state": "deployment_state",
}
_WIRE_NAMES = {"deployment_state": "deploymentState"}
NEVER_DEPLOYED = "none"
_MAX_LABELS = 50


@dataclass(frozen=True)
class Filters:
    """What a person has chosen. Within one filter either value fits; all filters must."""

    search: str = ""
    state: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    publication: tuple[str, ...] = ()
    deployment_state: tuple[str, ...] = ()
    label: tuple[str, ...] = ()

    def condition(self) -> tuple[Composable, list[Any]]:
        """The WHERE clause and its values."""
        parts: list[Composable] = []
        values: list[Any] = []
        if self.search:
            parts.append(SQL("name_key LIKE %s"))
            values.append(f"%{_escaped(name_key(self.search))}%")
        for name, column in _COLUMNS.items():
            chosen = list(getattr(self, name))
            if not chosen:
                continue
            if name == "deployment_state" and NEVER_DEPLOYED in chosen:
                parts.append(SQL("(deployment_state IS NULL OR deployment_state = ANY(%s))"))
            else:
                parts.append(SQL("{} = ANY(%s)").format(SQL(column)))
            values.append(chosen)
        if self.label:
            parts.append(SQL("labels && %s"))
            values.append(list(self.label))
        return (SQL(" AND ").join(parts) if parts else SQL("true")), values


@dataclass(frozen=True)
class Group:
    """Models that are alike in everything that can be chosen."""

    values: dict[str, str]
    labels: tuple[str, ...]
    models: int


@dataclass(frozen=True)
class _Known:
    """What was counted for one search, at one position of the gallery."""

    position: int
    groups: list[Group]
    counts: dict[Filters, tuple[int, Facets]]


class Counts:
    """Counts what fits, and keeps what is still right because the gallery has not changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def of(self, connection: Connection[DictRow], filters: Filters) -> tuple[int, Facets]:
        """How many models fit, and the facets: each disregards its own filter."""
        row = connection.execute(
            "SELECT position FROM loggia.consumer_watermark WHERE consumer = 'gallery'"
        ).fetchone()
        position = int(row["position"]) if row else 0
        known = self._known.get(filters.search)
        if known is None or known.position != position:
            known = _Known(position, _groups(connection, filters.search), {})
        counted = known.counts.get(filters)
        if counted is None:
            counted = _count(known.groups, filters)
            if len(known.counts) < _REMEMBERED:
                known.counts[filters] = counted
        with self._lock:
            self._known[filters.search] = known
            self._known.move_to_end(filters.search)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return counted


def _groups(connection: Connection[DictRow], search: str) -> list[Group]:
    """One pass over the models; everything else is added up from the few groups there are."""
    condition, values = Filters(search=search).condition()
    columns = SQL(", ").join([*(SQL(column) for column in _COLUMNS.values()), SQL("labels")])
    rows = connection.execute(
        SQL("SELECT {}, count(*) AS models FROM gallery.models WHERE {} GROUP BY {}").format(
            columns, condition, columns
        ),
        values,
        # A plan made once for all texts would take the same way for two letters as for ten.
        prepare=False,
    ).fetchall()
    return [
        Group(
            values={name: row[column] or NEVER_DEPLOYED for name, column in _COLUMNS.items()},
            labels=tuple(row["labels"]),
            models=row["models"],
        )
        for row in rows
    ]


def _count(groups: list[Group], filters: Filters) -> tuple[int, Facets]:
    chosen: dict[str, set[str]] = {name: set(getattr(filters, name)) for name in _COLUMNS}
    labels = set(filters.label)
    counters: dict[str, Counter[str]] = {name: Counter() for name in (*_COLUMNS, "label")}
    total = 0
    for group in groups:
        misses = [
            name for name, wanted in chosen.items() if wanted and group.values[name] not in wanted
        ]
        if labels and labels.isdisjoint(group.labels):
            misses.append("label")
        if not misses:
            total += group.models
        if len(misses) > 1:
            continue
        # Counted for every facet, or only for the one whose filter is in the way.
        for name in misses or counters:
            for value in group.labels if name == "label" else (group.values[name],):
                counters[name][value] += group.models
    facets = {
        _WIRE_NAMES.get(name, name): dict(counter.most_common(_MAX_LABELS))
        for name, counter in counters.items()
    }
    return total, facets


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
