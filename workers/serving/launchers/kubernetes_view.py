"""What a cluster holds of ours, kept up to date by watching, and what that says of a replica."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from backend.domain.errors import DomainError
from backend.infra.logging import get_logger
from workers.serving.engine import Diagnosis
from workers.serving.launchers.kubernetes_api import Cluster, Expired, Kind
from workers.serving.launchers.kubernetes_manifests import REPLICA, least_pods_of
from workers.serving.launchers.launcher import Sighting, Unreachable

JSON = dict[str, Any]

_FIRST_LOOK_SECONDS = 10.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_OUT_OF_MEMORY = "OOMKilled"
# Why a container waits that waiting does not mend.
_NO_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_NO_CONTAINER = frozenset({"CreateContainerError", "RunContainerError"})
_log = get_logger(__name__)


class Mirror:
    """The objects of one kind, as the cluster has told of them.

    It lists once and then watches from there; after an interruption it goes on from the version
    that it has seen, and lists again where the cluster no longer knows that one. While the cluster
    cannot be reached, what was seen last stands.
    """

    def __init__(self, cluster: Cluster, kind: Kind, selector: str) -> None:
        self._cluster = cluster
        self._kind = kind
        self._selector = selector
        self._objects: dict[str, JSON] = {}
        self._lock = threading.Lock()
        self._complete = threading.Event()
        self._stopped = threading.Event()
        self._trouble = ""
        self._thread: threading.Thread | None = None

    def get(self, name: str) -> JSON | None:
        """The object, or None. Raises `Unreachable` before the first complete look."""
        self._await()
        with self._lock:
            return self._objects.get(name)

    def having(self, label: str, value: str) -> list[JSON]:
        """The objects with this label, oldest name first. Raises `Unreachable` as `get` does."""
        self._await()
        with self._lock:
            found = [
                each
                for each in self._objects.values()
                if each["metadata"].get("labels", {}).get(label) == value
            ]
        return sorted(found, key=lambda each: str(each["metadata"]["name"]))

    def all(self) -> list[JSON]:
        """Every object. Raises `Unreachable` as `get` does."""
        self._await()
        with self._lock:
            return list(self._objects.values())

    def learn(self, found: JSON) -> None:
        """Knows an object before the watch tells of it."""
        with self._lock:
            self._objects.setdefault(found["metadata"]["name"], found)

    def close(self) -> None:
        """Ends at the next change or pause; does not wait for it."""
        self._stopped.set()

    def _await(self) -> None:
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._follow, name=f"watch {self._kind}", daemon=True
                    )
                    self._thread.start()
        if not self._complete.wait(_FIRST_LOOK_SECONDS):
            raise Unreachable(self._trouble or f"the cluster has not listed its {self._kind}s yet")

    def _follow(self) -> None:
        version: str | None = None
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            try:
                if version is None:
                    items, version = self._cluster.list(self._kind, self._selector)
                    with self._lock:
                        self._objects = {item["metadata"]["name"]: item for item in items}
                    self._complete.set()
                for event, found in self._cluster.watch(self._kind, self._selector, version):
                    version = found["metadata"]["resourceVersion"]
                    self._apply(event, found)
                    pause = _FIRST_PAUSE
                    if self._stopped.is_set():
                        return
            except Expired:
                version = None
            except (Unreachable, DomainError) as error:
                self._trouble = str(error)
                _log.warning("the cluster cannot be watched, trying again", error=str(error))
                self._stopped.wait(pause)
                pause = min(_LONGEST_PAUSE, 2 * pause)

    def _apply(self, event: str, found: JSON) -> None:
        if event == "BOOKMARK":
            return
        name = found["metadata"]["name"]
        with self._lock:
            if event == "DELETED":
                self._objects.pop(name, None)
            else:
                self._objects[name] = found


def sight_deployment(workload: JSON, service: JSON | None, pods: Sequence[JSON]) -> Sighting:
    """What a Deployment and its pods say.

    Until the first time that all its pods were there, a pod that ends means that it will never
    serve; from then on the cluster starts pods again by itself.
    """
    status = workload.get("status", {})
    progress = _condition(status, "Progressing")
    completed = progress.get("reason") == "NewReplicaSetAvailable"
    if not completed:
        lost = _never(pods)
        if lost is not None:
            return lost
        if progress.get("status") == "False":
            return _too_late(progress, pods)
    available = status.get("availableReplicas", 0)
    enough = completed or available >= least_pods_of(workload)
    address = (service or {}).get("spec", {}).get("clusterIP")
    return Sighting(
        known=True,
        running=not workload["metadata"].get("deletionTimestamp"),
        endpoint=_endpoint(service, address) if enough and address else None,
        healthy=available > 0,
        inside=_addresses(pods),
    )


def sight_inference_service(workload: JSON, pods: Sequence[JSON]) -> Sighting:
    """What an InferenceService and its pods say; with no pod at all it may still be healthy."""
    status = workload.get("status", {})
    ready = _condition(status, "Ready").get("status") == "True"
    served = ready or bool(status.get("components", {}).get("predictor", {}).get(_LATEST_READY))
    if not served:
        lost = _never(pods)
        if lost is not None:
            return lost
        failed = status.get("modelStatus", {}).get("lastFailureInfo", {})
        if failed.get("reason") == "InvalidPredictorSpec":
            return _lost(
                f"KServe refuses the workload: {failed.get('message', '')}",
                "Change what it names, then redeploy.",
            )
    url = status.get("address", {}).get("url") or status.get("url")
    return Sighting(
        known=True,
        running=not workload["metadata"].get("deletionTimestamp"),
        endpoint=url.rstrip("/") if ready and url else None,
        healthy=ready,
        inside=_addresses(pods),
    )


_LATEST_READY = "latestReadyRevision"


def notes(pods: Sequence[JSON]) -> list[str]:
    """What the cluster says about pods that do not run yet, for people who wait."""
    found = []
    for pod in pods:
        scheduled = _condition(pod.get("status", {}), "PodScheduled")
        if scheduled.get("status") == "False" and scheduled.get("message"):
            found.append(f"The cluster has no room yet: {scheduled['message']}")
        for status in statuses(pod):
            waiting = status.get("state", {}).get("waiting", {})
            if waiting.get("reason"):
                said = waiting.get("message", "")
                found.append(f"{status['name']}: {waiting['reason']} {said}".rstrip())
    return found


def statuses(pod: JSON) -> list[JSON]:
    """The states of the pod's containers, those that prepare it first."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _never(pods: Sequence[JSON]) -> Sighting | None:
    """Why pods that have never served never will."""
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        preparing = pod.get("status", {}).get("initContainerStatuses", [])
        for status in statuses(pod):
            waiting = status.get("state", {}).get("waiting", {})
            reason, said = waiting.get("reason", ""), waiting.get("message", "")
            if reason in _NO_IMAGE:
                return _lost(
                    f"The cluster cannot get the image {status.get('image', '')}: {said}",
                    "Correct the image's name, or name the account for its registry in "
                    "LOGGIA_KUBERNETES_PULL_SECRET; then redeploy.",
                )
            if reason in _NO_CONTAINER:
                return _lost(
                    f"The cluster cannot start the container '{status['name']}': {said}",
                    "Correct the command or the image, then redeploy.",
                )
            ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get(
                "terminated"
            )
            # Fetching is tried a second time: an object store may have been away for a moment.
            tries = 1 if status in preparing else 0
            if ended and ended.get("exitCode", 0) != 0 and status.get("restartCount", 0) >= tries:
                return _ended(ended)
    return None


