"""A base model's adapters: which are called beside it, and which could be."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.rows import DictRow

from backend.domain.errors import NotFound
from backend.domain.held_adapters import hosting_obstacle
from backend.domain.servable import Imported, adapter_rank, obstacle
from backend.infra.postgres import Pool

_COMING = {"deploying", "optimizing"}


class AdapterView(msgspec.Struct, rename="camel", frozen=True):
    """An adapter of the model, in its current `version`.

    `state` is `loading`, `loaded`, `unloading` or `failed`, null where it was never asked for;
    `loaded_version` is the one that this is about. `warnings` say what is doubtful, `failure` why
    it could not be loaded. `refusal` says why it cannot be loaded now; null where it can.
    """

    model_id: UUID
    name: str
    version: str | None
    rank: int | None
    state: str | None
    loaded_version: str | None
    since: datetime | None
    warnings: list[str]
    failure: str | None
    refusal: str | None


class AdapterList(msgspec.Struct, rename="camel", frozen=True):
    """Every adapter that was imported for the model, by name; `may_change` is about the caller."""

    items: list[AdapterView]
    may_change: bool


def adapters(pool: Pool, model_id: UUID, *, may_load: bool) -> AdapterList:
    """The model's adapters. Raises `NotFound` where there is no such model."""
    with pool.connection() as connection:
        base = connection.execute(
            "SELECT m.kind, v.card, d.state, d.serving_revision, r.configuration "
            "FROM gallery.models AS m LEFT JOIN gallery.versions AS v "
            "ON v.model_id = m.model_id AND v.version = m.model_version "
            "LEFT JOIN deployments.deployments AS d ON d.model_id = m.model_id "
            "LEFT JOIN deployments.revisions AS r "
            "ON r.model_id = m.model_id AND r.revision = CASE WHEN d.state = ANY(%s) "
            "THEN d.desired_revision ELSE coalesce(d.serving_revision, d.desired_revision) END "
            "WHERE m.model_id = %s",
            (sorted(_COMING), model_id),
        ).fetchone()
        if base is None:
            raise NotFound(
                f"There is no model {model_id}.", remedy="Check the id, or reload the list."
            )
        rows = connection.execute(
            "SELECT m.model_id, m.name, m.state AS model_state, m.model_version AS version, "
            "v.card, a.state, a.version AS loaded_version, a.since, a.warnings, a.failure "
            "FROM gallery.models AS m LEFT JOIN gallery.versions AS v "
            "ON v.model_id = m.model_id AND v.version = m.model_version "
            "LEFT JOIN deployments.adapters AS a "
            "ON a.model_id = m.base_model_id AND a.adapter_model_id = m.model_id "
            "WHERE m.base_model_id = %s ORDER BY m.name",
            (model_id,),
        ).fetchall()
    hindered = _base_refusal(base, may_load=may_load)
    return AdapterList([_view(row, base, hindered) for row in rows], may_load)


def _view(row: DictRow, base: DictRow, hindered: str | None) -> AdapterView:
    card: dict[str, Any] = row["card"] or {}
    return AdapterView(
        model_id=row["model_id"],
        name=row["name"],
        version=row["version"],
        rank=adapter_rank(card) or None,
        state=row["state"],
        loaded_version=row["loaded_version"],
        since=row["since"],
        warnings=row["warnings"] or [],
        failure=row["failure"],
        refusal=hindered or _own_refusal(row, card, base),
    )


def _base_refusal(base: DictRow, *, may_load: bool) -> str | None:
    if not may_load:
        return "Your role may not load adapters."
    if base["serving_revision"] is None and base["state"] not in _COMING:
        return "Deploy the base model first."
    hindered = hosting_obstacle(base["configuration"])
    return f"{hindered.reason} {hindered.remedy}" if hindered is not None else None


def _own_refusal(row: DictRow, card: dict[str, Any], base: DictRow) -> str | None:
    if row["model_state"] != "ready_to_deploy" or row["version"] is None:
        return "Its import has not been completed."
    found = obstacle(
        Imported.from_card("adapter", card),
        Imported.from_card("base", base["card"] or {}),
        engine="vllm",
    )
    return f"{found.reason} {found.remedy}" if found is not None else None
