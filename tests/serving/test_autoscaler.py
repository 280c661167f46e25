"""The autoscaler's decisions, from readings alone."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from workers.serving.autoscaler import MAX_GAP_SECONDS, Autoscaler, Decision, Policy, Reading

POLICY = Policy(least=1, most=4, requests_per_replica=8, up_delay=30, down_delay=300)


def policies(least: int = 0) -> st.SearchStrategy[Policy]:
    delays = st.integers(0, 60)
    return st.builds(
        lambda low, more, batch, up, down: Policy(low, max(1, low + more), batch, up, down),
        st.integers(least, 3),
        st.integers(0, 4),
        st.integers(1, 16),
        delays,
        delays,
    )


LOADS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 64), st.integers(0, 8)), min_size=1, max_size=12
)


class Watched:
    """An autoscaler that is given a reading each second, and what came of it."""

    def __init__(self, policy: Policy, wanted: int | None = None) -> None:
        self.policy = policy
        self.autoscaler = Autoscaler(policy)
        self.wanted = max(1, policy.least) if wanted is None else wanted
        self.now = 1000.0
        self.readings: list[Reading] = []
        self.decisions: list[tuple[float, int, Decision]] = []

    def hold(self, seconds: int, running: int, waiting: int = 0) -> None:
        for _ in range(seconds):
            reading = Reading(self.now, running, waiting)
            self.readings.append(reading)
            decision = self.autoscaler.decide(reading, self.wanted)
            if decision is not None:
                self.decisions.append((self.now, self.wanted, decision))
                self.wanted = decision.replicas
            self.now += 1

    def needs(self, start: float, end: float) -> list[int]:
        return [self.policy.needed(r) for r in self.readings if start <= r.at <= end]


@given(policies(), LOADS)
def test_every_decision_changes_the_number_within_its_bounds_and_carries_its_numbers(
    policy: Policy, loads: list[tuple[int, int, int]]
) -> None:
    watched = Watched(policy)
    for load in loads:
        watched.hold(*load)
    for at, before, decision in watched.decisions:
        assert policy.least <= decision.replicas <= policy.most
        assert decision.replicas != before
        reading = next(r for r in watched.readings if r.at == at)
        assert (decision.running, decision.waiting) == (reading.running, reading.waiting)
        assert decision.reason


@given(policies(), LOADS)
def test_both_delays_are_honoured(policy: Policy, loads: list[tuple[int, int, int]]) -> None:
    watched = Watched(policy)
    for load in loads:
        watched.hold(*load)
    last = watched.readings[0].at
    for at, before, decision in watched.decisions:
        if decision.replicas > before == 0:
            assert decision.sustained_seconds == 0, "whoever waits at zero waits for no delay"
        elif decision.replicas > before:
            assert at - last >= policy.up_delay == decision.sustained_seconds
            assert min(watched.needs(at - policy.up_delay, at)) == decision.replicas
        else:
            assert at - last >= policy.down_delay == decision.sustained_seconds
            assert max(watched.needs(at - policy.down_delay, at)) == decision.replicas
        last = at


def test_what_was_needed_at_a_decision_counts_for_the_next_one() -> None:
    policy = Policy(least=0, most=1, requests_per_replica=1, up_delay=0, down_delay=1)
    watched = Watched(policy, wanted=0)
    watched.hold(1, 1)
    watched.hold(1, 0)
    assert watched.wanted == 1, "a second ago it was needed"
    watched.hold(1, 0)
    assert watched.wanted == 0


@given(policies(), st.integers(0, 200))
def test_a_steady_load_gets_what_it_needs_and_then_nothing_changes(
    policy: Policy, requests: int
) -> None:
    watched = Watched(policy)
    watched.hold(130, requests)
    needed = max(policy.least, min(policy.most, math.ceil(requests / policy.requests_per_replica)))
    assert watched.wanted == needed
    assert len(watched.decisions) <= 1


@given(
    policies(),
    st.integers(0, 64),
    st.integers(0, 64),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_a_square_wave_that_is_faster_than_the_delays_changes_nothing_after_its_first_wave(
    policy: Policy, low: int, high: int, low_seconds: int, high_seconds: int
) -> None:
    if low_seconds > policy.down_delay or policy.down_delay == 0:
        return
    watched = Watched(policy)
    for _ in range(12):
        watched.hold(high_seconds, max(low, high))
        watched.hold(low_seconds, min(low, high))
    ups = [d for _, before, d in watched.decisions if d.replicas > before]
    assert len(ups) <= 1, "it goes up once, if at all"
    settled = watched.readings[0].at + 2 * (low_seconds + high_seconds) + policy.down_delay
    assert [at for at, *_ in watched.decisions if at > settled + policy.up_delay] == []


@given(policies(), st.integers(1, 64))
def test_a_slow_square_wave_is_followed_with_two_decisions_a_wave_at_most(
    policy: Policy, high: int
) -> None:
    watched = Watched(policy)
    waves = 6
    for _ in range(waves):
        watched.hold(130, high)
        watched.hold(130, 0)
    assert len(watched.decisions) <= 2 * waves


def test_a_request_at_zero_replicas_wants_one_at_once() -> None:
    watched = Watched(Policy(0, 4, 8, up_delay=3600, down_delay=300), wanted=0)
    watched.hold(100, 0)
    assert watched.decisions == []
    watched.hold(1, 0, waiting=9)
    ((_, before, decision),) = watched.decisions
    assert (before, decision.replicas, decision.waiting) == (0, 2, 9)


def test_nobody_asking_for_the_scale_down_delay_leads_to_zero() -> None:
    watched = Watched(Policy(0, 4, 8, up_delay=30, down_delay=300))
    watched.hold(200, 0)
    watched.hold(1, 1)
    watched.hold(300, 0)
    assert watched.wanted == 1, "one request within the delay counts"
    watched.hold(1, 0)
    assert watched.wanted == 0


def test_a_time_without_readings_begins_the_watch_anew() -> None:
    watched = Watched(POLICY)
    watched.hold(30, 32)
    watched.now += MAX_GAP_SECONDS
    watched.hold(30, 32)
    assert watched.decisions == []
    watched.hold(1, 32)
    assert watched.wanted == 4


def test_readings_may_come_at_any_pace() -> None:
    autoscaler = Autoscaler(POLICY)
    times = [0.0, 0.25, 10, 22, 29.9, 30.0]
    decisions = [autoscaler.decide(Reading(at, 20, 0), 1) for at in times]
    assert [d.replicas if d else None for d in decisions] == [None] * 5 + [3]
