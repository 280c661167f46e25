"""What ends a revision that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why a revision will not serve."""

    reason: str
    remedy: str
    log_tail: Sequence[str] = ()


class RevisionLost(Exception):
    """The revision at hand cannot be served."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class PlaceUnknown(RevisionLost):
    """Where the revision is to run is not known now; one that serves waits until it is again."""
