"""How long the deploy worker waits, and how often it tries."""

from __future__ import annotations

from dataclasses import dataclass

# More would exceed any pause, and at some time the range of numbers.
_DOUBLINGS = 16


@dataclass(frozen=True)
class Patience:
    """How long the worker waits, in seconds, and how often it tries.

    `start` until an engine answers; `drain` for running requests; `settle` until the gateway has
    seen a switch; `hang` until an engine that runs but does not respond is given up; `stable`
    after which a crash is not a quick one; `backoff` before the second restart, doubled for each
    further one up to `max_backoff`; after `quick_crashes` of them in a row the revision has failed.
    """

    start: float = 600.0
    drain: float = 60.0
    settle: float = 2.0
    health_interval: float = 5.0
    hang: float = 30.0
    stable: float = 60.0
    backoff: float = 1.0
    max_backoff: float = 60.0
    quick_crashes: int = 5
    probe: float = 30.0

    def pause(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        return min(self.max_backoff, self.backoff * 2.0 ** min(failures - 1, _DOUBLINGS))
