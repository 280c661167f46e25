"""Adapters beside a running base model: one of the tables of the deployments' projection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backend.contracts.codec import PublicEvent
from projections.tables import Fold, Row, Rows, Table

ADAPTERS = Table(
    name="adapters",
    columns={
        "model_id": "uuid",
        "adapter_model_id": "uuid",
        "name": "text NOT NULL",
        "version": "text NOT NULL",
        # loading, loaded, unloading or failed.
        "state": "text NOT NULL",
        "since": "timestamptz NOT NULL",
        "actor": "text NOT NULL",
        # What is doubtful about it, in words.
        "warnings": "text[] NOT NULL",
        # Why it could not be loaded.
        "failure": "text",
    },
    key=("model_id", "adapter_model_id"),
)


def folds(touch: Callable[[Rows, PublicEvent], Row], deployments: Table) -> dict[str, Fold]:
    """The folds of their events; `touch` notes the event in the deployment's own row."""

    def touching(fold: Callable[[Rows, PublicEvent, Any], None]) -> Fold:
        def apply(rows: Rows, event: PublicEvent, facts: Any) -> None:
            touch(rows, event)
            fold(rows, event, facts)

        return Fold(apply, (deployments, ADAPTERS))

    return {
        "AdapterLoadRequested": touching(_adapter_wanted),
        "AdapterLoaded": touching(_adapter_loaded),
        "AdapterUnloadRequested": touching(_adapter_unwanted),
        "AdapterUnloaded": touching(_adapter_unloaded),
    }


def stop(rows: Rows, model_id: str) -> None:
    """The model has been stopped; what was loaded is loaded again with it."""
    for adapter in rows.of_group(ADAPTERS, model_id):
        if adapter["state"] == "unloading":
            rows.delete(ADAPTERS, model_id, adapter["adapter_model_id"])
        elif adapter["state"] == "loaded":
            rows.change(ADAPTERS, model_id, adapter["adapter_model_id"])["state"] = "loading"


def _adapter_wanted(rows: Rows, event: PublicEvent, facts: Any) -> None:
    wanted = {
        "name": facts.adapter_name,
        "version": facts.adapter_version,
        "state": "loading",
        "since": event.time.isoformat(),
        "actor": event.actor,
        "warnings": [],
        "failure": None,
    }
    known = rows.find(ADAPTERS, facts.model_id, facts.adapter_model_id)
    if known is not None:
        known.update(wanted)
        return
    rows.insert(
        ADAPTERS,
        {"model_id": facts.model_id, "adapter_model_id": facts.adapter_model_id, **wanted},
    )


def _adapter_loaded(rows: Rows, event: PublicEvent, facts: Any) -> None:
    known = rows.find(ADAPTERS, facts.model_id, facts.adapter_model_id)
    if known is not None:
        known.update(state="loaded", since=event.time.isoformat(), warnings=list(facts.warnings))


def _adapter_unwanted(rows: Rows, event: PublicEvent, facts: Any) -> None:
    known = rows.find(ADAPTERS, facts.model_id, facts.adapter_model_id)
    if known is not None and known["state"] == "loaded":
        known.update(state="unloading", since=event.time.isoformat(), actor=event.actor)
    elif known is not None:
        rows.delete(ADAPTERS, facts.model_id, facts.adapter_model_id)


def _adapter_unloaded(rows: Rows, event: PublicEvent, facts: Any) -> None:
    known = rows.find(ADAPTERS, facts.model_id, facts.adapter_model_id)
    if known is None:
        return
    if known["state"] == "unloading":
        rows.delete(ADAPTERS, facts.model_id, facts.adapter_model_id)
    else:
        known.update(state="failed", since=event.time.isoformat(), failure=facts.reason)
