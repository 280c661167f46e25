"""Commands about deployments: what people ask for, and what the deploy worker observes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.deployment_records import DeploymentRecords
from backend.application.engine_facts import EngineFactsTable, built_in
from backend.application.rehearsing import pending
from backend.application.store import InTransaction
from backend.domain import terms
from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment
from backend.domain.engine_options import check_arguments
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.events import caused_by
from backend.domain.model import Model, ModelState
from backend.domain.servable import ENGINES, Imported, obstacle
from backend.domain.server import BUILT_IN
from backend.domain.version import Version


class Deployments(DeploymentRecords):
    """Deploy, redeploy, roll back, start and stop; and the worker's records."""

    def __init__(self, runner: CommandRunner, engines: EngineFactsTable | None = None) -> None:
        """`engines` tells what installed engines know; without it the deploy worker finds out."""
        super().__init__(runner)
        self._engines = engines

    def request(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        configuration: dict[str, Any],
        terms_version: str,
        terms_accepted: bool,
        reason: str = "",
    ) -> Accepted:
        """Deploys or redeploys a model's current version with a complete configuration.

        Raises `Invalid` for the configuration or the terms, `NotAllowed` for the model's state and
        where no engine can serve it.
        The expected version is the deployment's, 0 where there is none yet.
        """

        def decide() -> Decision:
            wanted = self._checked(configuration)
            version, base = self._current(model_id, wanted)
            if not terms_accepted or terms_version != terms.VERSION:
                raise Invalid(
                    f"The terms of version {terms.VERSION} have not been accepted.",
                    remedy="Read the terms and accept them.",
                    field="terms",
                )
            deployment = self._requested(model_id, wanted, version, base, reason)
            return Decision(
                [deployment],
                [_known_server(wanted)],
                result={"revision": deployment.desired_revision},
            )

        return self._runner.run(context, decide)

    def rehearse(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        configuration: dict[str, Any],
        reason: str = "",
    ) -> list[dict[str, Any]]:
        """The events that the request would write, as `{"type", "data"}`; writes nothing.

        The terms are taken as accepted. Raises what `request` would raise otherwise.
        """
        with caused_by(context.cause):
            wanted = self._checked(configuration)
            version, base = self._current(model_id, wanted)
            return pending(self._store, self._requested(model_id, wanted, version, base, reason))

    def save_configuration(
        self,
        context: CommandContext,
        model_id: UUID,
        *,
        configuration: dict[str, Any],
        reason: str = "",
    ) -> Accepted:
        """Keeps a configuration for a later redeployment, and disturbs nothing that runs.

        Raises `Invalid` and `NotAllowed`.
        """
        wanted = self._checked(configuration)
        return self._decide(
            context,
            model_id,
            lambda d: d.save_configuration(configuration=wanted, reason=reason.strip()),
        )

    def discard_configuration(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Forgets the configuration that was kept. Raises `NotAllowed`."""
        return self._decide(context, model_id, Deployment.discard_configuration)

    def roll_back(
        self, context: CommandContext, model_id: UUID, *, revision: int, reason: str
    ) -> Accepted:
        """Restores an earlier revision's configuration and model version as a new revision."""

        def act(deployment: Deployment) -> dict[str, Any]:
            self._require_servable(model_id, deployment, revision)
            deployment.roll_back(revision=revision, reason=reason)
            return {"revision": deployment.desired_revision}

        return self._decide(context, model_id, act)

    def start(self, context: CommandContext, model_id: UUID) -> Accepted:
        """Serves again what was stopped."""

        def act(deployment: Deployment) -> dict[str, Any]:
            self._require_servable(model_id, deployment, deployment.desired_revision)
            deployment.start()
            return {"revision": deployment.desired_revision}

        return self._decide(context, model_id, act)

    def stop(self, context: CommandContext, model_id: UUID, *, reason: str = "") -> Accepted:
        """Ends serving once running requests are finished."""
        return self._decide(context, model_id, lambda d: d.stop(reason=reason))

    def _checked(self, configuration: dict[str, Any]) -> DeployConfiguration:
        """The configuration, if its engine has what it asks for. Raises `Invalid`."""
        wanted = DeployConfiguration.from_dict(configuration)
        check_arguments(wanted)
        if self._engines is not None:
            self._engines.check(wanted)
        return wanted

    def _requested(
        self,
        model_id: UUID,
        wanted: DeployConfiguration,
        version: Version,
        base: Version | None,
        reason: str,
    ) -> Deployment:
        """The deployment, with the terms accepted and the revision asked for."""
        deployment = self._store.find(Deployment, Deployment.create_id(model_id))
        if deployment is None:
            deployment = Deployment.begin(
                model_id=model_id, terms_version=terms.VERSION, terms_sha256=terms.SHA256
            )
        else:
            deployment.accept_terms(terms_version=terms.VERSION, terms_sha256=terms.SHA256)
        deployment.request(
            configuration=wanted,
            model_version=version.number,
            base_model_version=base.number if base else None,
            reason=reason.strip(),
        )
        return deployment

    def _current(
        self, model_id: UUID, wanted: DeployConfiguration
    ) -> tuple[Version, Version | None]:
        """What is deployed now, and an adapter's base. Raises `NotAllowed`."""
        model = self._ready(model_id)
        version = model.require_ready("deploy")
        return version, self._check_servable(model, version, None, wanted)

    def _require_servable(self, model_id: UUID, deployment: Deployment, revision: int) -> None:
        """Raises `NotAllowed` where what the revision served cannot be served any more."""
        model = self._ready(model_id)
        number = deployment.model_versions.get(revision)
        if number is not None:
            base_number = deployment.base_model_versions.get(revision)
            served = DeployConfiguration.from_dict(deployment.revisions[revision])
            self._check_servable(model, model.version_of(number), base_number, served)

    def _ready(self, model_id: UUID) -> Model:
        model = self._store.load(Model, model_id)
        if model.state is not ModelState.READY:
            raise NotAllowed(
                f"'{model.name}' is {model.state.value.replace('_', ' ')}; "
                "only a model that is ready to deploy can be deployed.",
                remedy="Wait for the import, or retry it.",
            )
        return model

    def _check_servable(
        self,
        model: Model,
        version: Version,
        base_number: str | None,
        configuration: DeployConfiguration,
    ) -> Version | None:
        """The base's version, the current one unless named. Raises `NotAllowed`."""
        base: Version | None = None
        if version.base_model_id is not None:
            owner = self._store.find(Model, version.base_model_id)
            if owner is not None and not owner.deleted:
                base = owner.base_version(base_number)
        found = obstacle(
            Imported.from_card(model.kind, version.card),
            Imported.from_card("base", base.card) if base else None,
            engine=configuration.engine,
            method=configuration.optimization.method,
            offered=self._engines.offered() if self._engines is not None else ENGINES,
        )
        if found is not None:
            raise NotAllowed(
                f"'{model.name}' cannot be deployed. {found.reason}", remedy=found.remedy
            )
        return base


def _known_server(wanted: DeployConfiguration) -> InTransaction:
    """A statement that refuses a server, or a pool, that cannot run what is wanted."""
    name, engine = wanted.hardware.server, wanted.engine

    def check(cursor: Cursor[DictRow]) -> None:
        if name in BUILT_IN:
            engines = built_in(cursor).get(name, frozenset())
        else:
            cursor.execute(
                "SELECT engine FROM loggia.servers WHERE name = %s OR pool = %s", (name, name)
            )
            engines = frozenset(row["engine"] for row in cursor.fetchall())
        if engine not in engines:
            wrong = f"has {', '.join(sorted(engines))}, not {engine}" if engines else "is not there"
            raise Invalid(
                f"hardware.server: '{name[:80]}' {wrong}.",
                remedy=f"Choose a server that runs {engine}; the deploy options list them.",
                field="hardware.server",
            )
        if name not in BUILT_IN:
            wanted.check_preset()

    return check
