"""The events of a model: what each changes about the aggregate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from backend.domain.events import Aggregate
from backend.domain.version import ModelState, Version

if TYPE_CHECKING:
    from backend.domain.model import Model

JSON = dict[str, Any]


class VersionEvent(Aggregate.Event):
    """An event about one version of a model."""

    model_id: UUID
    version: str

    def of(self, aggregate: Model) -> Version:
        """The version that the event is about."""
        return aggregate.versions[self.version]


class Created(Aggregate.Created):
    TOPIC = "ModelImportRequested"
    class_version = 2
    model_id: UUID
    name: str
    kind: str
    source: str
    version: str
    file_name: str
    upload_id: UUID | None
    size_bytes: int
    base_model_id: UUID | None
    # None where it is the same as the name.
    technical_name: str | None
    # None for an upload.
    origin: JSON | None
    labels: list[str]
    description: str
    documentation_links: list[str]
    batch_id: UUID | None

    @staticmethod
    def upcast_v1_v2(state: JSON) -> None:
        """Version 1 knew uploads only."""
        state.update(
            technical_name=None,
            origin=None,
            labels=[],
            description="",
            documentation_links=[],
            batch_id=None,
        )


class VersionRequested(VersionEvent):
    TOPIC = "ModelVersionRequested"
    source: str
    origin: JSON | None
    file_name: str
    upload_id: UUID | None
    size_bytes: int
    base_model_id: UUID | None

    def apply(self, aggregate: Model) -> None:
        aggregate.versions[self.version] = Version(
            number=self.version,
            source=self.source,
            origin=self.origin or {},
            file_name=self.file_name,
            upload_id=self.upload_id,
            base_model_id=self.base_model_id,
        )


class CurrentVersionSelected(VersionEvent):
    TOPIC = "ModelCurrentVersionSelected"

    def apply(self, aggregate: Model) -> None:
        aggregate.current_version = self.version


class RiskAccepted(VersionEvent):
    TOPIC = "ModelRiskAccepted"
    risks: list[str]
    reason: str

    def apply(self, aggregate: Model) -> None:
        version = self.of(aggregate)
        version.accepted_risks = sorted({*version.accepted_risks, *self.risks})


class ArchiveReceived(VersionEvent):
    TOPIC = "ModelArchiveReceived"
    upload_id: UUID
    size_bytes: int

    def apply(self, aggregate: Model) -> None:
        self.of(aggregate).archive_received = True


class SourceFetched(VersionEvent):
    TOPIC = "ModelSourceFetched"
    resolved: dict[str, str]
    file_count: int
    total_bytes: int

    def apply(self, aggregate: Model) -> None:
        self.of(aggregate).resolved = self.resolved


class FilesStored(VersionEvent):
    TOPIC = "ModelFilesStored"
    manifest_uri: str
    manifest_sha256: str
    file_count: int
    total_bytes: int

    def apply(self, aggregate: Model) -> None:
        version = self.of(aggregate)
        version.state = ModelState.VALIDATING
        version.manifest_sha256 = self.manifest_sha256
        version.total_bytes = self.total_bytes


class ImageInspected(VersionEvent):
    TOPIC = "ModelImageInspected"
    reference: str
    digest: str
    platform: str
    size_bytes: int
    ports: list[str]
    labels: dict[str, str]

    def apply(self, aggregate: Model) -> None:
        version = self.of(aggregate)
        version.state = ModelState.VALIDATING
        version.image = {
            "reference": self.reference,
            "digest": self.digest,
            "platform": self.platform,
            "ports": self.ports,
        }
        version.total_bytes = self.size_bytes


class Validated(VersionEvent):
    TOPIC = "ModelValidated"
    report: JSON
    card: JSON

    def apply(self, aggregate: Model) -> None:
        version = self.of(aggregate)
        version.state = ModelState.READY
        version.card = self.card
        aggregate.current_version = self.version


class ImportFailed(VersionEvent):
    TOPIC = "ModelImportFailed"
    step: str
    reason: str
    remedy: str
    report: JSON | None

    def apply(self, aggregate: Model) -> None:
        self.of(aggregate).state = ModelState.FAILED


class ImportRetried(VersionEvent):
    TOPIC = "ModelImportRetried"

    def apply(self, aggregate: Model) -> None:
        version = self.of(aggregate)
        version.state = ModelState.IMPORTING
        version.resolved = None
        version.image = None


class ImportCancelled(VersionEvent):
    TOPIC = "ModelImportCancelled"

    def apply(self, aggregate: Model) -> None:
        self.of(aggregate).state = ModelState.FAILED


class ConfigurationEdited(Aggregate.Event):
    TOPIC = "ModelConfigurationEdited"
    model_id: UUID
    description: str
    labels: list[str]
    documentation_links: list[str]

    def apply(self, aggregate: Model) -> None:
        aggregate.description = self.description
        aggregate.labels = self.labels
        aggregate.documentation_links = self.documentation_links


class TemplateUpdated(Aggregate.Event):
    TOPIC = "ModelTemplateUpdated"
    model_id: UUID
    template: str

    def apply(self, aggregate: Model) -> None:
        aggregate.template = self.template


class Published(Aggregate.Event):
    TOPIC = "ModelPublished"
    model_id: UUID

    def apply(self, aggregate: Model) -> None:
        aggregate.publication = "published"


class Withdrawn(Aggregate.Event):
    TOPIC = "ModelWithdrawn"
    model_id: UUID

    def apply(self, aggregate: Model) -> None:
        aggregate.publication = "withdrawn"


class Deleted(Aggregate.Event):
    TOPIC = "ModelDeleted"
    model_id: UUID

    def apply(self, aggregate: Model) -> None:
        aggregate.deleted = True
