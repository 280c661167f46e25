"""Who may call what, and where it runs: a fold of events, without any infrastructure.

Publication changes nothing here: a withdrawn model stays callable with its keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec

from backend.domain.server import BUILT_IN, LOCAL, normal_address
from backend.gateway.interfaces import ENGINE as CONTAINER
from backend.gateway.interfaces import Interfaces, interfaces_of
from backend.gateway.spreading import Replica, choose

Facts = Mapping[str, Any]

# What a request may leave out, in the names of the OpenAI protocol (and of its vLLM extension).
SAMPLING_FIELDS = ("temperature", "max_tokens", "top_p", "top_k", "stop")
# A conversation stays where it was while that replica has no more than this share of a batch more.
_SLACK_SHARE = 4


@dataclass(slots=True)
class Revision:
    """A deploy configuration's sampling defaults, as JSON values, and its ready replicas.

    `slack` is by how many outstanding requests a conversation's own replica may be busier,
    `accelerators` the number of GPUs that each replica has. `interfaces` are those of a container
    image; None where it is another engine's. Replicas on registered servers are `shared`: other
    models are there too.
    """

    defaults: dict[str, bytes] = field(default_factory=dict)
    slack: int = 0
    interfaces: Interfaces | None = None
    accelerators: int = 0
    shared: bool = False
    replicas: dict[str, Replica] = field(default_factory=dict)


@dataclass(slots=True)
class ModelRoute:
    """One model: where its requests go at this moment."""

    model_id: str
    name: str
    created: int
    revisions: dict[int, Revision] = field(default_factory=dict)
    serving_revision: int | None = None
    desired_revision: int | None = None
    stopped: bool = False
    # Of container images, by version.
    interfaces: dict[str, Interfaces] = field(default_factory=dict)
    # Adapters that its replicas answer for, by their model ids: their names.
    adapters: dict[str, str] = field(default_factory=dict)
    turn: Iterator[int] = field(default_factory=count)

    @property
    def serving(self) -> Revision | None:
        """The revision that new requests go to; None where there is none or it is being stopped."""
        if self.stopped or self.serving_revision is None:
            return None
        return self.revisions.get(self.serving_revision)

    def pick(
        self, conversation: int | None = None, exclude: Replica | None = None
    ) -> Replica | None:
        """The serving revision's replica that a request goes to; None where none can be used."""
        serving = self.serving
        if serving is None:
            return None
        usable = [r for r in serving.replicas.values() if not r.ejected and r is not exclude]
        if len(usable) < 2:
            return usable[0] if usable else None
        start = next(self.turn) % len(usable)
        return choose(usable[start:] + usable[:start], conversation, serving.slack)

    def has(self, replica: Replica) -> bool:
        """Whether it is one of the model's replicas still."""
        return any(
            revision.replicas.get(replica.replica_id) is replica
            for revision in self.revisions.values()
        )


@dataclass(slots=True, frozen=True)
class Key:
    """A right to call one model. `ordinal` counts all keys ever made, in the order of events."""

    key_id: str
    model_id: str
    ordinal: int
    expires_at: float | None
    requests_per_minute: int | None


