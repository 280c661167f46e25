"""Whatever happens to relays and broker, in whatever order: the topic tells every event."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path

from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as seeded
from hypothesis import settings as examples
from hypothesis import strategies as st

from backend.infra.settings import Settings
from tests.builders.histories import History, write
from tests.relay.conftest import Ledger, Line
from tests.relay.topic import assert_whole
from tests.rig.proxy import LossyBroker
from tests.rig.roles import RoleProcess
from tests.rig.servers import PostgresServer
from tests.rig.waiting import eventually

EXAMPLES = 5
EVENTS = 400

APPEND = st.tuples(st.just("append"), st.integers(1, EVENTS))
KILL = st.tuples(st.just("kill"), st.integers(0, 1))
# The number is how often the step is passed before the relay dies at it.
DIE = st.tuples(
    st.sampled_from(["relay.before_send", "relay.sent", "relay.before_position"]),
    st.integers(1, 3),
)
CUT = st.tuples(st.just("cut"), st.integers(1, 3))
EMPTY = st.tuples(st.just("empty"), st.just(0))
SECOND = st.tuples(st.sampled_from(["second", "settle"]), st.just(0))
FREEZE = st.tuples(st.sampled_from(["freeze", "wake"]), st.integers(0, 1))
SCHEDULES = st.lists(
    st.one_of(APPEND, DIE, CUT, EMPTY, SECOND, KILL, FREEZE), min_size=3, max_size=6
)


class Trial:
    """One schedule on a database and a broker of its own."""

    def __init__(self, dsn: str, folder: Path, seed: int, stack: ExitStack) -> None:
        self._stack = stack
        self.broker = LossyBroker(folder / "broker.log")
        stack.callback(self.broker.kill)
        self.broker.start()
        settings = Settings(
            _env_file=None,
            data_dir=folder,
            postgres_dsn=dsn,
            kafka_bootstrap_servers=self.broker.bootstrap_servers,
        )
        self.line = Line(settings, stack)
        self.ledger = Ledger(self.line)
        self.history = History(seed)
        self.relays: list[RoleProcess] = []
        self.last = 0

    def go(self, schedule: list[tuple[str, int]]) -> None:
        """Does what the schedule says, and then lets one healthy relay come to the end."""
        self.append(EVENTS)
        self.line.consume("ledger", self.ledger.handle)
        self.settle()
        for step, number in schedule:
            self.step(step, number)
            # Each fault meets work that is under way, or leaves some to the next one.
            self.append(20)
        for process in self.relays:
            process.kill()
        self.append(1)
        self.settle()
        self.ledger.assert_complete()
        assert_whole(self.line.settings, self.last)

    def settle(self) -> None:
        """Everything arrives, by a relay that is well."""
        self.relay()
        eventually(self.line.caught_up, "the consumer has everything", seconds=60)

    def step(self, step: str, number: int) -> None:
        if step == "append":
            self.append(number)
        elif step == "cut":
            self.broker.proxy.cut(number)
            self.append(number)
        elif step == "empty":
            self.broker.restart()
        elif step == "second":
            self.relay()
        elif step == "settle":
            self.settle()
        elif step == "kill":
            for process in self.relays[number:]:
                process.kill()
            del self.relays[number:]
        elif step in {"freeze", "wake"}:
            for process in self.relays[number : number + 1]:
                process.send(signal.SIGSTOP if step == "freeze" else signal.SIGCONT)
        else:
            self.die_at(step, number)

    def append(self, events: int) -> None:
        self.last = write(self.line.store, self.history.domain(events), after=self.last)

    def relay(self, failpoints: str = "") -> RoleProcess:
        process = RoleProcess(self.line.settings, "relay", failpoints=failpoints).start()
        self._stack.callback(process.kill)
        self.relays.append(process)
        return process

    def die_at(self, failpoint: str, times: int) -> None:
        """One relay alone comes to this step and no further; another one follows it."""
        for process in self.relays:
            process.kill()
        self.relays.clear()
        dying = self.relay(f"{failpoint}={times}")

        def dies_at_last() -> bool:
            self.append(1)
            return dying.is_dead()

        eventually(dies_at_last, f"the relay comes to {failpoint}", every=0.2)
        assert dying.wait_until_dead() == -signal.SIGKILL
        self.relays.remove(dying)
        self.relay()


def test_any_schedule_of_faults_leaves_every_event_in_order_and_no_hole(
    postgres_server: PostgresServer, tmp_path: Path, seed: int
) -> None:
    @seeded(seed)
    @examples(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        # Shrinking would take longer than reading a schedule of six steps.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schedule=SCHEDULES)
    def hold(schedule: list[tuple[str, int]]) -> None:
        print(schedule)
        dsn = postgres_server.database()
        folder = tmp_path / dsn.rpartition("/")[2]
        folder.mkdir()
        try:
            with ExitStack() as stack:
                Trial(dsn, folder, seed, stack).go(schedule)
        finally:
            postgres_server.drop(dsn)

    hold()
