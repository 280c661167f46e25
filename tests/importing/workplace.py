"""An import worker's surroundings on a real database and a real object store."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from backend.application.commands import CommandContext
from backend.application.store import EventStore
from backend.domain.model import ImportRequest, Model
from backend.infra.jobs import enqueue, request_cancellation
from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from backend.infra.stored_bytes import IMPORT
from backend.infra.telemetry import Telemetry
from backend.infra.uploads import Part, part_path
from workers.importing.collector import Collector, Found
from workers.importing.executor import Executor
from workers.importing.residue import CLEANUP
from workers.importing.service import workplace


class RecordedTelemetry:
    """Keeps readings instead of sending them, and lets a test act at one."""

    def __init__(self) -> None:
        self.readings: list[Telemetry] = []
        self.watch: Callable[[Telemetry], None] = lambda _: None

    def publish(self, reading: Telemetry) -> None:
        self.readings.append(reading)
        self.watch(reading)


def at_reading(step: str, number: int, act: Callable[[], object]) -> Callable[[Telemetry], None]:
    """Acts once, at the given reading of a step."""
    seen = 0

    def watch(reading: Telemetry) -> None:
        nonlocal seen
        seen += reading.step == step
        if reading.step == step and seen == number:
            act()

    return watch


class Site:
    """A workplace, and what a person and the dispatcher do around it."""

    def __init__(self, settings: Settings, *, stop: threading.Event | None = None) -> None:
        self.settings = settings
        self.pool = open_pool(settings, size=6)
        self.events = EventStore(settings)
        self.telemetry = RecordedTelemetry()
        self.stop = stop or threading.Event()
        self.place = workplace(settings, self.pool, self.events, self.telemetry)  # type: ignore[arg-type]
        self.jobs = self.place.jobs
        self.uploads = self.place.uploads
        self.models = self.place.models
        self.store = self.place.store

    def close(self) -> None:
        self.stop.set()
        self.events.close()
        self.pool.close()

    @property
    def executor(self) -> Executor:
        return Executor(self.place, dsn=self.settings.dsn, stop=self.stop)

    def run_one(self) -> bool:
        """What one executor thread does when it finds a job."""
        return self.executor.run_one("test")

    def upload(self, archive: Path, *, parts: int = 3) -> UUID:
        """Stores the file's bytes as an upload in several parts, as the API does."""
        data = archive.read_bytes()
        upload_id = uuid4()
        self.uploads.create(
            upload_id, owner="admin", file_name=archive.name, size_bytes=len(data), expiry_hours=1
        )
        step = max(1, -(-len(data) // parts))
        for offset in range(0, len(data), step):
            piece = data[offset : offset + step]
            self.store.put(part_path(upload_id, offset), [piece])
            self.uploads.add_part(upload_id, Part(offset, len(piece)), expiry_hours=1)
        return upload_id

    def request(self, archive: Path, *, name: str | None = None, complete: bool = True) -> UUID:
        """Requests the import of an archive; returns the model's id. No job is made yet."""
        upload_id = self.upload(archive)
        answer = self.models.request_import(
            CommandContext("user:admin"),
            ImportRequest(
                file_name=name or archive.name,
                upload_id=upload_id,
                size_bytes=archive.stat().st_size,
            ),
            complete=complete,
        )
        return answer.id

    def request_from_path(self, directory: Path, *, mode: str = "copy") -> UUID:
        """An import of a directory that waits for a worker."""
        origin = {"path": {"path": str(directory), "mode": mode, "template": None}}
        model_id = self.models.request_import(
            CommandContext("user:admin"),
            ImportRequest(source="path", origin=origin, name=uuid4().hex),
        ).id
        self.enqueue(model_id)
        return model_id

    def enqueue(self, model_id: UUID, *, kind: str = IMPORT) -> UUID:
        """Makes the job that the dispatcher makes of the model's last event."""
        job_id = uuid4()
        with self.pool.connection() as connection, connection.transaction():
            row = connection.execute(
                "SELECT max(notification_id) AS position FROM loggia.loggia_events "
                "WHERE originator_id = %s",
                (model_id,),
            ).fetchone()
            assert row is not None
            enqueue(
                connection.cursor(),
                kind=kind,
                job_id=job_id,
                model_id=model_id,
                payload={
                    "event_id": str(uuid4()),
                    "correlation_id": str(uuid4()),
                    "position": row["position"],
                    "version": self.model(model_id).latest.number,
                },
            )
        return job_id

    def submit(self, archive: Path, *, name: str | None = None) -> UUID:
        """An import that waits for a worker."""
        model_id = self.request(archive, name=name)
        self.enqueue(model_id)
        return model_id

    def model(self, model_id: UUID) -> Model:
        return self.events.load(Model, model_id)

    def last_event(self, model_id: UUID) -> Any:
        """The newest event of a model, of whichever kind."""
        return list(self.events.events.get(model_id))[-1]

    def event_names(self, model_id: UUID) -> list[str]:
        return [type(event).__name__ for event in self.events.events.get(model_id)]

    def job(self, model_id: UUID) -> dict[str, object]:
        with self.pool.connection() as connection:
            row = connection.execute(
                "SELECT * FROM loggia.jobs WHERE model_id = %s AND kind = %s "
                "ORDER BY created_at DESC LIMIT 1",
                (model_id, IMPORT),
            ).fetchone()
        assert row is not None
        return row

    def cancel(self, model_id: UUID) -> None:
        """What the command and then the dispatcher do."""
        self.models.cancel_import(CommandContext("user:admin"), model_id)
        self.ask_to_stop(model_id)

    def ask_to_stop(self, model_id: UUID) -> None:
        with self.pool.connection() as connection, connection.transaction():
            request_cancellation(connection.cursor(), kind=IMPORT, model_id=model_id)
        self.enqueue(model_id, kind=CLEANUP)

    def retry(self, model_id: UUID) -> None:
        """What the command and then the dispatcher do."""
        self.models.retry_import(CommandContext("user:admin"), model_id)
        self.enqueue(model_id)

    def delete(self, model_id: UUID) -> None:
        """What the command and then the dispatcher do."""
        self.models.delete(CommandContext("user:admin"), model_id)
        self.ask_to_stop(model_id)

    def run_all(self) -> None:
        """Works until no job waits."""
        while self.run_one():
            pass

    def collect(self, *, remove: bool = True, grace_seconds: float = -1) -> dict[str, Found]:
        """What the collector finds; with a grace below zero nothing is too young."""
        collector = Collector(
            self.place, self.settings.dsn, remove=remove, grace_seconds=grace_seconds
        )
        return {found.what: found for found in collector.run()}

    def residue(self) -> dict[str, list[str]]:
        """Everything in the store by folder, without what is empty."""
        folders = ("batches", "blobs", "manifests", "staging", "uploads")
        return {folder: found for folder in folders if (found := self.objects(folder))}

    def objects(self, folder: str) -> list[str]:
        """The files below a folder of the store; none where it is not there."""
        return self.store.list(folder)


@contextmanager
def open_site(settings: Settings, *, stop: threading.Event | None = None) -> Iterator[Site]:
    site = Site(settings, stop=stop)
    try:
        yield site
    finally:
        site.close()


def finished(site: Site, model_id: UUID, files: dict[str, bytes]) -> None:
    """Everything reached its end once, and nothing else is there."""
    assert site.event_names(model_id) == ["Created", "ArchiveReceived", "FilesStored", "Validated"]
    assert site.job(model_id)["state"] == "done"
    assert set(site.collect()) <= {"half-written files"}
    expected = {hashlib.sha256(data).hexdigest() for data in files.values()}
    assert {path.rsplit("/", 1)[1] for path in site.objects("blobs")} == expected
    for path in site.objects("blobs"):
        with site.store.open(path) as source:
            assert hashlib.sha256(source.read()).hexdigest() == path.rsplit("/", 1)[1]
    assert list(site.residue()) == ["blobs", "manifests"]
