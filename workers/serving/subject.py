"""What a revision serves: a version's files, for an adapter together with those of its base."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backend.application.store import EventStore
from backend.domain.deployment import Deployment
from backend.domain.errors import NotAllowed
from backend.domain.model import Model
from backend.domain.servable import ENGINES, Imported, Use, adapter_rank, obstacle, use_of
from backend.domain.version import Version


@dataclass(frozen=True)
class Subject:
    """One version of a model, by the name that callers use; an adapter's has a base.

    `adapter_rank` is the largest of the adapters that its engines are started for.
    """

    model_id: UUID
    name: str
    version: Version
    base_name: str | None = None
    base: Version | None = None
    adapter_rank: int = 0
    template: str = ""

    @property
    def whole(self) -> Version:
        """The version that is a whole model: what the engine is started with."""
        return self.base or self.version

    @property
    def use(self) -> Use:
        """What it does for its callers."""
        return use_of(Imported.from_card("base", self.whole.card)) or Use.GENERATE

    @property
    def runs_own_code(self) -> bool:
        """Whether somebody consented to running code that came with the whole model."""
        return "custom_code" in self.whole.accepted_risks

    @property
    def rank(self) -> int:
        """An adapter's largest rank."""
        return adapter_rank(self.version.card)


class Subjects:
    """Finds them; what is found once is kept, for the files of a usable version never change."""

    def __init__(self, store: EventStore, model_id: UUID) -> None:
        self._store = store
        self._model_id = model_id
        self._found: dict[tuple[str, str | None, str, int], Subject] = {}

    def of(self, deployment: Deployment, revision: int) -> Subject:
        """What the revision serves. Raises `NotAllowed` where no engine can."""
        numbers = (deployment.model_versions[revision], deployment.base_model_versions[revision])
        engine = str(deployment.revisions[revision].get("engine", "vllm"))
        known = (*numbers, engine, deployment.adapter_ranks.get(revision, 0))
        if known not in self._found:
            self._found[known] = self._find(*known)
        return self._found[known]

    def _find(self, number: str, base_number: str | None, engine: str, rank: int) -> Subject:
        model = self._store.load(Model, self._model_id)
        version = model.version_of(number)
        base_name, base = None, None
        if version.base_model_id is not None:
            # One that has been deleted meanwhile goes on serving while its files are there.
            owner = self._store.load(Model, version.base_model_id)
            base_name, base = owner.name, owner.base_version(base_number)
        found = obstacle(
            Imported.from_card(model.kind, version.card),
            Imported.from_card("base", base.card) if base else None,
            engine=engine,
            offered=ENGINES,
        )
        if found is not None:
            raise NotAllowed(found.reason, remedy=found.remedy)
        return Subject(self._model_id, model.name, version, base_name, base, rank, model.template)