def _ended(ended: Mapping[str, Any]) -> Sighting:
    if ended.get("reason") == _OUT_OF_MEMORY:
        why = Diagnosis(
            "The pod was ended because it needed more memory than it has.",
            "Give the deployment more memory, then redeploy.",
        )
        return Sighting(known=True, running=False, exit_code=ended.get("exitCode"), why=why)
    return Sighting(known=True, running=False, exit_code=ended.get("exitCode"))


def _too_late(progress: Mapping[str, Any], pods: Sequence[JSON]) -> Sighting:
    why = "; ".join(notes(pods)) or str(progress.get("message", ""))
    return _lost(
        f"The pods were not ready in time. {why}",
        "See that the cluster has room for them; where the model is only large, raise "
        "LOGGIA_ENGINE_START_SECONDS. Then redeploy.",
    )


def _lost(reason: str, remedy: str) -> Sighting:
    return Sighting(known=True, running=False, why=Diagnosis(reason.strip(), remedy))


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = status.get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def _endpoint(service: JSON | None, address: str) -> str:
    (port,) = (service or {})["spec"]["ports"]
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port['port']}"


def _addresses(pods: Sequence[JSON]) -> tuple[str, ...]:
    """Where each pod answers by itself."""
    found = []
    for pod in pods:
        address = pod.get("status", {}).get("podIP")
        ports = [
            port["containerPort"]
            for container in pod.get("spec", {}).get("containers", [])
            for port in container.get("ports", [])
        ]
        running = pod.get("status", {}).get("phase") == "Running"
        if address and ports and running:
            host = f"[{address}]" if ":" in address else address
            found.append(f"http://{host}:{ports[0]}")
    return tuple(found)


def replica_of(found: JSON) -> str:
    """The id of the replica that an object belongs to."""
    return str(found["metadata"].get("labels", {}).get(REPLICA, ""))
