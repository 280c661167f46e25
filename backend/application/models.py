"""Commands about models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.names import require_free, reserve
from backend.application.store import InTransaction
from backend.application.translate import tell
from backend.domain.deployment import Deployment
from backend.domain.errors import NotAllowed, NotFound
from backend.domain.events import caused_by
from backend.domain.model import AcceptedRisks, ImportRequest, Model


class Models:
    """Import, edit, publish, withdraw and delete models."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def request_import(
        self,
        context: CommandContext,
        request: ImportRequest,
        *,
        complete: bool = False,
        within: InTransaction | None = None,
    ) -> Accepted:
        """A new model from any source; `complete` says that an upload has arrived already.

        Raises `Invalid`, `NameTaken`, `NotFound` for the upload or the base model, and
        `NotAllowed` for a base model that is not ready.
        """

        def decide() -> Decision:
            model = self._new_model(request, complete=complete)
            statements = [reserve([model]), *_claim_upload(model)]
            return Decision(
                [model],
                statements + ([within] if within else []),
                {"name": model.name, "version": model.latest.number},
            )

        return self._runner.run(context, decide)

    def request_version(
        self,
        context: CommandContext,
        model_id: UUID,
        request: ImportRequest,
        *,
        complete: bool = False,
    ) -> Accepted:
        """A further version of a model, from any source.

        Raises as `request_import` does, and `NotAllowed` while another version is imported.
        """

        def decide() -> Decision:
            model = self._with_version(model_id, request, complete=complete)
            return Decision(
                [model],
                _claim_upload(model),
                {"name": model.name, "version": model.latest.number},
            )

        return self._runner.run(context, decide)

    def rehearse(
        self,
        context: CommandContext,
        request: ImportRequest,
        model_id: UUID | None = None,
        *,
        complete: bool = False,
        carry_out: Callable[[Model], None] | None = None,
    ) -> list[dict[str, Any]]:
        """The events that the request would write, as `{"type", "data"}`; writes nothing.

        `carry_out` gets the model as it would be, to record what else would happen to it. Raises
        what it raises, and what `request_import`, or `request_version` where a model is given,
        would raise.
        """
        with caused_by(context.cause):
            if model_id is not None:
                model = self._with_version(model_id, request, complete=complete)
            else:
                model = self._new_model(request, complete=complete)
                with self._store.recorder.datastore.transaction(commit=False) as cursor:
                    require_free([model])(cursor)
            if carry_out is not None:
                carry_out(model)
        told = []
        for event in model.pending_events:
            stored = self._store.mapper.to_stored_event(event)
            row = (0, str(model.id), stored.originator_version, stored.topic, stored.state)
            public, _ = tell(row)
            told.append({"type": public.type, "data": public.data})
        return told

    def accept_risks(
        self, context: CommandContext, model_id: UUID, *, version: str, accepted: AcceptedRisks
    ) -> Accepted:
        """Allows what policy blocks, for one version; a failed import can then be retried."""
        return self._decide(context, model_id, lambda m: m.accept_risks(version, accepted))

    def select_current_version(
        self, context: CommandContext, model_id: UUID, *, version: str
    ) -> Accepted:
        """Chooses which version is deployed from now on; running deployments keep theirs."""
        return self._decide(context, model_id, lambda m: m.select_current_version(version))

    def update_template(
        self, context: CommandContext, model_id: UUID, *, template: str
    ) -> Accepted:
        """Replaces the deployment template for Ollama."""
        return self._decide(context, model_id, lambda m: m.update_template(template))

    def receive_archive(
        self, context: CommandContext, model_id: UUID, *, upload_id: UUID, size_bytes: int
    ) -> Accepted:
        """All bytes of an upload for the model have arrived."""
        return self._decide(context, model_id, lambda m: m.receive_archive(upload_id, size_bytes))

    def record_source_fetched(
        self,
        context: CommandContext,
        model_id: UUID,
        version: str,
        *,
        resolved: dict[str, str],
        file_count: int,
        total_bytes: int,
        fence: InTransaction,
    ) -> Accepted:
        """The import job knows what the source gives. Raises `LeaseLost`."""
        return self._decide(
            context,
            model_id,
            lambda m: m.record_source_fetched(
                version, resolved=resolved, file_count=file_count, total_bytes=total_bytes
            ),
            fence,
        )

    def record_files_stored(
        self,
        context: CommandContext,
        model_id: UUID,
        version: str,
        *,
        manifest_uri: str,
        manifest_sha256: str,
        file_count: int,
        total_bytes: int,
        fence: InTransaction,
    ) -> Accepted:
        """The import job has stored every file. Raises `LeaseLost`."""
        return self._decide(
            context,
            model_id,
            lambda m: m.record_files_stored(
                version,
                manifest_uri=manifest_uri,
                manifest_sha256=manifest_sha256,
                file_count=file_count,
                total_bytes=total_bytes,
            ),
            fence,
        )

    def record_image_inspected(
        self,
        context: CommandContext,
        model_id: UUID,
        version: str,
        *,
        reference: str,
        digest: str,
        platform: str,
        size_bytes: int,
        ports: Sequence[str],
        labels: Mapping[str, str],
        fence: InTransaction,
    ) -> Accepted:
        """The import job has found the image in its registry. Raises `LeaseLost`."""
        return self._decide(
            context,
            model_id,
            lambda m: m.record_image_inspected(
                version,
                reference=reference,
                digest=digest,
                platform=platform,
                size_bytes=size_bytes,
                ports=list(ports),
                labels=dict(labels),
            ),
            fence,
        )

    def record_validated(
        self,
        context: CommandContext,
        model_id: UUID,
        version: str,
        *,
        report: dict[str, Any],
        card: dict[str, Any],
        fence: InTransaction,
    ) -> Accepted:
        """The import job found the version usable. Raises `LeaseLost`."""
        return self._decide(
            context,
            model_id,
            lambda m: m.record_validated(version, report=report, card=card),
            fence,
        )

    def record_import_failed(
        self,
        context: CommandContext,
        model_id: UUID,
        version: str,
        *,
        step: str,
        reason: str,
        remedy: str,
        report: dict[str, Any] | None = None,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The import ended without a usable version. Raises `LeaseLost`."""
        return self._decide(
            context,
            model_id,
            lambda m: m.record_import_failed(
                version, step=step, reason=reason, remedy=remedy, report=report
            ),
            fence,
        )

    def retry_import(
        self, context: CommandContext, model_id: UUID, accepted: AcceptedRisks | None = None
    ) -> Accepted:
        """Starts the latest version's failed import again, with the risks that were accepted."""

        def retry(model: Model) -> None:
            if accepted is not None:
                model.accept_risks(model.latest.number, accepted)
            model.retry_import()

        return self._decide(context, model_id, retry)

    def cancel_import(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Stops an import that is under way."""
        return self._decide(context, model_id, Model.cancel_import)

    def edit_configuration(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        description: str | None = None,
        labels: list[str] | None = None,
        documentation_links: list[str] | None = None,
    ) -> Accepted:
        """Changes the given fields; what is None stays."""

        def edit(model: Model) -> None:
            model.edit_configuration(
                description=model.description if description is None else description,
                labels=model.labels if labels is None else labels,
                documentation_links=model.documentation_links
                if documentation_links is None
                else documentation_links,
            )

        return self._decide(context, model_id, edit)

    def publish(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Shows the model on the marketplace."""
        return self._decide(context, model_id, Model.publish)

    def withdraw(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Hides the model from the marketplace."""
        return self._decide(context, model_id, Model.withdraw)

    def delete(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Removes the model from the gallery and frees its names."""

        def free_names(cursor: Cursor[DictRow]) -> None:
            cursor.execute("DELETE FROM loggia.model_names WHERE model_id = %s", (model_id,))

        def decide(model: Model) -> None:
            deployment = self._store.find(Deployment, Deployment.create_id(model_id))
            self._require_unheld(model)
            model.delete(ever_deployed=deployment is not None)

        return self._decide(context, model_id, decide, free_names)

    def _require_unheld(self, model: Model) -> None:
        """Raises `NotAllowed` where the model is an adapter that its base model has loaded."""
        base_id = model.latest.base_model_id
        if base_id is None:
            return
        deployment = self._store.find(Deployment, Deployment.create_id(base_id))
        if deployment is not None and str(model.id) in deployment.wanted_adapters:
            raise NotAllowed(
                f"'{model.name}' is loaded beside its base model.",
                remedy="Unload it on the base model's page first.",
            )

    def _new_model(self, request: ImportRequest, *, complete: bool) -> Model:
        model = Model.request_import(request, base=self._base(request.base_model_id))
        _receive_complete(model, request, complete=complete)
        return model

    def _with_version(self, model_id: UUID, request: ImportRequest, *, complete: bool) -> Model:
        model = self._store.load(Model, model_id)
        base_id = request.base_model_id or model.latest.base_model_id
        model.request_version(request, base=self._base(base_id))
        _receive_complete(model, request, complete=complete)
        return model

    def _base(self, model_id: UUID | None) -> Model | None:
        return self._store.load(Model, model_id) if model_id is not None else None

    def _decide(
        self,
        context: CommandContext,
        model_id: UUID,
        act: Callable[[Model], None],
        within: InTransaction | None = None,
    ) -> Accepted:
        def decide() -> Decision:
            model = self._store.load(Model, model_id)
            act(model)
            return Decision([model], [within] if within else [])

        return self._runner.run(context, decide)


def _receive_complete(model: Model, request: ImportRequest, *, complete: bool) -> None:
    if complete and request.upload_id is not None:
        model.receive_archive(request.upload_id, request.size_bytes)


def _claim_upload(model: Model) -> list[InTransaction]:
    version = model.latest
    if version.upload_id is None:
        return []

    def write(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "UPDATE loggia.uploads SET model_id = %s, model_version = %s "
            "WHERE id = %s AND model_id IS NULL RETURNING id",
            (model.id, version.number, version.upload_id),
        )
        if cursor.fetchone() is None:
            raise NotFound(
                "This upload does not exist or belongs to another model.",
                remedy="Start a new upload.",
                field="uploadId",
            )

    return [write]
