"""A gallery as the gateway sees it, made by the real commands on the real event store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from backend.application.api_keys import ApiKeys
from backend.application.commands import Accepted, CommandContext, CommandRunner
from backend.application.deployments import Deployments
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain import terms
from backend.domain.configuration import DeployConfiguration
from backend.domain.model import ImportRequest
from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from backend.infra.uploads import Uploads

CONTEXT = CommandContext(actor="user:ada")


@dataclass
class Gallery:
    """Makes models, deployments and keys, as people and the deploy worker do."""

    uploads: Uploads
    models: Models
    deployments: Deployments
    keys: ApiKeys

    def model(self, name: str) -> UUID:
        """A model that is ready to deploy."""
        upload_id = uuid4()
        self.uploads.create(
            upload_id,
            owner=CONTEXT.actor,
            file_name=f"{name}.zip",
            size_bytes=10,
            expiry_hours=1,
        )
        model_id = self.models.request_import(
            CONTEXT,
            ImportRequest(file_name=f"{name}.zip", upload_id=upload_id, size_bytes=10),
            complete=True,
        ).id
        self.models.record_files_stored(
            CONTEXT,
            model_id,
            "0.0.1",
            manifest_uri="file:///manifest.json",
            manifest_sha256="0" * 64,
            file_count=1,
            total_bytes=10,
            fence=_unfenced,
        )
        self.models.record_validated(
            CONTEXT, model_id, "0.0.1", report={"checks": []}, card={}, fence=_unfenced
        )
        return model_id

    def deploy(self, model_id: UUID, *endpoints: str, **parameters: Any) -> int:
        """A new revision that serves at these endpoints; its number."""
        configuration = DeployConfiguration().to_dict()
        configuration["parameters"].update(parameters)
        revision: int = self.deployments.request(
            CONTEXT,
            model_id,
            configuration=configuration,
            terms_version=terms.VERSION,
            terms_accepted=True,
        ).result["revision"]
        for endpoint in endpoints:
            self.replica(model_id, revision, endpoint)
        self.deployments.record_revision_deployed(CONTEXT, model_id, revision=revision)
        return revision

    def replica(self, model_id: UUID, revision: int, endpoint: str) -> UUID:
        """A replica that has become ready."""
        replica_id = uuid4()
        self.deployments.record_replica_started(
            CONTEXT,
            model_id,
            revision=revision,
            replica_id=replica_id,
            server="local",
            engine="vllm",
            engine_version="double",
        )
        self.deployments.record_replica_ready(
            CONTEXT,
            model_id,
            revision=revision,
            replica_id=replica_id,
            endpoint=endpoint,
            startup_seconds=1.0,
        )
        return replica_id

    def key(self, model_id: UUID, **limits: Any) -> Accepted:
        """A key; its secret stands in the answer."""
        return self.keys.create(CONTEXT, model_id, name="test", **limits)

    def revoke(self, model_id: UUID, key_id: UUID) -> None:
        self.keys.revoke(CONTEXT, model_id, key_id)


@contextmanager
def gallery(settings: Settings) -> Iterator[Gallery]:
    """A gallery in the database of these settings."""
    store = EventStore(settings)
    try:
        with open_pool(settings) as pool:
            runner = CommandRunner(store, settings.secret_key)
            yield Gallery(Uploads(pool), Models(runner), Deployments(runner), ApiKeys(runner))
    finally:
        store.close()


def _unfenced(_: Any) -> None:
    """The double of a job's claim: always held."""
