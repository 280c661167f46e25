"""The import worker's process between a real broker, a real relay and a real database."""

from __future__ import annotations

import contextlib
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.application.commands import CommandContext
from backend.application.feed import EventFeed
from backend.application.store import EventStore
from backend.infra.kafka import ensure_topics
from backend.infra.settings import Settings
from backend.relay.relay import Relay
from tests.builders.models import tiny_llama, write_archive
from tests.importing.workplace import Site, open_site
from tests.rig.waiting import eventually
from workers.importing.service import work


@pytest.fixture
def line(settings: Settings) -> Iterator[Site]:
    """Relay and import worker at work on the test's own parts."""
    ensure_topics(settings)
    stop = threading.Event()
    with contextlib.closing(EventStore(settings)) as store, open_site(settings) as site:
        relay = Relay(settings, EventFeed(store, settings.dsn))
        threads = [
            threading.Thread(target=relay.run, args=(stop,)),
            threading.Thread(target=work, args=(settings, stop)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield site
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=30)
                assert not thread.is_alive()


def test_events_bring_an_import_to_its_end_and_back(line: Site, tmp_path: Path) -> None:
    person = CommandContext("user:admin")
    model_id = line.request(write_archive(tmp_path / "tiny.zip", tiny_llama()))
    eventually(lambda: line.model(model_id).state == "ready_to_deploy", "the import ends")
    validated = line.last_event(model_id)
    received: Any = list(line.events.events.get(model_id))[1]
    assert validated.actor == "worker:import"
    assert validated.correlation_id == received.correlation_id
    assert validated.causation_id == received.event_id

    line.models.delete(person, model_id)
    eventually(lambda: line.residue() == {}, "the files of a deleted model are removed")


def test_a_refused_archive_can_be_retried(line: Site, tmp_path: Path) -> None:
    person = CommandContext("user:admin")
    archive = write_archive(
        tmp_path / "broken.zip", {"notes.txt": b"x"}, compression=zipfile.ZIP_STORED
    )
    model_id = line.request(archive)
    eventually(lambda: line.model(model_id).state == "import_failed", "the first try fails")
    line.models.retry_import(person, model_id)
    eventually(
        lambda: line.event_names(model_id).count("ImportFailed") == 2, "the second try fails, too"
    )
    eventually(lambda: list(line.residue()) == ["uploads"], "only the upload is left")
