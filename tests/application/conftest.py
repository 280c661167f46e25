from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from backend.application.commands import CommandContext, CommandRunner
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.model import ImportRequest
from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings
from backend.infra.uploads import Uploads


@pytest.fixture
def pool(settings: Settings) -> Iterator[Pool]:
    with open_pool(settings) as pool:
        yield pool


@pytest.fixture
def store(settings: Settings) -> Iterator[EventStore]:
    store = EventStore(settings)
    yield store
    store.close()


@pytest.fixture
def runner(store: EventStore, settings: Settings) -> CommandRunner:
    return CommandRunner(store, settings.secret_key)


@pytest.fixture
def models(runner: CommandRunner) -> Models:
    return Models(runner)


class Importer:
    """Requests imports of uploads that exist."""

    def __init__(self, models: Models, uploads: Uploads) -> None:
        self.models = models
        self.uploads = uploads

    def upload(self, file_name: str = "tiny.zip") -> UUID:
        upload_id = uuid4()
        self.uploads.create(
            upload_id, owner="user:ada", file_name=file_name, size_bytes=10, expiry_hours=1
        )
        return upload_id

    def import_model(self, name: str = "tiny", context: CommandContext | None = None) -> UUID:
        return self.models.request_import(
            context or CommandContext(actor="user:ada"),
            ImportRequest(
                file_name=f"{name}.zip", upload_id=self.upload(f"{name}.zip"), size_bytes=10
            ),
            complete=True,
        ).id


@pytest.fixture
def importer(models: Models, pool: Pool) -> Importer:
    return Importer(models, Uploads(pool))
