"""What engines say stays, whoever reads it, and when the engine has gone."""

from __future__ import annotations

from uuid import UUID

from backend.infra import engine_logs
from backend.infra.postgres import Pool
from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery, Worker


def kept(pool: Pool, model_id: UUID) -> list[str]:
    """Every line that is kept of the model's newest replica."""
    with pool.connection() as connection:
        replicas = engine_logs.replicas(connection, model_id)
        if not replicas:
            return []
        return engine_logs.part(connection, replicas[0].id, 0, engine_logs.KEPT_LINES).lines


def test_the_last_words_of_an_engine_that_died_stay(
    gallery: Gallery, worker: Worker, model_id: UUID, pool: Pool
) -> None:
    worker.start()
    gallery.deploy(model_id, {"mode": "die-at-load"})
    gallery.await_state(model_id, "failed")
    assert any("told to die while it loads" in line for line in kept(pool, model_id))


def test_last_words_with_odd_characters_are_recorded_without_them(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    (record,) = gallery.launcher.records()
    log = gallery.settings.data / "engines" / str(record.replica_id) / "log"
    with log.open("ab") as file:
        file.write(b"a \0 zero, \xff half a character, \xed\xa0\x80 a surrogate\n")
    for engine in gallery.engines():
        engine.kill()
    (lost,) = gallery.await_recorded(model_id, "ReplicaLost")
    replacement = "\N{REPLACEMENT CHARACTER}"
    assert f"a {replacement} zero, {replacement} half a character" in "\n".join(lost["log_tail"])
    gallery.await_recorded(model_id, "ReplicaReady", 2)


def test_a_worker_that_takes_over_keeps_every_line_once(
    gallery: Gallery, worker: Worker, model_id: UUID, pool: Pool
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    worker.kill()
    (record,) = gallery.launcher.records()
    log = gallery.settings.data / "engines" / str(record.replica_id) / "log"
    with log.open("a") as file:
        file.write("said while nobody listened\n")
    worker.start()
    eventually(
        lambda: "said while nobody listened" in kept(pool, model_id), "the new worker caught up"
    )
    lines = kept(pool, model_id)
    assert lines.count("said while nobody listened") == 1
    assert lines == [line for line in log.read_text().splitlines() if line.strip()][: len(lines)]


def test_the_preparation_is_timed_once(gallery: Gallery, worker: Worker, model_id: UUID) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    (prepared,) = gallery.recorded(model_id, "RevisionPrepared")
    assert prepared["revision"] == 1
    assert prepared["environment_seconds"] >= 0
    assert prepared["files_seconds"] >= 0
