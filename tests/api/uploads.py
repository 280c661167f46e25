"""What becomes of an upload, past every interface."""

from __future__ import annotations

from uuid import UUID

from backend.api.services import Services
from backend.application.feed import EventFeed
from backend.contracts.codec import PublicEvent
from backend.infra.uploads import folder, open_upload


def upload_id(location: str) -> UUID:
    """The id of the upload at this address."""
    return UUID(location.rpartition("/")[2])


def stored(services: Services, location: str) -> bytes:
    """What has arrived of an upload."""
    upload = services.uploads.get(upload_id(location))
    assert upload is not None
    with open_upload(services.object_store, upload) as source:
        return source.read()


def parts(services: Services, location: str) -> list[str]:
    """Where the parts of an upload lie."""
    return services.object_store.list(folder(upload_id(location)))


def events_of(services: Services, model_id: str) -> list[PublicEvent]:
    """What the store says of a model."""
    feed = EventFeed(services.store, services.settings.dsn)
    return [event for event in feed.read(0, 500) if event.model_id == model_id]
