"""Commands about models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.store import InTransaction
from backend.domain.deployment import Deployment
from backend.domain.errors import NameTaken, NotFound
from backend.domain.model import Model
from backend.domain.values import name_key


class Models:
    """Import, edit, publish, withdraw and delete models."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def request_import(
        self,
        context: CommandContext,
        *,
        file_name: str,
        upload_id: UUID,
        size_bytes: int,
        complete: bool,
        kind: str = "base",
        within: InTransaction | None = None,
    ) -> Accepted:
        """A new model from an upload, which may still be under way.

        Raises `Invalid` for a bad name and `NameTaken`.
        """

        def decide() -> Decision:
            model = Model.request_import(
                file_name=file_name, upload_id=upload_id, size_bytes=size_bytes, kind=kind
            )
            if complete:
                model.receive_archive(size_bytes)
            statements = [_reserve(model), _claim_upload(upload_id, model.id)]
            return Decision(
                [model], statements + ([within] if within else []), {"name": model.name}
            )

        return self._runner.run(context, decide)

    def receive_archive(
        self, context: CommandContext, model_id: UUID, *, size_bytes: int
    ) -> Accepted:
        """All bytes of the model's upload have arrived."""
        return self._decide(context, model_id, lambda m: m.receive_archive(size_bytes))

    def record_files_stored(
        self,
        context: CommandContext,
        model_id: UUID,
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
                manifest_uri=manifest_uri,
                manifest_sha256=manifest_sha256,
                file_count=file_count,
                total_bytes=total_bytes,
            ),
            fence,
        )

    def record_validated(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        report: dict[str, Any],
        card: dict[str, Any],
        fence: InTransaction,
    ) -> Accepted:
        """The import job found the model usable. Raises `LeaseLost`."""
        return self._decide(
            context, model_id, lambda m: m.record_validated(report=report, card=card), fence
        )

    def record_import_failed(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        step: str,
        reason: str,
        remedy: str,
        report: dict[str, Any] | None = None,
        fence: InTransaction | None = None,
    ) -> Accepted:
        """The import ended without a usable model. Raises `LeaseLost`."""
        return self._decide(
            context,
            model_id,
            lambda m: m.record_import_failed(
                step=step, reason=reason, remedy=remedy, report=report
            ),
            fence,
        )

    def retry_import(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Starts a failed import again."""
        return self._decide(context, model_id, Model.retry_import)

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
        """Removes the model from the gallery and frees its name."""

        def free_name(cursor: Cursor[DictRow]) -> None:
            cursor.execute("DELETE FROM loggia.model_names WHERE model_id = %s", (model_id,))

        def decide(model: Model) -> None:
            deployment = self._store.find(Deployment, Deployment.create_id(model_id))
            model.delete(ever_deployed=deployment is not None)

        return self._decide(context, model_id, decide, free_name)

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


def _reserve(model: Model) -> InTransaction:
    def write(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "INSERT INTO loggia.model_names (name_key, model_id) VALUES (%s, %s) "
            "ON CONFLICT (name_key) DO NOTHING RETURNING model_id",
            (name_key(model.name), model.id),
        )
        if cursor.fetchone() is None:
            raise NameTaken(
                f"There is a model named '{model.name}' already.",
                remedy="Rename the file and import it again, or delete the other model.",
                field="name",
            )

    return write


def _claim_upload(upload_id: UUID, model_id: UUID) -> InTransaction:
    def write(cursor: Cursor[DictRow]) -> None:
        cursor.execute(
            "UPDATE loggia.uploads SET model_id = %s WHERE id = %s AND model_id IS NULL "
            "RETURNING id",
            (model_id, upload_id),
        )
        if cursor.fetchone() is None:
            raise NotFound(
                "This upload does not exist or belongs to another model.",
                remedy="Start a new upload.",
                field="uploadId",
            )

    return write
