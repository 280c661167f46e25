"""Commands about several imports at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.names import reserve
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.import_batch import ImportBatch
from backend.domain.model import ImportRequest, Model, ModelState
from backend.domain.origins import UPLOAD


class Batches:
    """Import many models with one command, and retry those that failed."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def request(
        self,
        context: CommandContext,
        *,
        address: str,
        format: str,
        manifest_uri: str,
        manifest_sha256: str,
        requests: Sequence[ImportRequest],
    ) -> Accepted:
        """New models, one for each request, and the batch that they belong to.

        All of them are asked for, or none: raises `Invalid` and `NameTaken`, which name the model.
        The result has `models`: `{"id", "name"}` in the order of the requests.
        """

        batch_id = uuid4()

        def decide() -> Decision:
            models = [self._model(batch_id, request) for request in requests]
            batch = ImportBatch.request(
                batch_id,
                address=address,
                format=format,
                manifest_uri=manifest_uri,
                manifest_sha256=manifest_sha256,
                model_ids=[model.id for model in models],
            )
            rows = [{"id": str(model.id), "name": model.name} for model in models]
            # Written last, so that the batch's position covers all of its models.
            return Decision([*models, batch], [reserve(models)], {"models": rows}, about=batch)

        # By this id the batch's events are found together, the import jobs' included.
        return self._runner.run(replace(context, correlation_id=batch_id), decide)

    def retry_failed(self, context: CommandContext, batch_id: UUID) -> Accepted:
        """Starts the failed imports of a batch again. Raises `NotAllowed` where none has failed.

        The result has `models`: the ids of those that were started.
        """

        def decide() -> Decision:
            batch = self._store.load(ImportBatch, batch_id)
            failed = []
            for model_id in batch.model_ids:
                model = self._store.find(Model, model_id)
                if model is None or model.state is not ModelState.FAILED:
                    continue
                if model.latest.retriable:
                    model.retry_import()
                    failed.append(model)
            if not failed:
                raise NotAllowed(
                    "No import of this batch has failed.",
                    remedy="Wait for those that are under way, or look at the single models.",
                )
            return Decision([batch, *failed], result={"models": [str(m.id) for m in failed]})

        return self._runner.run(context, decide)

    @staticmethod
    def _model(batch_id: UUID, request: ImportRequest) -> Model:
        if request.source == UPLOAD:
            raise Invalid(
                "An upload cannot be part of a batch.",
                remedy="Import it by itself.",
                field="rows",
            )
        return Model.request_import(replace(request, batch_id=batch_id))
