"""What clients did, and whether the event store agrees; `agreement` compares what follows it.

Each operation is noted before it is sent and after its outcome is known. An operation without an
answer is unknown: it may have happened once, or not at all, and never twice.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from backend.contracts.codec import PublicEvent


@dataclass
class Operation:
    """One command. `marker` is a text that its events carry and no other operation's do."""

    number: int
    key: str
    marker: str
    outcome: str = "unknown"
    answers: list[dict[str, Any]] = field(default_factory=list)


class OperationLog:
    """Safe for several clients at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self.operations: list[Operation] = []

    def invoke(self, key: str, marker: str) -> Operation:
        """A command is about to be sent."""
        with self._lock:
            operation = Operation(next(self._numbers), key, marker)
            self.operations.append(operation)
        return operation

    @staticmethod
    def ok(operation: Operation, answer: dict[str, Any]) -> None:
        """It was accepted. A repetition adds its answer."""
        operation.outcome = "ok"
        operation.answers.append(answer)

    @staticmethod
    def failed(operation: Operation) -> None:
        """It was refused, so that it must have had no effect."""
        operation.outcome = "failed"

    def check(self, events: Iterable[PublicEvent], marker_of: Any) -> dict[str, list[Any]]:
        """The faults found, by kind; every list is empty where all is well.

        `marker_of` gives the marker in an event, or None for events that no operation made.
        """
        events = list(events)
        effects = Counter(
            (m, event.type) for event in events if (m := marker_of(event)) is not None
        )
        seen = {marker for marker, _ in effects}
        by_marker = {operation.marker: operation for operation in self.operations}
        versions: dict[str, list[int]] = defaultdict(list)
        for event in events:
            versions[event.aggregate_id].append(event.aggregate_version)
        positions = [event.position for event in events]
        return {
            "lost": [o for o in self.operations if o.outcome == "ok" and o.marker not in seen],
            "phantom": [m for m in seen if m not in by_marker or by_marker[m].outcome == "failed"],
            "dup": [effect for effect, count in effects.items() if count > 1],
            "answers": [
                o
                for o in self.operations
                if any(answer != o.answers[0] for answer in o.answers[1:])
            ],
            "order": [
                aggregate
                for aggregate, found in versions.items()
                if found != list(range(1, len(found) + 1))
            ],
            "positions": [] if positions == list(range(1, len(positions) + 1)) else [positions],
        }


def assert_clean(faults: dict[str, list[Any]]) -> None:
    """Raises AssertionError naming the faults."""
    found = {kind: list_ for kind, list_ in faults.items() if list_}
    assert not found, found
