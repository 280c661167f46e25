"""Workers whose clocks are wrong by minutes: no lease is theirs by their own time."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from backend.application.feed import EventFeed
from backend.infra.settings import Settings
from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery, Worker
from workers.serving.launchers.local import LocalProcesses

TEN_MINUTES = 600


@pytest.mark.parametrize("clock", [TEN_MINUTES, -TEN_MINUTES])
def test_a_worker_with_a_wrong_clock_takes_over_when_the_other_has_ended_and_not_before(
    serving_settings: Settings,
    gallery: Gallery,
    worker: Worker,
    model_id: UUID,
    tmp_path: Path,
    clock: int,
) -> None:
    worker.environment["LOGGIA_JOB_LEASE_SECONDS"] = "8"
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    # Another machine: a worker is the only one of its data directory; the object store is shared.
    elsewhere = serving_settings.model_copy(update={"data_dir": tmp_path / "elsewhere"})
    other = Worker(elsewhere, tmp_path / "other.log")
    other.environment["LOGGIA_JOB_LEASE_SECONDS"] = "8"
    other.environment["LOGGIA_OBJECT_STORE_URL"] = serving_settings.object_store
    try:
        other.start(clock=clock)
        eventually(lambda: announced(gallery) == 2, "the other worker is there")
        gallery.deploy(model_id, {"label": "second"})
        gallery.await_recorded(model_id, "RevisionRetired")
        assert gallery.recorded(model_id, "ReplicaLost") == []
        assert len(gallery.recorded(model_id, "ReplicaStarted")) == 2, "one for each revision"

        worker.kill()
        gallery.await_recorded(model_id, "ReplicaReady", 3, seconds=60)
        assert "given up" in gallery.recorded(model_id, "ReplicaLost")[0]["reason"]
    finally:
        other.terminate()
        engines = LocalProcesses(elsewhere.data)
        for record in list(engines.records()):
            engines.stop(record.replica_id, seconds=2)
    events = EventFeed(gallery.store, gallery.settings.dsn).read(0, 10_000)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    kinds = [event.type for event in events]
    assert kinds.index("RevisionDeployed") < kinds.index("RevisionRetired")


def announced(gallery: Gallery) -> int:
    """How many machines have told of themselves."""
    with gallery.pool.connection() as connection:
        row = connection.execute("SELECT count(*) AS number FROM loggia.machines").fetchone()
    assert row is not None
    return int(row["number"])
