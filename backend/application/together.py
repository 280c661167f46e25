"""Those who come while one works are served together by the next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Place(Generic[T]):
    """Somebody's place in the queue. `turn` is free once it is done, or theirs to lead."""

    __slots__ = ("done", "error", "item", "turn")

    def __init__(self, item: T) -> None:
        self.item = item
        self.done = False
        self.error: BaseException | None = None
        self.turn = threading.Lock()
        self.turn.acquire()


class Together(Generic[T]):
    """Carries out items in groups, one group at a time, in the order of their arrival.

    There is no thread for it: whoever finds nobody at work carries out the group for all, and
    then hands over to the first of those who came meanwhile.
    """

    def __init__(self, work: Callable[[list[T]], None], *, most: int) -> None:
        self._work = work
        self._most = most
        self._lock = threading.Lock()
        self._queue: list[_Place[T]] = []

    def run(self, item: T) -> None:
        """Returns when a group with this item has been worked on. Raises what the work raised."""
        mine = _Place(item)
        with self._lock:
            self._queue.append(mine)
            leads = len(self._queue) == 1
        if not leads:
            mine.turn.acquire()
        if not mine.done:
            self._lead()
        if mine.error is not None:
            raise mine.error

    def _lead(self) -> None:
        with self._lock:
            group = self._queue[: self._most]
        error: BaseException | None = None
        try:
            self._work([place.item for place in group])
        except BaseException as raised:  # it belongs to everybody in the group
            error = raised
        with self._lock:
            del self._queue[: len(group)]
            following = self._queue[0] if self._queue else None
        if following is not None:
            following.turn.release()
        for place in group:
            place.done, place.error = True, error
            place.turn.release()
