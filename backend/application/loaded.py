"""Aggregates as decisions see them: kept in memory, with a note of what was relied on.

What is kept may be out of date, because other processes write too. Every version that a decision
has seen is therefore checked when it is written.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

from backend.domain.events import Aggregate


class DecideAgain(Exception):
    """What was seen is not what it will be, or is no longer: decide after this group."""


class Loaded:
    """The aggregates of one process that were used last. For one thread at a time."""

    def __init__(self, load: Callable[[UUID], Aggregate | None], *, most: int) -> None:
        self._load = load
        self._most = most
        self._kept: OrderedDict[UUID, Aggregate] = OrderedDict()
        self._changed: set[UUID] = set()
        self._seen: dict[UUID, Aggregate | None] = {}

    def begin_group(self) -> None:
        """The decisions that follow are written together."""
        self._changed.clear()

    @contextmanager
    def decision(self) -> Iterator[None]:
        """Notes what one decision sees. What it leaves changed is kept only by `keep`."""
        self._seen = {}
        try:
            yield
        finally:
            for aggregate in self._seen.values():
                if aggregate is not None and aggregate.pending_events:
                    self._kept.pop(aggregate.id, None)

    def find(self, aggregate_id: UUID) -> Aggregate | None:
        """The aggregate for the current decision. Raises `DecideAgain`."""
        if aggregate_id in self._changed:
            raise DecideAgain
        if aggregate_id not in self._seen:
            self._seen[aggregate_id] = self._kept.get(aggregate_id) or self._fetch(aggregate_id)
        return self._seen[aggregate_id]

    def find_again(self, aggregate_id: UUID) -> Aggregate | None:
        """As it is stored now, in place of what the current decision has seen of it."""
        self._seen[aggregate_id] = self._fetch(aggregate_id)
        return self._seen[aggregate_id]

    def versions(self, changed: Sequence[Aggregate] = ()) -> dict[UUID, int]:
        """The stored versions that the current decision relies on; 0 where there is none yet."""
        seen = {aggregate.id: aggregate for aggregate in changed}
        return {
            aggregate_id: aggregate.version - len(aggregate.pending_events) if aggregate else 0
            for aggregate_id, aggregate in (self._seen | seen).items()
        }

    def reserve(self, changed: Iterable[Aggregate]) -> None:
        """The rest of the group must not decide on what these will be."""
        self._changed.update(aggregate.id for aggregate in changed)

    def keep(self, aggregates: Iterable[Aggregate]) -> None:
        """These are now as they are stored."""
        for aggregate in aggregates:
            self._kept[aggregate.id] = aggregate
            self._kept.move_to_end(aggregate.id)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, aggregate_ids: Iterable[UUID]) -> None:
        """These have changed elsewhere."""
        for aggregate_id in aggregate_ids:
            self._kept.pop(aggregate_id, None)

    def _fetch(self, aggregate_id: UUID) -> Aggregate | None:
        aggregate = self._load(aggregate_id)
        if aggregate is not None:
            self.keep([aggregate])
        return aggregate
