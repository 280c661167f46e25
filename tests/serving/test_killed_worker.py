"""The worker is killed again and again, at every instant of its work, and everything comes out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from uuid import UUID

import psutil

from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery, Worker

DEPLOY = (
    "revision_prepared:before",
    "revision_prepared:after",
    "add:before",
    "add:after",
    "_write:before",
    "_write:after",
    "start:after",
    "replica_started:before",
    "replica_started:after",
    "announce:after",
    "replica_ready:before",
    "replica_ready:after",
    "mark_ready:after",
    "revision_deployed:before",
    "revision_deployed:after",
)
REPLACE = (
    "mark_draining:before",
    "mark_draining:after",
    "stop:before",
    "stop:after",
    "mark_ended:before",
    "mark_ended:after",
    "revision_retired:before",
    "revision_retired:after",
    "forget:after",
)
CRASH = ("replica_lost:before", "replica_lost:after", "mark_ended:after", "add:after")
FAIL = (
    "replica_lost:after",
    "mark_ended:after",
    "revision_failed:before",
    "revision_failed:after",
    "forget:after",
)
STOP = (
    "mark_draining:after",
    "stop:after",
    "mark_ended:after",
    "forget:before",
    "forget:after",
    "stopped:before",
    "stopped:after",
)


@contextlib.contextmanager
def killed_at(worker: Worker, places: Sequence[str]) -> Iterator[None]:
    """Each worker dies at the next place and is replaced; the last one lives.

    On leaving, every place has been met.
    """
    worker.kill()
    worker.start(die_at=places[0])

    def replace() -> None:
        for place in (*places[1:], None):
            worker.await_death()
            worker.start(die_at=place)

    replacer = threading.Thread(target=replace)
    replacer.start()
    yield
    replacer.join(timeout=60)
    assert not replacer.is_alive(), "the worker never came to one of the places"


def types(gallery: Gallery, model_id: UUID) -> list[str]:
    return [name for name, _ in gallery.events(model_id)]


def doubles_of(gallery: Gallery) -> list[psutil.Process]:
    """Every double of this test that runs, recorded or not."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(gallery.settings.data) in word for word in process.cmdline()):
                found.append(process)
    return found


def test_while_it_deploys(gallery: Gallery, worker: Worker, model_id: UUID) -> None:
    with killed_at(worker, DEPLOY):
        gallery.deploy(model_id)
        gallery.await_state(model_id, "deployed", seconds=90)
    assert types(gallery, model_id) == [
        "TermsAccepted",
        "DeploymentRequested",
        "RevisionPrepared",
        "ReplicaStarted",
        "ReplicaReady",
        "RevisionDeployed",
    ]
    assert len(doubles_of(gallery)) == 1
    gallery.ask(gallery.endpoint(model_id))


def test_while_it_replaces_a_revision(gallery: Gallery, worker: Worker, model_id: UUID) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    with killed_at(worker, REPLACE):
        gallery.deploy(model_id, {"label": "two"})
        gallery.await_recorded(model_id, "RevisionRetired", seconds=90)
    assert types(gallery, model_id)[6:] == [
        "TermsAccepted",
        "DeploymentRequested",
        "RevisionPrepared",
        "ReplicaStarted",
        "ReplicaReady",
        "RevisionDeployed",
        "RevisionRetired",
    ]
    eventually(lambda: len(doubles_of(gallery)) == 1, "only the new engine is left")


def test_while_it_replaces_a_dead_engine(gallery: Gallery, worker: Worker, model_id: UUID) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    with killed_at(worker, CRASH):
        for engine in gallery.engines():
            engine.kill()
        gallery.await_recorded(model_id, "ReplicaReady", 2, seconds=90)
    assert types(gallery, model_id)[6:] == ["ReplicaLost", "ReplicaStarted", "ReplicaReady"]
    assert gallery.deployment(model_id).state == "deployed"
    gallery.ask(gallery.endpoint(model_id))


def test_while_it_fails_a_revision(gallery: Gallery, worker: Worker, model_id: UUID) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    with killed_at(worker, FAIL):
        gallery.deploy(model_id, {"mode": "die-at-load"})
        gallery.await_state(model_id, "failed", seconds=90)
    assert types(gallery, model_id)[6:] == [
        "TermsAccepted",
        "DeploymentRequested",
        "RevisionPrepared",
        "ReplicaStarted",
        "ReplicaLost",
        "RevisionFailed",
    ]
    gallery.ask(str(gallery.recorded(model_id, "ReplicaReady")[0]["endpoint"]))


def test_while_it_stops(gallery: Gallery, worker: Worker, model_id: UUID) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    with killed_at(worker, STOP):
        gallery.stop(model_id)
        gallery.await_state(model_id, "stopped", seconds=90)
    assert types(gallery, model_id)[6:] == ["DeploymentStopRequested", "DeploymentStopped"]
    assert doubles_of(gallery) == []
