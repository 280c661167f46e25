"""The Model aggregate: an entry of the gallery, from its import to its deletion."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from backend.domain import values
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.events import Aggregate, event_header

JSON = dict[str, Any]


class ModelState(StrEnum):
    """Where the model's version stands on its way in."""

    IMPORTING = "importing"
    VALIDATING = "validating"
    READY = "ready_to_deploy"
    FAILED = "import_failed"
    DELETED = "deleted"


class Model(Aggregate):
    """Keeps the lifecycle, the naming and the publication rules of one model."""

    TOPIC = "Model"

    class Created(Aggregate.Created):
        TOPIC = "ModelImportRequested"
        model_id: UUID
        name: str
        kind: str
        source: str
        version: str
        file_name: str
        upload_id: UUID
        size_bytes: int
        base_model_id: UUID | None

    class ArchiveReceived(Aggregate.Event):
        TOPIC = "ModelArchiveReceived"
        model_id: UUID
        version: str
        upload_id: UUID
        size_bytes: int

        def apply(self, aggregate: Model) -> None:
            aggregate.archive_received = True

    class FilesStored(Aggregate.Event):
        TOPIC = "ModelFilesStored"
        model_id: UUID
        version: str
        manifest_uri: str
        manifest_sha256: str
        file_count: int
        total_bytes: int

        def apply(self, aggregate: Model) -> None:
            aggregate.state = ModelState.VALIDATING
            aggregate.manifest_sha256 = self.manifest_sha256
            aggregate.total_bytes = self.total_bytes

    class Validated(Aggregate.Event):
        TOPIC = "ModelValidated"
        model_id: UUID
        version: str
        report: JSON
        card: JSON

        def apply(self, aggregate: Model) -> None:
            aggregate.state = ModelState.READY
            aggregate.card = self.card

    class ImportFailed(Aggregate.Event):
        TOPIC = "ModelImportFailed"
        model_id: UUID
        version: str
        step: str
        reason: str
        remedy: str
        report: JSON | None

        def apply(self, aggregate: Model) -> None:
            aggregate.state = ModelState.FAILED

    class ImportRetried(Aggregate.Event):
        TOPIC = "ModelImportRetried"
        model_id: UUID
        version: str

        def apply(self, aggregate: Model) -> None:
            aggregate.state = ModelState.IMPORTING

    class ImportCancelled(Aggregate.Event):
        TOPIC = "ModelImportCancelled"
        model_id: UUID
        version: str

        def apply(self, aggregate: Model) -> None:
            aggregate.state = ModelState.FAILED

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
            aggregate.state = ModelState.DELETED

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        source: str,
        version: str,
        file_name: str,
        upload_id: UUID,
        base_model_id: UUID | None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.source = source
        self.model_version = version
        self.file_name = file_name
        self.upload_id = upload_id
        self.base_model_id = base_model_id
        self.state = ModelState.IMPORTING
        self.publication = "unpublished"
        self.archive_received = False
        self.manifest_sha256: str | None = None
        self.total_bytes = 0
        self.description = ""
        self.labels: list[str] = []
        self.documentation_links: list[str] = []
        self.card: JSON = {}

    @classmethod
    def request_import(
        cls, *, file_name: str, upload_id: UUID, size_bytes: int, kind: str = "base"
    ) -> Model:
        """A new model, to be imported from an upload. Its name is the file's name.

        Raises `Invalid` where the name or the kind is not acceptable.
        """
        if kind != "base":
            raise Invalid(
                f"Models of kind '{kind}' cannot be imported yet.",
                remedy="Import a base model.",
                field="kind",
            )
        model_id = uuid4()
        return cls._create(
            cls.Created,
            id=model_id,
            model_id=model_id,
            name=values.name_from_file(file_name),
            kind=kind,
            source="upload",
            version=values.FIRST_VERSION,
            file_name=file_name,
            upload_id=upload_id,
            size_bytes=size_bytes,
            base_model_id=None,
            **event_header(),
        )

    def receive_archive(self, size_bytes: int) -> None:
        """All bytes have arrived. Repeating it changes nothing."""
        if self.archive_received or self.state is not ModelState.IMPORTING:
            return
        self._record(self.ArchiveReceived, upload_id=self.upload_id, size_bytes=size_bytes)

    def record_files_stored(
        self, *, manifest_uri: str, manifest_sha256: str, file_count: int, total_bytes: int
    ) -> None:
        """The files lie in the object store; validation begins."""
        if self.state is ModelState.VALIDATING and self.manifest_sha256 == manifest_sha256:
            return
        self._require(ModelState.IMPORTING, "store files of")
        self._record(
            self.FilesStored,
            manifest_uri=manifest_uri,
            manifest_sha256=manifest_sha256,
            file_count=file_count,
            total_bytes=total_bytes,
        )

    def record_validated(self, *, report: JSON, card: JSON) -> None:
        """Every check passed or warned."""
        self._require(ModelState.VALIDATING, "validate")
        self._record(self.Validated, report=report, card=card)

    def record_import_failed(
        self, *, step: str, reason: str, remedy: str, report: JSON | None
    ) -> None:
        """The import ended without a usable model."""
        self._require_underway("fail the import of")
        self._record(self.ImportFailed, step=step, reason=reason, remedy=remedy, report=report)

    def retry_import(self) -> None:
        """Starts the import again from the uploaded archive."""
        self._require(ModelState.FAILED, "retry the import of")
        if not self.archive_received:
            raise NotAllowed(
                "The archive never arrived completely, so there is nothing to retry from.",
                remedy="Delete this model and upload the file again.",
            )
        self._record(self.ImportRetried)

    def cancel_import(self) -> None:
        """Stops an import that is under way."""
        self._require_underway("cancel the import of")
        self._record(self.ImportCancelled)

    def edit_configuration(
        self, *, description: str, labels: list[str], documentation_links: list[str]
    ) -> None:
        """Changes what people read about the model. A running deployment is not touched."""
        self.require_existing()
        facts = {
            "description": values.description(description),
            "labels": values.labels(labels),
            "documentation_links": values.documentation_links(documentation_links),
        }
        if any(getattr(self, field) != value for field, value in facts.items()):
            self.record(self.ConfigurationEdited, model_id=self.id, **facts)

    def publish(self) -> None:
        """Makes the model visible on the marketplace."""
        if self.publication == "published":
            return
        self._require(ModelState.READY, "publish")
        self.record(self.Published, model_id=self.id)

    def withdraw(self) -> None:
        """Hides the model from the marketplace; nothing else changes."""
        self.require_existing()
        if self.publication != "published":
            if self.publication == "withdrawn":
                return
            raise NotAllowed(
                f"'{self.name}' is not on the marketplace.", remedy="Publish it first."
            )
        self.record(self.Withdrawn, model_id=self.id)

    def delete(self, *, ever_deployed: bool) -> None:
        """Removes the model from the gallery; its history stays."""
        self.require_existing()
        if ever_deployed:
            raise NotAllowed(
                f"'{self.name}' has been deployed, so it cannot be deleted.",
                remedy="Stop its deployment, or withdraw it from the marketplace; "
                "redeploy and history stay available.",
            )
        self.record(self.Deleted, model_id=self.id)

    @property
    def state_for_caller(self) -> dict[str, Any]:
        return {
            **super().state_for_caller,
            "name": self.name,
            "state": self.state.value,
            "publication": self.publication,
            "description": self.description,
            "labels": self.labels,
            "documentationLinks": self.documentation_links,
        }

    def _record(self, event_class: type[Any], **facts: Any) -> None:
        self.record(event_class, model_id=self.id, version=self.model_version, **facts)

    def require_existing(self) -> None:
        """Raises `NotAllowed` where the model has been deleted."""
        if self.state is ModelState.DELETED:
            raise NotAllowed(
                f"'{self.name}' has been deleted.", remedy="Import the model again under its name."
            )

    def _require(self, state: ModelState, verb: str) -> None:
        self.require_existing()
        if self.state is not state:
            raise NotAllowed(
                f"Cannot {verb} '{self.name}' while it is {_WORDS[self.state]}.",
                remedy=f"This works when the model is {_WORDS[state]}.",
            )

    def _require_underway(self, verb: str) -> None:
        self.require_existing()
        if self.state not in {ModelState.IMPORTING, ModelState.VALIDATING}:
            raise NotAllowed(
                f"Cannot {verb} '{self.name}': it is {_WORDS[self.state]}.",
                remedy="This works while the import is under way.",
            )


_WORDS = {
    ModelState.IMPORTING: "importing",
    ModelState.VALIDATING: "validating",
    ModelState.READY: "ready to deploy",
    ModelState.FAILED: "failed to import",
    ModelState.DELETED: "deleted",
}
