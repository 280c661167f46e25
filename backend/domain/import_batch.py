"""The ImportBatch aggregate: several models that were asked for at once."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backend.domain.addresses import check_address
from backend.domain.errors import Invalid
from backend.domain.events import Aggregate, event_header

MAX_MODELS = 1000


class ImportBatch(Aggregate):
    """What was chosen from a list of models, and the list as it was then."""

    TOPIC = "ImportBatch"

    class Created(Aggregate.Created):
        TOPIC = "ImportBatchRequested"
        batch_id: UUID
        address: str
        format: str
        manifest_uri: str
        manifest_sha256: str
        model_ids: list[UUID]

    def __init__(self, *, address: str, model_ids: list[UUID]) -> None:
        self.address = address
        self.model_ids = model_ids

    @classmethod
    def request(
        cls,
        batch_id: UUID,
        *,
        address: str,
        format: str,
        manifest_uri: str,
        manifest_sha256: str,
        model_ids: Sequence[UUID],
    ) -> ImportBatch:
        """A batch of the models with these ids. Raises `Invalid` for none or too many, and for an
        address with a secret."""
        check_address(address, field="address")
        if not 1 <= len(model_ids) <= MAX_MODELS:
            raise Invalid(
                f"{len(model_ids)} models were chosen; a batch has 1 to {MAX_MODELS}.",
                remedy="Choose some." if not model_ids else "Import them in several batches.",
                field="rows",
            )
        return cls._create(
            cls.Created,
            id=batch_id,
            batch_id=batch_id,
            address=address,
            format=format,
            manifest_uri=manifest_uri,
            manifest_sha256=manifest_sha256,
            model_ids=list(model_ids),
            **event_header(),
        )
