"""Replicas follow the load, on real processes: doubles under the real worker and gateway."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

from backend.infra.demand import Demand, write_demand
from backend.infra.postgres import Pool
from tests.rig.waiting import eventually
from tests.serving.conftest import JSON, Gallery, Worker
from tests.serving.load import Clients
from tests.serving.test_killed_worker import doubles_of, killed_at, types

SWIFT: JSON = {
    "min_replicas": 1,
    "max_replicas": 2,
    "scale_up_delay_seconds": 1,
    "scale_down_delay_seconds": 2,
}
FROM_ZERO: JSON = {**SWIFT, "min_replicas": 0}
SMALL_BATCHES: JSON = {"batch_size": 2}


@contextmanager
def demanded(pool: Pool, model_id: UUID, running: int) -> Iterator[None]:
    """So many requests at a gateway, as it would tell every second."""
    over = threading.Event()
    gateway = uuid4()

    def tell() -> None:
        while not over.wait(0.5):
            write(running)

    def write(count: int) -> None:
        with pool.connection() as connection:
            write_demand(connection, gateway, {str(model_id): Demand(count, 0)}, [])

    write(running)
    telling = threading.Thread(target=tell)
    telling.start()
    try:
        yield
    finally:
        over.set()
        telling.join(timeout=10)
        write(0)


def decisions(gallery: Gallery, model_id: UUID) -> list[tuple[int, int]]:
    return [
        (facts["from_replicas"], facts["to_replicas"])
        for facts in gallery.recorded(model_id, "DeploymentScaled")
    ]


def test_load_brings_a_second_replica_and_its_end_retires_the_newest(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, scaling=SWIFT, parameters=SMALL_BATCHES)
    gallery.await_state(model_id, "deployed")
    first = gallery.recorded(model_id, "ReplicaReady")[0]["replica_id"]
    with Clients(worker.start_gateway(), gallery.key(model_id)) as clients:
        clients.be(4)
        gallery.await_recorded(model_id, "ReplicaReady", 2)
        clients.wait_for_more()
        clients.be(1)
        (retired,) = gallery.await_recorded(model_id, "ReplicaRetired")
        eventually(lambda: len(gallery.engines()) == 1, "the retired engine has ended")
        clients.wait_for_more()
    assert clients.failures == []
    assert retired["replica_id"] != first
    assert decisions(gallery, model_id) == [(1, 2), (2, 1)]
    up, down = gallery.recorded(model_id, "DeploymentScaled")
    assert up["running"] in {3, 4}
    assert (up["sustained_seconds"], down["sustained_seconds"]) == (1, 2)
    assert gallery.recorded(model_id, "ReplicaLost") == []


def test_a_model_that_nobody_asks_for_ends_its_engines_and_the_next_request_starts_one(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"load_seconds": "1"}, scaling=FROM_ZERO, parameters=SMALL_BATCHES)
    gallery.await_state(model_id, "deployed")
    gallery.await_recorded(model_id, "ReplicaRetired")
    eventually(lambda: gallery.engines() == [], "nothing runs")
    assert gallery.deployment(model_id).state == "deployed"
    with Clients(worker.start_gateway(), gallery.key(model_id)) as clients:
        clients.be(4)
        clients.wait_for_more(20)
    assert clients.failures == []
    assert decisions(gallery, model_id)[0] == (1, 0)
    waited = gallery.recorded(model_id, "DeploymentScaled")[1]
    assert (waited["from_replicas"], waited["running"]) == (0, 0)
    assert waited["waiting"] >= 1


def test_a_swinging_load_changes_nothing(
    gallery: Gallery, worker: Worker, model_id: UUID, pool: Pool
) -> None:
    worker.start()
    gallery.deploy(model_id, scaling=SWIFT, parameters=SMALL_BATCHES)
    gallery.await_state(model_id, "deployed")
    with demanded(pool, model_id, running=4):
        gallery.await_recorded(model_id, "ReplicaReady", 2)
    for _ in range(4):
        with demanded(pool, model_id, running=4):
            threading.Event().wait(1)
    assert decisions(gallery, model_id) == [(1, 2)]


def test_a_second_replica_that_finds_no_room_harms_nobody(
    gallery: Gallery, worker: Worker, model_id: UUID, pool: Pool
) -> None:
    worker.start()
    gallery.deploy(model_id, {"only_one": "true"}, scaling=SWIFT, parameters=SMALL_BATCHES)
    gallery.await_state(model_id, "deployed")
    with demanded(pool, model_id, running=4):
        lost = gallery.await_recorded(model_id, "ReplicaLost", 4)
        assert all(facts["exit_code"] == 4 for facts in lost)
        gallery.ask(gallery.endpoint(model_id))
    assert gallery.deployment(model_id).state == "deployed"
    assert len(gallery.recorded(model_id, "ReplicaReady")) == 1


def test_a_redeployment_begins_with_as_many_replicas_as_serve(
    gallery: Gallery, worker: Worker, model_id: UUID, pool: Pool
) -> None:
    worker.start()
    gallery.deploy(model_id, scaling=SWIFT, parameters=SMALL_BATCHES)
    gallery.await_state(model_id, "deployed")
    with demanded(pool, model_id, running=4):
        gallery.await_recorded(model_id, "ReplicaReady", 2)
        gallery.deploy(model_id, {"label": "two"}, scaling=SWIFT, parameters=SMALL_BATCHES)
        gallery.await_recorded(model_id, "RevisionRetired")
    ready = [facts["revision"] for facts in gallery.recorded(model_id, "ReplicaReady")]
    assert ready == [1, 1, 2, 2]
    assert [facts["revision"] for facts in gallery.recorded(model_id, "DeploymentScaled")] == [1]


def test_no_log_quotes_a_key_or_a_prompt_when_engines_die(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    key = gallery.key(model_id)
    body = {"model": "tiny", "prompt": "my secret prompt", "max_tokens": 20}
    with Clients(worker.start_gateway(), key, body=body) as clients:
        clients.be(2)
        for count in (2, 3):
            clients.wait_for_more(2)
            (engine,) = gallery.engines()
            engine.kill()
            gallery.await_recorded(model_id, "ReplicaReady", count)
    assert set(clients.failures) <= {"502"}
    logs = [worker.log, *(gallery.settings.data / "engines").glob("*/log")]
    written = "".join(log.read_text() for log in logs)
    assert "engine did not answer" in written
    assert key not in written
    assert "secret prompt" not in written


SCALE_UP = ("scaled:before", "scaled:after", "add:before", "add:after", "replica_ready:before")
SCALE_DOWN = (
    "scaled:before",
    "scaled:after",
    "replica_retired:before",
    "replica_retired:after",
    "mark_draining:after",
    "stop:before",
    "stop:after",
    "mark_ended:before",
    "mark_ended:after",
)


def test_a_worker_killed_at_any_instant_of_scaling_is_continued(
    gallery: Gallery, worker: Worker, model_id: UUID, pool: Pool
) -> None:
    worker.start()
    gallery.deploy(model_id, scaling=SWIFT, parameters=SMALL_BATCHES)
    gallery.await_state(model_id, "deployed")
    with demanded(pool, model_id, running=4), killed_at(worker, SCALE_UP):
        gallery.await_recorded(model_id, "ReplicaReady", 2, seconds=90)
    with killed_at(worker, SCALE_DOWN):
        gallery.await_recorded(model_id, "ReplicaRetired", seconds=90)
    eventually(lambda: len(doubles_of(gallery)) == 1, "one engine is left")
    assert types(gallery, model_id)[5:] == [
        "DeploymentScaled",
        "ReplicaStarted",
        "ReplicaReady",
        "DeploymentScaled",
        "ReplicaRetired",
    ]


def test_the_engine_the_worker_and_both_are_killed_under_load(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, scaling={"min_replicas": 2, "max_replicas": 2})
    gallery.await_state(model_id, "deployed")
    with Clients(worker.start_gateway(), gallery.key(model_id)) as clients:
        clients.be(4)
        clients.wait_for_more()

        def kill_engine() -> None:
            os.kill(gallery.engines()[0].pid, signal.SIGKILL)

        def kill_worker() -> None:
            assert worker.process is not None
            worker.process.kill()
            worker.await_death()

        ready = 2
        for kill in ((kill_engine,), (kill_worker,), (kill_worker, kill_engine)):
            for blow in kill:
                blow()
            if kill_worker in kill:
                clients.wait_for_more()
                worker.start()
            ready += kill_engine in kill
            gallery.await_recorded(model_id, "ReplicaReady", ready)
            clients.wait_for_more()
    assert clients.failures == [], "the other replica answers what the dead one had not begun"
    assert len(gallery.recorded(model_id, "ReplicaLost")) == 2
    eventually(lambda: len(gallery.engines()) == 2, "both run again")
