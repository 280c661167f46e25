"""The rows of a page, found in one of two ways, so that none of them ever takes long."""

from __future__ import annotations

from typing import Any, Literal, LiteralString

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable, Composed

from backend.readmodels.gallery_filters import Counted, Filters

Sort = Literal["newest", "oldest", "name", "size"]

# Up to so many are collected first; where more fit, a walk in the wanted order meets enough soon.
_FEW = 10_000
# Each order ends in the position of the import, which no two models share.
_ORDERS: dict[Sort, tuple[tuple[LiteralString, ...], LiteralString, LiteralString]] = {
    "newest": (("created_position",), "<", "DESC"),
    "oldest": (("created_position",), ">", "ASC"),
    "name": (("name_key", "created_position"), ">", "ASC"),
    "size": (("size_bytes", "created_position"), "<", "DESC"),
}
_SUMMARY: LiteralString = (
    "model_id, version, name, kind, source, model_version, state, publication, deployment_state, "
    "description, labels, size_bytes, architecture, parameter_count, created_at, updated_at, "
    "position, failure, created_position, name_key, technical_name, format, current_version, "
    "latest_version, latest_state, retriable, batch_id, base_model_id, task, adapter, replicas"
)


def sorted_by(sort: Sort) -> tuple[LiteralString, ...]:
    """The columns that a cursor keeps."""
    return _ORDERS[sort][0]


def page(
    connection: Connection[DictRow],
    filters: Filters,
    counted: Counted | None,
    *,
    sort: Sort,
    after: list[Any],
    limit: int,
) -> list[DictRow]:
    """Rows behind `after`, a row's values of `sorted_by`; from the beginning where it is empty.

    `counted` is what has been counted for these filters; None where everything fits.
    """
    if counted is not None and counted.total == 0:
        return []
    columns, comparison, direction = _ORDERS[sort]
    fitting, values = _fitting(filters, counted)
    order = SQL(", ").join([SQL(column + " " + direction) for column in columns])
    behind: Composable = SQL("true")
    if after:
        behind = SQL("({}) {} ({})").format(
            SQL(", ").join([SQL(column) for column in columns]),
            SQL(comparison),
            SQL(", ").join([SQL("%s")] * len(columns)),
        )
    few = counted is not None and filters.narrow and counted.total <= _FEW
    query = (_COLLECT if few else _WALK).format(
        summary=SQL(_SUMMARY), fitting=fitting, behind=behind, order=order
    )
    # A plan made once for all texts would be wrong for rare ones.
    prepare = False if filters.search else None
    return connection.execute(query, [*values, *after, limit], prepare=prepare).fetchall()


_WALK = SQL(
    "SELECT {summary} FROM gallery.models WHERE {fitting} AND {behind} ORDER BY {order} LIMIT %s"
)
# The narrow index has all that is needed to find them.
_COLLECT = SQL(
    "WITH found AS MATERIALIZED (SELECT created_position, name_key, size_bytes "
    "FROM gallery.models WHERE {fitting}) "
    "SELECT {summary} FROM gallery.models WHERE created_position = ANY(ARRAY("
    "SELECT created_position FROM found WHERE {behind} ORDER BY {order} LIMIT %s)) ORDER BY {order}"
)


def _fitting(filters: Filters, counted: Counted | None) -> tuple[Composed, list[Any]]:
    named, values = filters.named()
    if counted is None or counted.groups is None:
        return SQL("{}").format(named), values
    return SQL("{} AND facets = ANY(%s)").format(named), [*values, counted.groups]
