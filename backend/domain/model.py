"""The Model aggregate: an entry of the gallery with its versions, from first import to deletion."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from backend.domain import model_events, origins, values
from backend.domain.errors import Invalid, NotAllowed, NotFound
from backend.domain.events import Aggregate, event_header
from backend.domain.version import (
    AcceptedRisks,
    ImportRequest,
    ModelState,
    Version,
    checked_number,
    next_number,
)

JSON = dict[str, Any]

__all__ = ["AcceptedRisks", "ImportRequest", "Model", "ModelState", "Version"]


class Model(Aggregate):
    """Keeps the lifecycle, the naming and the publication rules of one model."""

    TOPIC = "Model"

    Created = model_events.Created
    VersionRequested = model_events.VersionRequested
    CurrentVersionSelected = model_events.CurrentVersionSelected
    RiskAccepted = model_events.RiskAccepted
    ArchiveReceived = model_events.ArchiveReceived
    SourceFetched = model_events.SourceFetched
    FilesStored = model_events.FilesStored
    ImageInspected = model_events.ImageInspected
    Validated = model_events.Validated
    ImportFailed = model_events.ImportFailed
    ImportRetried = model_events.ImportRetried
    ImportCancelled = model_events.ImportCancelled
    ConfigurationEdited = model_events.ConfigurationEdited
    TemplateUpdated = model_events.TemplateUpdated
    Published = model_events.Published
    Withdrawn = model_events.Withdrawn
    Deleted = model_events.Deleted

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        source: str,
        version: str,
        file_name: str,
        upload_id: UUID | None,
        base_model_id: UUID | None,
        technical_name: str | None,
        origin: JSON | None,
        labels: list[str],
        description: str,
        documentation_links: list[str],
    ) -> None:
        self.name = name
        self.technical_name = technical_name or name
        self.kind = kind
        first = Version(version, source, origin or {}, file_name, upload_id, base_model_id)
        # In the order in which they were asked for.
        self.versions = {version: first}
        self.current_version: str | None = None
        self.deleted = False
        self.publication = "unpublished"
        self.description = description
        self.labels = labels
        self.documentation_links = documentation_links
        self.template: str = (origin or {}).get("path", {}).get("template") or ""

    @classmethod
    def request_import(cls, request: ImportRequest, *, base: Model | None = None) -> Model:
        """A new model, whose first version is to be imported; `base` is an adapter's base model.

        Raises `Invalid` where the request breaks a rule, `NotAllowed` where the base is not ready.
        """
        name = request.model_name()
        technical_name = name
        if request.technical_name is not None:
            technical_name = values.model_name(
                request.technical_name, remedy="Choose another one.", field="technicalName"
            )
        _require_base(request.kind, base)
        model_id = uuid4()
        model = cls._create(
            cls.Created,
            id=model_id,
            model_id=model_id,
            name=name,
            technical_name=technical_name if technical_name != name else None,
            kind=request.kind,
            version=checked_number(request.version or values.FIRST_VERSION),
            labels=values.labels(request.labels),
            description=values.description(request.description),
            documentation_links=values.documentation_links(request.documentation_links),
            batch_id=request.batch_id,
            base_model_id=base.id if base is not None else None,
            **request.source_facts(),
            **event_header(),
        )
        if request.accepted_risks is not None:
            model.accept_risks(model.latest.number, request.accepted_risks)
        return model

    def request_version(self, request: ImportRequest, *, base: Model | None = None) -> None:
        """A further version, which becomes the current one when it turns out to be sound.

        Raises `Invalid`, and `NotAllowed` while another version is being imported.
        """
        self.require_existing()
        if self.latest.underway:
            raise NotAllowed(
                f"Version {self.latest.number} of '{self.name}' is being imported.",
                remedy="Wait until it has ended, or cancel it.",
            )
        if request.kind != self.kind:
            raise Invalid(
                f"'{self.name}' is of kind '{self.kind}', and so are all its versions.",
                remedy=f"Import a model of kind '{self.kind}'.",
                field="kind",
            )
        if request.source == origins.UPLOAD:
            values.name_from_file(request.file_name)
        if request.accepted_risks is not None:
            request.accepted_risks.check()
        _require_base(self.kind, base)
        number = checked_number(request.version or next_number(self.versions))
        if number in self.versions:
            raise Invalid(
                f"'{self.name}' has a version {number} already.",
                remedy=f"The next free one is {next_number(self.versions)}.",
                field="version",
            )
        self._record(
            self.VersionRequested,
            number,
            base_model_id=base.id if base is not None else None,
            **request.source_facts(),
        )
        if request.accepted_risks is not None:
            self.accept_risks(number, request.accepted_risks)

    def accept_risks(self, version: str, accepted: AcceptedRisks) -> None:
        """Records the consent to what policy blocks, before the files are looked at (again)."""
        accepted = accepted.check()
        found = self.version_of(version)
        if found.state not in {ModelState.IMPORTING, ModelState.FAILED}:
            raise self._wrong_state("accept risks of", found, "importing or failed to import")
        if not set(accepted.risks) <= set(found.accepted_risks):
            self._record(
                self.RiskAccepted, version, risks=list(accepted.risks), reason=accepted.reason
            )

    def select_current_version(self, version: str) -> None:
        """Makes another usable version the one that is deployed from now on."""
        self._require(version, ModelState.READY, "select")
        if self.current_version != version:
            self._record(self.CurrentVersionSelected, version)

    def receive_archive(self, upload_id: UUID, size_bytes: int) -> None:
        """All bytes of an upload have arrived. Repeating it changes nothing."""
        version = self.version_of_upload(upload_id)
        if self.deleted or version is None:
            return
        if not version.archive_received and version.state is ModelState.IMPORTING:
            self._record(
                self.ArchiveReceived, version.number, upload_id=upload_id, size_bytes=size_bytes
            )

    def record_source_fetched(
        self, version: str, *, resolved: dict[str, str], file_count: int, total_bytes: int
    ) -> None:
        """What the source really gave, such as a repository's commit or an image's digest."""
        found = self._require(version, ModelState.IMPORTING, "fetch")
        if found.resolved != resolved:
            self._record(
                self.SourceFetched,
                version,
                resolved=resolved,
                file_count=file_count,
                total_bytes=total_bytes,
            )

    def record_files_stored(
        self,
        version: str,
        *,
        manifest_uri: str,
        manifest_sha256: str,
        file_count: int,
        total_bytes: int,
    ) -> None:
        """The files lie in the object store; validation begins."""
        found = self.version_of(version)
        if found.state is ModelState.VALIDATING and found.manifest_sha256 == manifest_sha256:
            return
        self._require(version, ModelState.IMPORTING, "store files of")
        self._record(
            self.FilesStored,
            version,
            manifest_uri=manifest_uri,
            manifest_sha256=manifest_sha256,
            file_count=file_count,
            total_bytes=total_bytes,
        )

    def record_image_inspected(
        self,
        version: str,
        *,
        reference: str,
        digest: str,
        platform: str,
        size_bytes: int,
        ports: list[str],
        labels: dict[str, str],
    ) -> None:
        """The registry has the image, which needs no files; validation begins."""
        found = self.version_of(version)
        if found.state is ModelState.VALIDATING and (found.image or {}).get("digest") == digest:
            return
        self._require(version, ModelState.IMPORTING, "inspect the image of")
        self._record(
            self.ImageInspected,
            version,
            reference=reference,
            digest=digest,
            platform=platform,
            size_bytes=size_bytes,
            ports=ports,
            labels=labels,
        )

    def record_validated(self, version: str, *, report: JSON, card: JSON) -> None:
        """Every check passed or warned. The version is the current one from now on."""
        found = self.version_of(version)
        # A model that was only described has nothing to fetch before.
        begun = found.source == "manual" and not found.has_files
        self._require(version, ModelState.IMPORTING if begun else ModelState.VALIDATING, "validate")
        self._record(self.Validated, version, report=report, card=card)

    def record_import_failed(
        self, version: str, *, step: str, reason: str, remedy: str, report: JSON | None
    ) -> None:
        """The import ended without a usable version."""
        self._require_underway(self.version_of(version), "fail the import of")
        self._record(
            self.ImportFailed, version, step=step, reason=reason, remedy=remedy, report=report
        )

    def retry_import(self) -> None:
        """Starts the latest version's import again, an upload's from the uploaded archive."""
        version = self._require(self.latest.number, ModelState.FAILED, "retry the import of")
        if not version.retriable:
            raise NotAllowed(
                "The archive never arrived completely, so there is nothing to retry from.",
                remedy="Delete this model and upload the file again."
                if self.current_version is None
                else "Upload the file again, as a new version.",
            )
        self._record(self.ImportRetried, version.number)

    def cancel_import(self) -> None:
        """Stops the import that is under way."""
        self._require_underway(self.latest, "cancel the import of")
        self._record(self.ImportCancelled, self.latest.number)

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

    def update_template(self, template: str) -> None:
        """Replaces the deployment template for Ollama; an empty text removes it.

        Raises `Invalid` where it is no part of a Modelfile.
        """
        self.require_existing()
        if values.template(template) != self.template:
            self.record(self.TemplateUpdated, model_id=self.id, template=template)

    def publish(self) -> None:
        """Makes the model visible on the marketplace."""
        if self.publication == "published":
            return
        self.require_ready("publish")
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
        """Removes the model with all versions from the gallery; its history stays."""
        self.require_existing()
        if ever_deployed:
            raise NotAllowed(
                f"'{self.name}' has been deployed, so it cannot be deleted.",
                remedy="Stop its deployment, or withdraw it from the marketplace; "
                "redeploy and history stay available.",
            )
        self.record(self.Deleted, model_id=self.id)

    @property
    def latest(self) -> Version:
        """The version that was asked for last; no other can be under way."""
        return next(reversed(self.versions.values()))

    @property
    def current(self) -> Version | None:
        """The version that is deployed when nobody says which; None before any is usable."""
        return self.versions[self.current_version] if self.current_version else None

    @property
    def state(self) -> ModelState:
        """The latest import's state, until a version is usable: the model then stays ready."""
        if self.deleted:
            return ModelState.DELETED
        return ModelState.READY if self.current_version else self.latest.state

    def version_of(self, number: str) -> Version:
        """The version with this number. Raises `NotFound`."""
        if number not in self.versions:
            raise NotFound(
                f"'{self.name}' has no version {number[:80]}.",
                remedy=f"Its versions are {', '.join(self.versions)}.",
                field="version",
            )
        return self.versions[number]

    def base_version(self, number: str | None) -> Version | None:
        """The version that an adapter's deployment was made with, else the current one."""
        return self.versions.get(number) if number else self.current

    def version_of_upload(self, upload_id: UUID) -> Version | None:
        """The version that the upload is for."""
        return next((v for v in self.versions.values() if v.upload_id == upload_id), None)

    @property
    def state_for_caller(self) -> dict[str, Any]:
        return {
            **super().state_for_caller,
            "name": self.name,
            "state": self.state.value,
            "currentVersion": self.current_version,
            "publication": self.publication,
            "description": self.description,
            "labels": self.labels,
            "documentationLinks": self.documentation_links,
        }

    def _record(self, event_class: type[Any], version: str, **facts: Any) -> None:
        self.record(event_class, model_id=self.id, version=version, **facts)

    def require_existing(self) -> None:
        """Raises `NotAllowed` where the model has been deleted."""
        if self.deleted:
            raise NotAllowed(
                f"'{self.name}' has been deleted.", remedy="Import the model again under its name."
            )

    def require_ready(self, verb: str) -> Version:
        """The current version. Raises `NotAllowed` where there is none."""
        self.require_existing()
        if self.current is None:
            raise self._wrong_state(verb, self.latest, ModelState.READY.words)
        return self.current

    def _require(self, number: str, state: ModelState, verb: str) -> Version:
        self.require_existing()
        version = self.version_of(number)
        if version.state is not state:
            raise self._wrong_state(verb, version, state.words)
        return version

    def _require_underway(self, version: Version, verb: str) -> None:
        self.require_existing()
        if not version.underway:
            raise self._wrong_state(verb, version, "being imported")

    def _wrong_state(self, verb: str, version: Version, wanted: str) -> NotAllowed:
        which = f" {version.number}" if len(self.versions) > 1 else ""
        return NotAllowed(
            f"Cannot {verb} '{self.name}'{which} while it is {version.state.words}.",
            remedy=f"This works when it is {wanted}.",
        )


def _require_base(kind: str, base: Model | None) -> None:
    if kind not in {"base", "adapter"}:
        raise Invalid(
            f"Models of kind '{kind}' are unknown.",
            remedy="Import a base model or an adapter.",
            field="kind",
        )
    if kind == "base" and base is not None:
        raise Invalid(
            "Only an adapter has a base model.",
            remedy="Leave the base model out, or import an adapter.",
            field="baseModelId",
        )
    if kind == "adapter":
        if base is None or base.kind != "base":
            raise Invalid(
                "An adapter needs the base model that it belongs to.",
                remedy="Choose a base model that is ready to deploy first.",
                field="baseModelId",
            )
        base.require_ready("use the base model")
