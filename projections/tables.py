"""Tables of a read model: how they are declared, and their rows in memory while events are applied.

A row is a JSON object: texts, numbers, lists and objects. Times are ISO texts, ids are texts;
PostgreSQL gives them their types. So a row that was just computed and one that was loaded are the
same to the fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.protobuf.message import Message

from backend.contracts.codec import PublicEvent

Row = dict[str, Any]
Key = tuple[Any, ...]


class RowMissing(Exception):
    """An event changes a row that no earlier event has made."""


@dataclass(frozen=True, eq=False)
class Table:
    """A table: columns with their SQL types, the primary key, and indexes by their definitions.

    `group` is the column by which rows are loaded: all rows of the models that a batch touches.
    It is None for tables that only grow, whose rows are never loaded. `computed` are columns that
    follow from the others of their row; they are filled in when the row is written.
    """

    name: str
    columns: Mapping[str, str]
    key: tuple[str, ...]
    group: str | None = "model_id"
    indexes: tuple[str, ...] = ()
    computed: Mapping[str, Callable[[Row], Any]] = field(default_factory=dict)

    def key_of(self, row: Row) -> Key:
        """The row's primary key."""
        return tuple(row[column] for column in self.key)


@dataclass
class _Rows:
    # By group, then by key. What is in here has been loaded or made in this batch.
    groups: dict[Any, dict[Key, Row]] = field(default_factory=dict)
    changed: dict[Key, Row | None] = field(default_factory=dict)


class Rows:
    """The rows that a batch of events touches: loaded once, changed in memory, written once."""

    def __init__(self) -> None:
        self._tables: dict[str, _Rows] = {}

    def load(self, table: Table, rows: Iterable[Row]) -> None:
        """Takes in what the database has."""
        groups = self._of(table).groups
        for row in rows:
            groups.setdefault(row[table.group or ""], {})[table.key_of(row)] = row

    def insert(self, table: Table, row: Row) -> Row:
        """A new row; columns that are left out are NULL."""
        key = table.key_of(row)
        rows = self._of(table)
        if table.group is not None:
            rows.groups.setdefault(row[table.group], {})[key] = row
        rows.changed[key] = row
        return row

    def find(self, table: Table, group: str, *rest: Any) -> Row | None:
        """The row with this key, whose first column is the group, to be changed; or None."""
        rows = self._of(table)
        found = rows.groups.get(group)
        if found is None:
            return None
        key = (group, *rest)
        row = found.get(key)
        if row is not None:
            rows.changed[key] = row
        return row

    def change(self, table: Table, group: str, *rest: Any) -> Row:
        """The same. Raises `RowMissing`."""
        row = self.find(table, group, *rest)
        if row is None:
            raise RowMissing(f"{table.name} has no row {(group, *rest)}")
        return row

    def of_group(self, table: Table, group: str) -> list[Row]:
        """All rows of a group, to be looked at only."""
        return list(self._of(table).groups.get(group, {}).values())

    def delete(self, table: Table, group: str, *rest: Any) -> None:
        """Removes a row, where there is one."""
        key = (group, *rest)
        rows = self._of(table)
        if rows.groups.get(group, {}).pop(key, None) is not None:
            rows.changed[key] = None

    def written(self, table: Table) -> list[Row]:
        """Rows to insert or to update."""
        written = [row for row in self._of(table).changed.values() if row is not None]
        for column, compute in table.computed.items():
            for row in written:
                row[column] = compute(row)
        return written

    def deleted(self, table: Table) -> list[Key]:
        """Keys of rows to delete."""
        return [key for key, row in self._of(table).changed.items() if row is None]

    def _of(self, table: Table) -> _Rows:
        found = self._tables.get(table.name)
        if found is None:
            found = self._tables[table.name] = _Rows()
        return found


# Applies one event to the rows of its model.
Apply = Callable[[Rows, PublicEvent, Any], None]


@dataclass(frozen=True)
class Fold:
    """What an event type does, and whose rows must be loaded for it."""

    apply: Apply
    tables: tuple[Table, ...]


class Projection(Protocol):
    """A read model, in a PostgreSQL schema of its own name.

    Every value in its rows derives from the events alone, so that a rebuilt one is byte-equal.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def tables(self) -> tuple[Table, ...]: ...

    @property
    def event_types(self) -> Sequence[str]:
        """The types that matter here."""
        ...

    def fold_of(self, event_type: str) -> Fold | None:
        """How events of this type are applied; None where they do not matter here."""
        ...


@dataclass(frozen=True)
class Handlers:
    """A projection that lists a function for each event type that matters to it."""

    name: str
    description: str
    tables: tuple[Table, ...]
    folds: Mapping[str, Fold]

    @property
    def event_types(self) -> Sequence[str]:
        """See `Projection`."""
        return tuple(self.folds)

    def fold_of(self, event_type: str) -> Fold | None:
        """See `Projection`."""
        return self.folds.get(event_type)


def apply_all(projection: Projection, rows: Rows, events: Iterable[PublicEvent]) -> None:
    """Folds events into rows that have been loaded for them."""
    for event in events:
        fold = projection.fold_of(event.type)
        if fold is not None:
            message: Message = event.message
            fold.apply(rows, event, message)
