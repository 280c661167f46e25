"""What a deployment would come to, told before it is asked for."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from backend.application.engine_facts import EngineFactsTable
from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import DomainError, Invalid
from backend.infra.postgres import Pool
from backend.readmodels import deploy_checks, deploy_options
from backend.readmodels.configuration import Change, changes, from_domain
from backend.readmodels.deploy_checks import MemoryEstimate
from backend.readmodels.version_facts import Check, card_of
from backend.readmodels.wire_names import camel_keys


class WrittenEvent(msgspec.Struct, rename="camel", frozen=True):
    """An event that the request itself would write."""

    type: str
    data: dict[str, Any]


class ExpectedEvent(msgspec.Struct, rename="camel", frozen=True):
    """An event that the deploy worker reports where all goes well, so many times."""

    type: str
    count: int
    meaning: str


class Rehearsal(msgspec.Struct, rename="camel", frozen=True):
    """`allowed` where no check has failed; then `events` are what the request writes at once, and
    `expected` what follows. `changes` are those from the revision that is wanted now."""

    allowed: bool
    revision: int | None
    checks: list[Check]
    memory: MemoryEstimate | None
    changes: list[Change]
    events: list[WrittenEvent]
    expected: list[ExpectedEvent]


def of(
    pool: Pool,
    model_id: UUID,
    document: dict[str, Any],
    events: list[dict[str, Any]],
    *,
    refusal: DomainError | None,
    terms_accepted: bool,
) -> Rehearsal:
    """The rehearsal of a configuration, given under the domain's names, with the events that the
    request would write. Raises `NotFound`."""
    options = deploy_options.of(pool, model_id)
    memory = _memory(pool, model_id, document)
    found = deploy_checks.checks(
        options,
        document,
        memory,
        refusal=refusal,
        known_engine=_is_known(pool, document),
        terms_accepted=terms_accepted,
    )
    allowed = not deploy_checks.refused(found)
    wanted, serving = _present(pool, model_id)
    revision = next(
        (each["data"]["revision"] for each in events if each["type"] == "DeploymentRequested"), None
    )
    return Rehearsal(
        allowed=allowed,
        revision=revision,
        checks=found,
        memory=memory,
        changes=changes(from_domain(wanted) if wanted else None, from_domain(document)),
        events=[WrittenEvent(each["type"], camel_keys(each["data"])) for each in events]
        if allowed
        else [],
        expected=_expected(document, serving) if allowed else [],
    )


def _is_known(pool: Pool, document: dict[str, Any]) -> bool:
    hardware = document["hardware"]
    found = EngineFactsTable(pool).find(
        document["engine"], hardware["accelerator"], hardware["server"]
    )
    return found is not None and bool(found.options)


def _memory(pool: Pool, model_id: UUID, document: dict[str, Any]) -> MemoryEstimate | None:
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT v.card, b.card AS base_card FROM gallery.models AS m "
            "JOIN gallery.versions AS v "
            "ON v.model_id = m.model_id AND v.version = m.model_version "
            "LEFT JOIN gallery.models AS base ON base.model_id = m.base_model_id "
            "LEFT JOIN gallery.versions AS b "
            "ON b.model_id = base.model_id AND b.version = base.model_version "
            "WHERE m.model_id = %s",
            (model_id,),
        ).fetchone()
    card = card_of({"card": row["base_card"] or row["card"]}) if row else None
    if card is None:
        return None
    try:
        configuration = DeployConfiguration.from_dict(document)
    except Invalid:
        return None
    return deploy_checks.memory_estimate(card.memory, configuration, card.context_length)


def _present(pool: Pool, model_id: UUID) -> tuple[dict[str, Any] | None, int | None]:
    """The configuration that is wanted now, and the revision that serves."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT r.configuration, d.serving_revision FROM deployments.deployments AS d "
            "JOIN deployments.revisions AS r "
            "ON r.model_id = d.model_id AND r.revision = d.desired_revision "
            "WHERE d.model_id = %s",
            (model_id,),
        ).fetchone()
    return (row["configuration"], row["serving_revision"]) if row else (None, None)


def _expected(document: dict[str, Any], serving: int | None) -> list[ExpectedEvent]:
    expected: list[ExpectedEvent] = []
    method = document["optimization"]["method"]
    if method == "ctranslate2":
        expected += [
            ExpectedEvent("OptimizationStarted", 1, "The conversion begins."),
            ExpectedEvent(
                "OptimizationFinished", 1, "The converted files are stored and compared."
            ),
        ]
    expected.append(
        ExpectedEvent("RevisionPrepared", 1, "The engine's environment and the files are there.")
    )
    # One at least proves the revision, also where none is kept afterwards.
    replicas = max(1, document["scaling"]["min_replicas"])
    expected += [
        ExpectedEvent("ReplicaStarted", replicas, "An engine is started for each replica."),
        ExpectedEvent("ReplicaReady", replicas, "Each has answered."),
        ExpectedEvent("RevisionDeployed", 1, "Requests go to the new revision from then on."),
    ]
    if serving is not None:
        expected.append(
            ExpectedEvent(
                "RevisionRetired", 1, f"Revision {serving} has finished its requests and ended."
            )
        )
    return expected
