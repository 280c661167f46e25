"""Processes that project come and go under load: what is shown never goes back."""

from __future__ import annotations

import random
import signal
import threading
from collections import defaultdict
from contextlib import ExitStack
from functools import partial
from uuid import UUID

import psycopg
import pytest

from backend.application.commands import CommandContext
from projections.service import prepare
from tests.projections.contents import all_contents
from tests.projections.replaying import has_everything, replayed
from tests.relay.conftest import Line
from tests.rig.roles import RoleProcess
from tests.rig.waiting import eventually

SEED = 6151
STEP = 150
VERSIONS = {
    "gallery.models": "SELECT 'model ' || model_id AS name, version FROM gallery.models",
    "deployments": "SELECT 'deployment ' || model_id AS name, version FROM deployments.deployments",
    "watermarks": "SELECT 'mark ' || consumer AS name, position AS version "
    "FROM loggia.consumer_watermark",
}


class Load:
    """Somebody who imports models and edits them, without a pause."""

    def __init__(self, line: Line, dice: random.Random) -> None:
        self._line = line
        self._dice = dice
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _work(self) -> None:
        model_ids: list[UUID] = []
        context = CommandContext(actor="user:ada")
        while not self._stop.wait(0.002):
            if len(model_ids) < 30:
                model_ids.append(self._line.importer.import_model(f"load{len(model_ids)}"))
            chosen = self._dice.choice(model_ids)
            text = f"edit {self._dice.random()}"
            self._line.models.edit_configuration(context, chosen, description=text)


class Onlooker:
    """Looks at the read models all the time, and remembers whatever was newer before."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._seen: dict[str, int] = defaultdict(int)
        self.looks = 0
        self.went_back: list[str] = []

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    def _look(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.wait(0.005):
                for query in VERSIONS.values():
                    for name, version in connection.execute(query.encode()).fetchall():
                        if version < self._seen[name]:
                            self.went_back.append(f"{name}: {version} after {self._seen[name]}")
                        self._seen[name] = version
                self.looks += 1


def has_moved_on(line: Line, since: int) -> bool:
    """Whether both the store and the gallery are well behind a position."""
    return min(line.feed.last_position(), line.watermark("gallery")) >= since + STEP


@pytest.fixture
def dice() -> random.Random:
    print(f"seed {SEED}")
    return random.Random(SEED)


def test_two_members_become_three_and_one_and_nothing_goes_back(
    line: Line, dice: random.Random
) -> None:
    with ExitStack() as stack:

        def join() -> RoleProcess:
            member = RoleProcess(line.settings, "project").start()
            stack.callback(member.kill)
            return member

        def move_on(what: str) -> None:
            since = max(line.feed.last_position(), line.watermark("gallery"))
            eventually(partial(has_moved_on, line, since), what, seconds=60)

        prepare(line.settings, threading.Event())
        line.relay()
        # The first is ready when every projection is its own.
        owner = join().wait_until_ready()
        others = [join()]
        onlooker = stack.enter_context(Onlooker(line.settings.dsn))
        with Load(line, dice):
            move_on("two members project")
            others.append(join())
            move_on("three members project")

            dice.shuffle(others)
            killed, left = others
            # It stays frozen with what it has read in hand; the others go on without it.
            owner.send(signal.SIGSTOP)
            move_on("the frozen one is replaced")
            killed.kill()
            move_on("one member is left")
            owner.send(signal.SIGCONT)
            move_on("the frozen one is awake again")
            owner.kill()
            move_on("one member projects")
        eventually(lambda: has_everything(line), "nothing is left to project", seconds=60)
        assert left.process is not None
        assert left.process.poll() is None
        assert all_contents(line.pool) == replayed(line)
        assert onlooker.looks > 100
        assert onlooker.went_back == []
