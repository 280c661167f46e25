"""What the worker clears away, and what it must not."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.application.feed import EventFeed
from backend.domain.model import Model
from backend.infra.postgres import Pool
from tests.serving.conftest import Gallery
from workers.serving.launchers.local import LocalProcesses, RunRecord
from workers.serving.targets import note_events
from workers.serving.worker import ServingWorker


def test_files_that_are_wanted_while_lost_engines_are_ended_stay(
    gallery: Gallery, pool: Pool, model_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = gallery.store.load(Model, model_id).versions["0.0.1"].manifest_sha256
    assert digest is not None
    folder = gallery.settings.data / "engines" / "files" / digest

    def deploy_meanwhile(*_: Any) -> None:
        gallery.deploy(model_id)
        with pool.connection() as connection, connection.transaction():
            events = EventFeed(gallery.store, gallery.settings.dsn).read(0, 1000)
            note_events(connection.cursor(), events)
        folder.mkdir(parents=True)

    stop = threading.Event()
    stop.set()
    with monkeypatch.context() as patch:
        lost = RunRecord(0, 0.0, uuid4(), uuid4(), uuid4(), 1, 0)
        patch.setattr(LocalProcesses, "records", lambda _: [lost])
        patch.setattr(LocalProcesses, "stop", deploy_meanwhile)
        ServingWorker(gallery.settings, pool, {}).run(stop)
    assert folder.is_dir()
