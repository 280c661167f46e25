"""What may be done with a model now, and why not: the aggregates' own rules, said beforehand.

A command decides again; this only keeps people from trying in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from backend.domain.deployment_events import DeploymentState
from backend.domain.model import ModelState
from backend.domain.servable import Obstacle

MayAct = Callable[[str], bool]

_BUSY = {ModelState.IMPORTING, ModelState.VALIDATING}
_WORDS = {
    ModelState.IMPORTING: "being imported",
    ModelState.VALIDATING: "being validated",
    ModelState.FAILED: "not usable, because its import failed",
    ModelState.READY: "ready to deploy",
    ModelState.DELETED: "deleted",
}


class ActionView(msgspec.Struct, rename="camel", frozen=True):
    """Whether an action is possible now; `reason` says why it is not."""

    allowed: bool
    reason: str | None = None


class Actions(msgspec.Struct, rename="camel", frozen=True):
    """Every action of a model's page."""

    deploy: ActionView
    redeploy: ActionView
    rollback: ActionView
    start: ActionView
    stop: ActionView
    publish: ActionView
    withdraw: ActionView
    retry: ActionView
    cancel: ActionView
    edit: ActionView
    delete: ActionView


@dataclass(frozen=True)
class Situation:
    """What the rules look at. `deployment_state` is None where it was never deployed.

    `latest_state` and `retriable` are those of the version that was asked for last; `obstacle` is
    why no engine can serve the version that is shown.
    """

    state: str
    latest_state: str
    publication: str
    deployment_state: str | None
    retriable: bool
    obstacle: Obstacle | None = None


def actions_of(situation: Situation, may: MayAct) -> Actions:
    """The actions for somebody with these rights."""
    refusals = {
        "deploy": _deploy(situation),
        "redeploy": _redeploy(situation),
        "rollback": _redeploy(situation),
        "start": _start(situation),
        "stop": _stop(situation),
        "publish": _publish(situation),
        "withdraw": _withdraw(situation),
        "retry": _retry(situation),
        "cancel": _cancel(situation),
        "edit": None,
        "delete": _delete(situation),
    }
    return Actions(**{name: _view(name, reason, may) for name, reason in refusals.items()})


def _view(action: str, refusal: str | None, may: MayAct) -> ActionView:
    if not may(action):
        return ActionView(False, "Your role may not do this.")
    return ActionView(refusal is None, refusal)


def _not_ready(situation: Situation) -> str | None:
    if situation.state == ModelState.READY:
        return None
    return f"The model is {_WORDS[ModelState(situation.state)]}."


def _not_servable(situation: Situation) -> str | None:
    if situation.state != ModelState.READY or situation.obstacle is None:
        return _not_ready(situation)
    return f"{situation.obstacle.reason} {situation.obstacle.remedy}"


def _deploy(situation: Situation) -> str | None:
    if situation.deployment_state is not None:
        return "The model has been deployed before: redeploy it."
    return _not_servable(situation)


def _redeploy(situation: Situation) -> str | None:
    if situation.deployment_state is None:
        return "The model has never been deployed."
    if situation.deployment_state == DeploymentState.STOPPING:
        return "The deployment is being stopped; wait until it has stopped."
    return _not_servable(situation)


def _start(situation: Situation) -> str | None:
    if situation.deployment_state in {DeploymentState.STOPPED, DeploymentState.FAILED, None}:
        return _redeploy(situation)
    if situation.deployment_state == DeploymentState.STOPPING:
        return "The deployment is being stopped; wait until it has stopped."
    return f"The deployment is {situation.deployment_state}; only a stopped or failed one starts."


def _stop(situation: Situation) -> str | None:
    if situation.deployment_state is None:
        return "The model has never been deployed."
    if situation.deployment_state == DeploymentState.STOPPING:
        return "The deployment is being stopped already."
    if situation.deployment_state == DeploymentState.STOPPED:
        return "The deployment is stopped."
    return None


def _publish(situation: Situation) -> str | None:
    if situation.publication == "published":
        return "The model is on the marketplace already."
    return _not_ready(situation)


def _withdraw(situation: Situation) -> str | None:
    if situation.publication == "published":
        return None
    return "The model is not on the marketplace."


def _retry(situation: Situation) -> str | None:
    if situation.latest_state != ModelState.FAILED:
        return "Only a failed import can be retried."
    if not situation.retriable:
        return (
            "The archive never arrived completely: upload it again, as a new version."
            if situation.state == ModelState.READY
            else "The archive never arrived completely: delete the model and upload it again."
        )
    return None


def _cancel(situation: Situation) -> str | None:
    return None if situation.latest_state in _BUSY else "No import is under way."


def _delete(situation: Situation) -> str | None:
    if situation.deployment_state is not None:
        return "A model that has been deployed stays, with its history."
    return None
