"""Which models fit, how many there are, and how many more each other choice would give."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, LiteralString

import msgspec
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.sql import SQL, Composable

from backend.domain.values import name_key

Facets = dict[str, dict[str, int]]

_REMEMBERED = 256
# Facets on the wire, in the order of their values in the column `facets`; labels follow.
_FACETS = ("state", "kind", "publication", "deploymentState")
NEVER_DEPLOYED = "none"
_MAX_LABELS = 50
_decode = msgspec.json.Decoder(dict[str, int]).decode
# The one for each column of `_FACETS`.
Values = tuple[str, ...]


@dataclass(frozen=True)
class Filters:
    """What a person has chosen. Within one filter either value fits; all filters must."""

    search: str = ""
    state: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    publication: tuple[str, ...] = ()
    deployment_state: tuple[str, ...] = ()
    label: tuple[str, ...] = ()

    @property
    def chosen(self) -> tuple[frozenset[str], ...]:
        """The values of each of `_FACETS`; an empty set lets everything through."""
        chosen = (self.state, self.kind, self.publication, self.deployment_state)
        return tuple(frozenset(values) for values in chosen)

    @property
    def narrow(self) -> bool:
        """Whether some models may not fit."""
        return bool(self.search or self.label or any(self.chosen))

    def named(self) -> tuple[Composable, list[Any]]:
        """The condition on the name, and its values."""
        if not self.search:
            return SQL("true"), []
        return SQL("name_key LIKE %s"), [f"%{_escaped(name_key(self.search))}%"]


@dataclass(frozen=True)
class Group:
    """Models that are alike in everything that can be chosen; `key` is their column `facets`."""

    key: str
    values: Values
    labels: frozenset[str]


@dataclass(frozen=True)
class Counted:
    """How many models fit, the facets, and the groups that fit (None: all of them)."""

    total: int
    facets: Facets
    groups: list[str] | None


@dataclass(frozen=True)
class _Known:
    """What was counted for one search, while the gallery had one state."""

    state: tuple[Any, ...]
    groups: Mapping[Group, int]
    counts: dict[Filters, Counted] = field(default_factory=dict)


class Counts:
    """Counts what fits, and keeps what is still right because the gallery has not changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def of(self, connection: Connection[DictRow], filters: Filters) -> Counted:
        """How many models fit, and the facets: each disregards its own filter."""
        row = connection.execute(
            "SELECT position, ahead FROM loggia.consumer_watermark WHERE consumer = 'gallery'"
        ).fetchone()
        state = (row["position"], tuple(row["ahead"])) if row else ()
        known = self._known.get(filters.search)
        if known is None or known.state != state:
            known = _Known(state, _groups(connection, filters))
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


def _groups(connection: Connection[DictRow], filters: Filters) -> dict[Group, int]:
    """One pass over a narrow index; everything else is added up from the few groups there are."""
    condition, values = filters.named()
    # One text, because thousands of rows would take longer to read than to count.
    query: LiteralString = (
        "SELECT json_object_agg(facets, models)::text AS groups FROM "
        "(SELECT facets, count(*) AS models FROM gallery.models WHERE {} GROUP BY facets) AS alike"
    )
    # A plan made once for all texts would take the same way for two letters as for ten.
    row = connection.execute(SQL(query).format(condition), values, prepare=False).fetchone()
    groups = _decode(row["groups"]) if row and row["groups"] else {}
    return {_group(key): models for key, models in groups.items()}


@lru_cache(maxsize=20_000)
def _group(key: str) -> Group:
    *values, labels = msgspec.json.decode(key)
    return Group(key, tuple(value or NEVER_DEPLOYED for value in values), frozenset(labels))


def _count(groups: Mapping[Group, int], filters: Filters) -> Counted:
    chosen, labels = filters.chosen, frozenset(filters.label)
    total = 0
    fitting: list[str] = []
    alike: Counter[Values] = Counter()  # with a chosen label
    labelled: Counter[str] = Counter()  # fit in everything else
    misses: dict[Values, list[int]] = {}
    for group, models in groups.items():
        missed = misses.get(group.values)
        if missed is None:
            missed = misses[group.values] = _misses(group.values, chosen)
        if not missed:
            for label in group.labels:
                labelled[label] += models
        if not labels or not labels.isdisjoint(group.labels):
            alike[group.values] += models
            if not missed:
                total += models
                fitting.append(group.key)
    counters: list[Counter[str]] = [Counter() for _ in _FACETS]
    for values, models in alike.items():
        # Counted for every facet, or only for the one whose filter is in the way.
        missed = misses[values]
        for number in missed if missed else range(len(_FACETS)):
            if len(missed) < 2:
                counters[number][values[number]] += models
    facets = dict(zip(_FACETS, map(_most, counters), strict=True))
    every = not (labels or any(chosen))
    return Counted(total, {**facets, "label": _most(labelled)}, None if every else fitting)


def _misses(values: Values, chosen: Iterable[frozenset[str]]) -> list[int]:
    return [n for n, wanted in enumerate(chosen) if wanted and values[n] not in wanted]


def _most(counter: Counter[str]) -> dict[str, int]:
    return dict(counter.most_common(_MAX_LABELS))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
