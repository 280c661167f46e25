"""Which models fit, how many there are, and how many more each other choice would give."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
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
_NEVER_DEPLOYED = "none"
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
            if name == "deployment_state" and _NEVER_DEPLOYED in chosen:
                parts.append(SQL("(deployment_state IS NULL OR deployment_state = ANY(%s))"))
            else:
                parts.append(SQL("{} = ANY(%s)").format(SQL(column)))
            values.append(chosen)
        if self.label:
            parts.append(SQL("labels && %s"))
            values.append(list(self.label))
        return (SQL(" AND ").join(parts) if parts else SQL("true")), values


class Counts:
    """Counts that are still right, because the gallery has not changed since."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Filters, tuple[int, tuple[int, Facets]]] = OrderedDict()

    def get(self, filters: Filters, position: int) -> tuple[int, Facets] | None:
        """The counts for these filters at this position of the gallery."""
        with self._lock:
            known = self._known.get(filters)
            if known is None or known[0] != position:
                return None
            self._known.move_to_end(filters)
            return known[1]

    def put(self, filters: Filters, position: int, counts: tuple[int, Facets]) -> None:
        """Remembers counts."""
        with self._lock:
            self._known[filters] = (position, counts)
            self._known.move_to_end(filters)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def counted(
    connection: Connection[DictRow], filters: Filters, counts: Counts
) -> tuple[int, Facets]:
    """How many models fit, and the facets: each disregards its own filter."""
    row = connection.execute(
        "SELECT position FROM loggia.consumer_watermark WHERE consumer = 'gallery'"
    ).fetchone()
    position = int(row["position"]) if row else 0
    known = counts.get(filters, position)
    if known is None:
        known = _count(connection, filters)
        counts.put(filters, position, known)
    return known


def _count(connection: Connection[DictRow], filters: Filters) -> tuple[int, Facets]:
    facets: Facets = {_WIRE_NAMES.get(name, name): {} for name in _COLUMNS}
    unfiltered = [name for name in _COLUMNS if not getattr(filters, name)]
    total = _group(connection, filters, unfiltered, facets)
    for name in _COLUMNS:
        if name not in unfiltered:
            _group(connection, _without(filters, name), [name], facets)
    condition, values = replace(filters, label=()).condition()
    rows = connection.execute(
        SQL(
            "SELECT label, count(*) AS models FROM gallery.models, unnest(labels) AS label "
            "WHERE {} GROUP BY label ORDER BY models DESC, label LIMIT %s"
        ).format(condition),
        [*values, _MAX_LABELS],
    ).fetchall()
    facets["label"] = {row["label"]: row["models"] for row in rows}
    return total, facets


def _group(
    connection: Connection[DictRow], filters: Filters, names: list[str], facets: Facets
) -> int:
    """One pass for several facets; returns how many models fit."""
    condition, values = filters.condition()
    columns = [SQL(_COLUMNS[name]) for name in names]
    if not columns:
        row = connection.execute(
            SQL("SELECT count(*) AS models FROM gallery.models WHERE {}").format(condition), values
        ).fetchone()
        return int(row["models"]) if row else 0
    # Grouping by all of them at once leaves few rows to add up here, in one pass over the table.
    rows = connection.execute(
        SQL("SELECT {}, count(*) AS models FROM gallery.models WHERE {} GROUP BY {}").format(
            SQL(", ").join(columns), condition, SQL(", ").join(columns)
        ),
        values,
    ).fetchall()
    for row in rows:
        for name in names:
            value = row[_COLUMNS[name]]
            if value is None:
                value = _NEVER_DEPLOYED
            counts = facets[_WIRE_NAMES.get(name, name)]
            counts[value] = counts.get(value, 0) + row["models"]
    return sum(row["models"] for row in rows)


def _without(filters: Filters, name: str) -> Filters:
    cleared: dict[str, Any] = {name: ()}
    return replace(filters, **cleared)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
