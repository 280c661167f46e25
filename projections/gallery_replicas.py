"""How many replicas of a model are wanted and answer, as lists show it.

A model's column `replicas` holds what is needed to count them: which revision serves, how many are
wanted of each, and which answer. It is NULL until the model is deployed.
"""

from __future__ import annotations

from typing import Any

from projections.tables import Row

NOTHING: dict[str, Any] = {"serving": None, "wanted": {}, "ready": {}}


def change(row: Row, event_type: str, facts: Any) -> None:
    """Applies an event of the deployment to its model's row."""
    if event_type == "DeploymentStopped":
        row["replicas"] = None
        return
    state = row.get("replicas") or NOTHING
    serving, wanted, ready = state["serving"], dict(state["wanted"]), dict(state["ready"])
    revision = str(facts.revision)
    if event_type == "DeploymentRequested":
        scaling = facts.configuration.scaling
        before = wanted.get(str(serving), 0)
        # At least one must prove the revision, and it must bear what the one before bears.
        wanted[revision] = max(1, scaling.min_replicas, min(before, scaling.max_replicas))
    elif event_type == "DeploymentScaled":
        wanted[revision] = facts.to_replicas
    elif event_type == "ReplicaReady":
        ready[revision] = sorted({*ready.get(revision, ()), facts.replica_id})
    elif event_type in {"ReplicaLost", "ReplicaRetired"}:
        ready[revision] = [r for r in ready.get(revision, ()) if r != facts.replica_id]
    elif event_type == "RevisionDeployed":
        serving = facts.revision
    elif event_type in {"RevisionFailed", "RevisionRetired"}:
        wanted.pop(revision, None)
        ready.pop(revision, None)
        serving = None if serving == facts.revision else serving
    row["replicas"] = {"serving": serving, "wanted": wanted, "ready": ready}