class RoutingTable:
    """The current routes. Applying an event again, or an older one, changes nothing."""

    def __init__(self) -> None:
        self.position = 0
        self.models: dict[str, ModelRoute] = {}
        # Adapters beside their running base models, by their model ids.
        self._hosts: dict[str, str] = {}
        self._keys: dict[str, Key] = {}
        self._digests: dict[str, str] = {}
        self._keys_made = 0
        self._handlers: dict[str, Callable[[Facts, datetime], None]] = {
            "ModelImportRequested": self._import_requested,
            "ModelVersionRequested": self._version_requested,
            "ModelDeleted": self._model_deleted,
            "ApiKeyCreated": self._key_created,
            "ApiKeyRevoked": self._key_revoked,
            "DeploymentRequested": self._deployment_requested,
            "ReplicaReady": self._replica_ready,
            "ReplicaLost": self._replica_gone,
            "ReplicaRetired": self._replica_gone,
            "RevisionDeployed": self._revision_deployed,
            "RevisionFailed": self._revision_failed,
            "RevisionRetired": self._revision_retired,
            "DeploymentStopRequested": self._stop_requested,
            "DeploymentStopped": self._stopped,
            "AdapterLoaded": self._adapter_loaded,
            "AdapterUnloadRequested": self._adapter_gone,
            "AdapterUnloaded": self._adapter_gone,
        }

    @property
    def event_types(self) -> tuple[str, ...]:
        """The events that matter here."""
        return tuple(self._handlers)

    def apply(self, position: int, event_type: str, facts: Facts, at: datetime) -> None:
        """Folds one event in."""
        if position <= self.position:
            return
        self.position = position
        handler = self._handlers.get(event_type)
        if handler is not None:
            handler(facts, at)

    def key(self, sha256: str) -> Key | None:
        """The key with this digest, unless it has been revoked. Expiry is the caller's to check."""
        return self._keys.get(sha256)

    def target(self, route: ModelRoute, name: str) -> ModelRoute | None:
        """Whose replicas answer for this name, for a key of this model; None where it is no name
        that the key opens.

        A base model's key opens the adapters beside it. An adapter that serves nowhere on its own
        is answered for by its base.
        """
        if name == route.name:
            host = self.models.get(self._hosts.get(route.model_id, ""))
            beside = host is not None and route.model_id in host.adapters
            return host if beside and route.serving is None else route
        return route if name in route.adapters.values() else None

    def _import_requested(self, facts: Facts, at: datetime) -> None:
        model_id = facts["model_id"]
        self.models[model_id] = ModelRoute(model_id, facts["name"], int(at.timestamp()))
        self._version_requested(facts, at)

    def _version_requested(self, facts: Facts, _: datetime) -> None:
        route, offered = self.models.get(facts["model_id"]), interfaces_of(facts.get("origin"))
        if route is not None and offered:
            route.interfaces[facts["version"]] = offered

    def _model_deleted(self, facts: Facts, _: datetime) -> None:
        route = self.models.pop(facts["model_id"], None)
        if route is not None:
            route.revisions.clear()

    def _adapter_loaded(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            route.adapters[facts["adapter_model_id"]] = facts["adapter_name"]
            self._hosts[facts["adapter_model_id"]] = route.model_id

    def _adapter_gone(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            route.adapters.pop(facts["adapter_model_id"], None)

    def _key_created(self, facts: Facts, _: datetime) -> None:
        expires_at = facts.get("expires_at")
        self._keys[facts["sha256"]] = Key(
            key_id=facts["key_id"],
            model_id=facts["model_id"],
            ordinal=self._keys_made,
            expires_at=_timestamp(expires_at) if expires_at else None,
            requests_per_minute=facts.get("requests_per_minute"),
        )
        self._digests[facts["key_id"]] = facts["sha256"]
        self._keys_made += 1

    def _key_revoked(self, facts: Facts, _: datetime) -> None:
        digest = self._digests.pop(facts["key_id"], None)
        if digest is not None:
            del self._keys[digest]

    def _deployment_requested(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            configuration = facts["configuration"]
            parameters = configuration.get("parameters") or {}
            hardware = configuration.get("hardware") or {}
            is_image = configuration.get("engine") == CONTAINER
            route.revisions[facts["revision"]] = Revision(
                _defaults(parameters),
                slack=(parameters.get("batch_size") or 1) // _SLACK_SHARE,
                interfaces=route.interfaces.get(facts["model_version"], frozenset())
                if is_image
                else None,
                accelerators=hardware.get("accelerator_count", 0),
                shared=hardware.get("server", LOCAL) not in BUILT_IN,
            )
            route.desired_revision = facts["revision"]
            route.stopped = False

    def _replica_ready(self, facts: Facts, _: datetime) -> None:
        revision = self._revision(facts)
        if revision is not None:
            endpoint = facts["endpoint"].rstrip("/").removesuffix("/v1")
            revision.replicas[facts["replica_id"]] = Replica(
                facts["replica_id"],
                normal_address(endpoint) if revision.shared else endpoint,
                facts["revision"],
                revision.accelerators,
                shared=revision.shared,
            )

    def _replica_gone(self, facts: Facts, _: datetime) -> None:
        revision = self._revision(facts)
        if revision is not None:
            revision.replicas.pop(facts["replica_id"], None)

    def _revision_deployed(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            route.serving_revision = facts["revision"]

    def _revision_failed(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            route.serving_revision = facts.get("serving_revision")
            self._forget(route, facts["revision"])

    def _revision_retired(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            self._forget(route, facts["revision"])

    def _stop_requested(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            route.stopped = True

    def _stopped(self, facts: Facts, _: datetime) -> None:
        route = self.models.get(facts["model_id"])
        if route is not None:
            route.stopped = True
            route.serving_revision = None
            route.revisions.clear()
            route.adapters.clear()

    def _revision(self, facts: Facts) -> Revision | None:
        route = self.models.get(facts["model_id"])
        return route.revisions.get(facts["revision"]) if route is not None else None

    @staticmethod
    def _forget(route: ModelRoute, revision: int) -> None:
        route.revisions.pop(revision, None)
        if route.serving_revision == revision:
            route.serving_revision = None


def _timestamp(value: str) -> float:
    moment = datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _defaults(parameters: Facts) -> dict[str, bytes]:
    return {
        name: msgspec.json.encode(value)
        for name, value in _given(parameters, SAMPLING_FIELDS)
        if value != []
    }


def _given(parameters: Facts, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    for name in names:
        value = parameters.get(name)
        if value is not None:
            yield name, value
