"""How many replicas a load needs: decided from readings alone, without any infrastructure.

A reading needs as many replicas as its requests fill, each taking a batch. More replicas are
wanted once every reading of the scale-up delay has needed more; as many as the least of them.
Fewer are wanted once every reading of the scale-down delay has needed fewer; as many as the most
of them. A load that goes up and down within the delays therefore changes nothing, and every
decision begins the watch anew. Only from zero the first request decides at once, because it waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from backend.domain.configuration import DeployConfiguration

# After a longer time without a reading nobody knows what was in between.
MAX_GAP_SECONDS = 15.0


@dataclass(frozen=True)
class Reading:
    """Requests at the gateway at a moment, in seconds of the database's clock."""

    at: float
    running: int
    waiting: int

    @property
    def requests(self) -> int:
        """All of them."""
        return self.running + self.waiting


@dataclass(frozen=True)
class Policy:
    """Between which bounds is scaled, for how many requests each, and after which delays (s)."""

    least: int
    most: int
    requests_per_replica: int
    up_delay: float
    down_delay: float

    @classmethod
    def of(cls, configuration: DeployConfiguration, least: int, most: int) -> Policy:
        """What the configuration asks for: a replica for each full batch, within these bounds."""
        scaling = configuration.scaling
        return cls(
            least=least,
            most=most,
            requests_per_replica=configuration.parameters.batch_size,
            up_delay=scaling.scale_up_delay_seconds,
            down_delay=scaling.scale_down_delay_seconds,
        )

    def needed(self, reading: Reading) -> int:
        """The replicas that bear so many requests, within the bounds."""
        full = -(-reading.requests // self.requests_per_replica)
        return max(self.least, min(self.most, full))


@dataclass(frozen=True)
class Decision:
    """Another number of replicas, and what led to it."""

    replicas: int
    running: int
    waiting: int
    sustained_seconds: float
    reason: str


class Autoscaler:
    """Watches one revision's readings."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._least = _Extreme(policy.up_delay, lambda new, old: new <= old)
        self._most = _Extreme(policy.down_delay, lambda new, old: new >= old)
        self._since: float | None = None
        self._last = 0.0

    def decide(self, reading: Reading, wanted: int) -> Decision | None:
        """What this reading changes about the wanted number; readings come in order of time."""
        if self._since is None or reading.at - self._last > MAX_GAP_SECONDS:
            self._watch_from(reading)
        else:
            self._add(reading)
        self._last = reading.at
        decision = self._decide(reading, wanted, reading.at - (self._since or 0.0))
        if decision is not None:
            self._watch_from(reading)
        return decision

    def _decide(self, reading: Reading, wanted: int, watched: float) -> Decision | None:
        policy = self._policy
        if wanted == 0 and (needed := policy.needed(reading)):
            return _to(needed, reading, 0.0, "Requests wait, and no replica runs.")
        each = f"each for {policy.requests_per_replica} requests"
        if watched >= policy.up_delay and (least := self._least.value) > wanted:
            reason = f"At least {least} replicas were needed for {policy.up_delay:g} s, {each}."
            return _to(least, reading, policy.up_delay, reason)
        if watched >= policy.down_delay and (most := self._most.value) < wanted:
            reason = f"At most {most} replicas were needed for {policy.down_delay:g} s, {each}."
            if most == 0:
                reason = f"No request has come for {policy.down_delay:g} s."
            return _to(most, reading, policy.down_delay, reason)
        return None

    def _watch_from(self, reading: Reading) -> None:
        self._since = reading.at
        self._least.clear()
        self._most.clear()
        self._add(reading)

    def _add(self, reading: Reading) -> None:
        needed = self._policy.needed(reading)
        self._least.add(reading.at, needed)
        self._most.add(reading.at, needed)


class _Extreme:
    """The least or the most of a sliding window; holds no more values than there are numbers."""

    def __init__(self, seconds: float, replaces: Callable[[int, int], bool]) -> None:
        self._seconds = seconds
        self._replaces = replaces
        self._kept: deque[tuple[float, int]] = deque()

    @property
    def value(self) -> int:
        return self._kept[0][1]

    def add(self, at: float, value: int) -> None:
        while self._kept and self._replaces(value, self._kept[-1][1]):
            self._kept.pop()
        self._kept.append((at, value))
        while self._kept[0][0] < at - self._seconds:
            self._kept.popleft()

    def clear(self) -> None:
        self._kept.clear()


def _to(replicas: int, reading: Reading, sustained: float, reason: str) -> Decision:
    return Decision(replicas, reading.running, reading.waiting, sustained, reason)
