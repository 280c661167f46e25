"""What a deployment can be made of: terms, servers, optimisations, values that fit the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from backend.application.engine_facts import EngineFactsTable
from backend.domain import terms
from backend.domain.configuration import DeployConfiguration, Hardware
from backend.domain.errors import NotFound
from backend.domain.servable import ENGINES, OFFERED, EngineRules, Imported, Obstacle
from backend.infra.postgres import Pool
from backend.readmodels import deploy_servers
from backend.readmodels.configuration import ConfigurationView, from_domain
from backend.readmodels.deploy_servers import ServerView
from backend.readmodels.optimizations import OptimizationOption, optimizations
from backend.readmodels.servable import obstacles_by_engine

GIB = 1024**3
# An engine without weights and cache, and what the weights need beside their own size.
_ENGINE_GIB = 2.5
_WEIGHTS_FACTOR = 1.2
_LARGEST_DEFAULT_CONTEXT = 4096


class TermsView(msgspec.Struct, rename="camel", frozen=True):
    """What is accepted with a deployment."""

    version: str
    text: str
    sha256: str


class EngineOption(msgspec.Struct, rename="camel", frozen=True):
    """An engine; `reason` and `remedy` say why it cannot serve this model, and what helps.

    `methods` are the optimizations with which it serves the model; "skip" is among them where it
    serves it as it is.
    """

    name: str
    label: str
    available: bool
    methods: list[str]
    reason: str | None
    remedy: str | None


class DeployOptions(msgspec.Struct, rename="camel", frozen=True):
    """Everything that the deploy wizard offers."""

    terms: TermsView
    servers: list[ServerView]
    defaults: ConfigurationView
    engines: list[EngineOption]
    optimizations: list[OptimizationOption]


# Before a model is chosen, what the installation has is all that can be said.
_WITHOUT_MODEL = {
    name: None if name in OFFERED else rules.missing for name, rules in ENGINES.items()
}


def of(pool: Pool, model_id: UUID | None) -> DeployOptions:
    """The options for a model, or in general. Raises `NotFound`."""
    model = (
        _model(pool, model_id)
        if model_id is not None
        else _Model({}, 0, _WITHOUT_MODEL, None, None)
    )
    card = model.card
    needed = memory_needed_gib(model.total_bytes)
    servers = deploy_servers.offered(pool, needed)
    return DeployOptions(
        terms=TermsView(terms.VERSION, terms.TEXT, terms.SHA256),
        servers=servers,
        defaults=_imported(card) or from_domain(_defaults(model, needed, servers).to_dict()),
        engines=_engines(model),
        optimizations=optimizations(
            EngineFactsTable(pool),
            model.imported,
            model.base,
            accelerator="gpu" if servers[0].gpus else "cpu",
        ),
    )


def memory_needed_gib(weights_bytes: int) -> float:
    """A replica's memory in GiB, to the next half: weights with working space, and the engine."""
    return math.ceil((weights_bytes / GIB * _WEIGHTS_FACTOR + _ENGINE_GIB) * 2) / 2


class _Model(msgspec.Struct, frozen=True):
    """The version that would be deployed; `total_bytes` of an adapter are with its base's."""

    card: dict[str, Any]
    total_bytes: int
    obstacles: Mapping[str, Obstacle | None]
    imported: Imported | None
    base: Imported | None


def _model(pool: Pool, model_id: UUID) -> _Model:
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT m.*, v.card, b.total_bytes AS base_bytes, b.card AS base_card "
            "FROM gallery.models AS m JOIN gallery.versions AS v "
            "ON v.model_id = m.model_id AND v.version = m.model_version "
            "LEFT JOIN gallery.models AS base ON base.model_id = m.base_model_id "
            "LEFT JOIN gallery.versions AS b "
            "ON b.model_id = base.model_id AND b.version = base.model_version "
            "WHERE m.model_id = %s",
            (model_id,),
        ).fetchone()
        if row is None:
            raise NotFound(
                f"There is no model {model_id}.", remedy="Check the id, or reload the list."
            )
        hindered = obstacles_by_engine(connection, [row])[model_id]
    card = row["card"] or {}
    total_bytes = int(card.get("total_bytes") or 0) + (row["base_bytes"] or 0)
    base_card = row["base_card"]
    return _Model(
        card,
        total_bytes,
        hindered,
        Imported.from_card(row["kind"], card),
        Imported.from_card("base", base_card) if base_card is not None else None,
    )


def _serves(model: _Model, rules: EngineRules, method: str) -> bool:
    return model.imported is None or rules.obstacle(model.imported, model.base, method) is None


def _engines(model: _Model) -> list[EngineOption]:
    return [
        EngineOption(
            name=name,
            label=rules.label,
            available=found is None,
            methods=[method for method in rules.methods if _serves(model, rules, method)],
            reason=found.reason if found else None,
            remedy=found.remedy if found else None,
        )
        for name, found in model.obstacles.items()
        for rules in [ENGINES[name]]
    ]


def _imported(card: dict[str, Any]) -> ConfigurationView | None:
    """The `deployconfig.json` that came with the model; its validation has checked it."""
    text = card.get("deploy_configuration")
    return msgspec.json.decode(text, type=ConfigurationView) if text else None


def _defaults(model: _Model, needed: float, servers: list[ServerView]) -> DeployConfiguration:
    can = (
        name
        for name, rules in ENGINES.items()
        if model.obstacles[name] is None and _serves(model, rules, "skip")
    )
    engine = next(can, "vllm")
    server = next((server for server in servers if engine in server.engines), servers[0])
    context = model.card.get("context_length")
    length = {"max_model_len": str(min(context, _LARGEST_DEFAULT_CONTEXT))} if context else {}
    return DeployConfiguration(
        engine=engine,
        hardware=Hardware(
            server=server.name,
            accelerator=server.accelerator,
            accelerator_count=_gpus_for(needed, server),
            memory_gib=needed,
        ),
        engine_arguments=length if engine == "vllm" else {},
    )


def _gpus_for(needed: float, server: ServerView) -> int:
    """As many as hold the model: an engine splits it over one, two, four or so on."""
    if server.accelerator == "cpu":
        return 0
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= len(server.gpus)]
    return next((n for n in counts if (server.room("gpu", n) or needed) >= needed), counts[-1])
