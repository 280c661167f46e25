"""What a replica is on a cluster, as Kubernetes and KServe read it.

One replica of ours is a whole workload there: as many pods as the cluster's own autoscaler wants,
behind one address. Formats: Kubernetes `apps/v1` Deployment, `v1` Service and Secret,
`autoscaling/v2` HorizontalPodAutoscaler; KServe `serving.kserve.io/v1beta1` InferenceService with
the annotations of Knative's autoscaler.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backend.domain.configuration import DeployConfiguration, Hardware
from workers.serving.containers import MODELS, Container, Health

JSON = dict[str, Any]

GROUP = "loggia.dev"
INSTALLATION = f"{GROUP}/installation"
REPLICA = f"{GROUP}/replica"
_LEAST_PODS = f"{GROUP}/least-pods"
_MANAGED_BY = "app.kubernetes.io/managed-by"
_MANAGER = "loggia"
_CONTAINER = "engine"
# KServe finds the container of a predictor by this name.
_KSERVE_CONTAINER = "kserve-container"
_FETCH = "fetch"
_MODELS_VOLUME = "models"
_GPU = "nvidia.com/gpu"
_FETCH_MEMORY = "1Gi"
# What the autoscalers take as longest and, Knative's window, as shortest, in seconds.
_LONGEST_DELAY = 3600
_SHORTEST_WINDOW = 6
# Pods whose processors are busier than this get company.
_CPU_PERCENT = 80
_STARTUP_PERIOD = 5
# While the cluster still sends requests to a pod that is to go, it goes on answering.
_SETTLE_SECONDS = 5


@dataclass(frozen=True)
class Owner:
    """Whose a workload is. `installation` tells one Loggia from another in one namespace."""

    installation: str
    deployment_id: UUID
    model_id: UUID
    revision: int
    replica_id: UUID

    @property
    def name(self) -> str:
        """The name of every object of the replica; short, because Knative appends to it."""
        return name_of(self.replica_id)

    @property
    def labels(self) -> dict[str, str]:
        """By which a worker that starts anew finds what it has to adopt."""
        return {
            _MANAGED_BY: _MANAGER,
            INSTALLATION: self.installation,
            f"{GROUP}/deployment": str(self.deployment_id),
            f"{GROUP}/model": str(self.model_id),
            f"{GROUP}/revision": str(self.revision),
            REPLICA: str(self.replica_id),
        }


@dataclass(frozen=True)
class FilesFetch:
    """How pods get model files: `manifests` are fetched into folders of these names.

    `claim` is a volume that pods share; without one each pod has its own copy.
    """

    image: str
    environment: Mapping[str, str]
    secret: str | None
    claim: str | None
    manifests: Sequence[str]


@dataclass(frozen=True)
class Workload:
    """Everything that the manifests say. `start_seconds` and `drain_seconds` bound a pod's
    beginning and end; `scaling_metric` counts the requests inside a pod, where the cluster has
    such a metric.
    """

    owner: Owner
    container: Container
    configuration: DeployConfiguration
    start_seconds: int
    drain_seconds: int
    files: FilesFetch | None = None
    service_account: str | None = None
    pull_secret: str | None = None
    scaling_metric: str | None = None


def name_of(replica_id: UUID) -> str:
    """The name of the replica's objects."""
    return f"loggia-{replica_id.hex[:20]}"


def selector(installation: str) -> str:
    """The label selector for everything of an installation."""
    return f"{_MANAGED_BY}={_MANAGER},{INSTALLATION}={installation}"


def secret(workload: Workload) -> JSON | None:
    """The Secret with the container's secret values, where it has some."""
    if not workload.container.secrets:
        return None
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(workload.owner),
        "type": "Opaque",
        "stringData": dict(workload.container.secrets),
    }


def deployment(workload: Workload) -> JSON:
    """The Deployment of the plain shape."""
    owner = workload.owner
    selected = {REPLICA: str(owner.replica_id)}
    spec = _pod_spec(workload, _CONTAINER)
    (engine,) = spec["containers"]
    health = workload.container.health
    engine["ports"] = [{"name": "http", "containerPort": workload.container.port}]
    engine["startupProbe"] = {
        **_probe(health, health.port),
        "initialDelaySeconds": health.initial_delay,
        "periodSeconds": _STARTUP_PERIOD,
        "failureThreshold": math.ceil(workload.start_seconds / _STARTUP_PERIOD),
    }
    engine["readinessProbe"] = {
        **_probe(health, health.port),
        "periodSeconds": health.period,
        "failureThreshold": health.failures,
    }
    engine["livenessProbe"] = {
        **_probe(health, health.port),
        "periodSeconds": health.period,
        "failureThreshold": 2 * health.failures,
    }
    engine["lifecycle"] = {"preStop": {"sleep": {"seconds": _SETTLE_SECONDS}}}
    spec["terminationGracePeriodSeconds"] = workload.drain_seconds + 2 * _SETTLE_SECONDS
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        # The autoscaler changes the number in the specification.
        "metadata": {
            **_metadata(owner),
            "annotations": {_LEAST_PODS: str(least_pods(workload.configuration))},
        },
        "spec": {
            "replicas": least_pods(workload.configuration),
            "selector": {"matchLabels": selected},
            "progressDeadlineSeconds": workload.start_seconds,
            "revisionHistoryLimit": 0,
            "template": {"metadata": {"labels": owner.labels}, "spec": spec},
        },
    }


def service(workload: Workload) -> JSON:
    """The Service in front of the plain shape's pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(workload.owner),
        "spec": {
            "type": "ClusterIP",
            "selector": {REPLICA: str(workload.owner.replica_id)},
            "ports": [
                {
                    "name": "http",
                    "protocol": "TCP",
                    "port": workload.container.port,
                    "targetPort": workload.container.port,
                }
            ],
        },
    }


def autoscaler(workload: Workload) -> JSON | None:
    """The HorizontalPodAutoscaler of the plain shape; None where there is nothing to scale.

    It never goes below one pod: whether there is any is Loggia's own decision.
    """
    scaling = workload.configuration.scaling
    least = least_pods(workload.configuration)
    if scaling.max_replicas <= least:
        return None
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(workload.owner),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": workload.owner.name,
            },
            "minReplicas": least,
            "maxReplicas": scaling.max_replicas,
            "metrics": [_metric(workload)],
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": _delay(scaling.scale_up_delay_seconds)},
                "scaleDown": {
                    "stabilizationWindowSeconds": _delay(scaling.scale_down_delay_seconds)
                },
            },
        },
    }


def inference_service(workload: Workload) -> JSON:
    """The InferenceService of the KServe shape, served and scaled by Knative.

    Its `timeout` would end answers; how long those may take is the cluster's decision.
    """
    configuration = workload.configuration
    scaling = configuration.scaling
    spec = _pod_spec(workload, _KSERVE_CONTAINER)
    (engine,) = spec["containers"]
    health = workload.container.health
    # Knative knows one port, and asks for health there.
    engine["ports"] = [{"containerPort": workload.container.port, "protocol": "TCP"}]
    engine["readinessProbe"] = {
        **_probe(health, workload.container.port),
        "periodSeconds": health.period,
        "failureThreshold": health.failures,
    }
    annotations = {
        "serving.kserve.io/deploymentMode": "Serverless",
        "serving.knative.dev/progress-deadline": f"{workload.start_seconds}s",
        "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
        # Knative has no delay before it scales up: it decides by the mean over this window, and
        # panics over a tenth of it unless the threshold is out of reach.
        "autoscaling.knative.dev/window": (
            f"{max(_SHORTEST_WINDOW, _delay(scaling.scale_up_delay_seconds))}s"
        ),
        "autoscaling.knative.dev/panic-threshold-percentage": "1000.0",
        "autoscaling.knative.dev/scale-down-delay": f"{_delay(scaling.scale_down_delay_seconds)}s",
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {**_metadata(workload.owner), "annotations": annotations},
        "spec": {
            "predictor": {
                "minReplicas": scaling.min_replicas,
                "maxReplicas": scaling.max_replicas,
                "scaleMetric": "concurrency",
                "scaleTarget": configuration.parameters.batch_size,
                **spec,
            }
        },
    }


def least_pods(configuration: DeployConfiguration) -> int:
    """The fewest pods of the plain shape while there are any."""
    return max(1, configuration.scaling.min_replicas)


def least_pods_of(found: JSON) -> int:
    """The fewest pods that a Deployment on the cluster was made with."""
    return int(found["metadata"].get("annotations", {}).get(_LEAST_PODS, "1"))


def _metric(workload: Workload) -> JSON:
    if workload.scaling_metric is None:
        target: JSON = {"type": "Utilization", "averageUtilization": _CPU_PERCENT}
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    full = str(workload.configuration.parameters.batch_size)
    return {
        "type": "Pods",
        "pods": {
            "metric": {"name": workload.scaling_metric},
            "target": {"type": "AverageValue", "averageValue": full},
        },
    }


def _delay(seconds: int) -> int:
    return min(seconds, _LONGEST_DELAY)


def _metadata(owner: Owner) -> JSON:
    return {"name": owner.name, "labels": owner.labels}


def _probe(health: Health, port: int) -> JSON:
    return {"httpGet": {"path": health.path, "port": port}, "timeoutSeconds": health.timeout}


def _pod_spec(workload: Workload, container_name: str) -> JSON:
    container = workload.container
    hardware = workload.configuration.hardware
    engine: JSON = {
        "name": container_name,
        "image": container.image,
        "env": [*_plain(container.environment), *_secret_values(workload)],
        "resources": _resources(container, hardware),
        "securityContext": _SECURITY,
    }
    if container.command:
        engine["command"] = list(container.command)
    if container.arguments:
        engine["args"] = list(container.arguments)
    spec: JSON = {
        "containers": [engine],
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
    }
    if workload.service_account:
        spec["serviceAccountName"] = workload.service_account
    if workload.pull_secret:
        spec["imagePullSecrets"] = [{"name": workload.pull_secret}]
    volumes: list[JSON] = []
    mounts: list[JSON] = []
    if workload.files is not None:
        fetch = workload.files
        spec["initContainers"] = [_fetch(fetch)]
        volumes.append(
            {"name": _MODELS_VOLUME, "persistentVolumeClaim": {"claimName": fetch.claim}}
            if fetch.claim
            else {"name": _MODELS_VOLUME, "emptyDir": {}}
        )
        mounts.append({"name": _MODELS_VOLUME, "mountPath": str(MODELS), "readOnly": True})
    if hardware.accelerator_count > 1:
        # GPUs that work together exchange their parts of a layer here.
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    if volumes:
        spec["volumes"] = volumes
        engine["volumeMounts"] = mounts
    return spec


_SECURITY: JSON = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _resources(container: Container, hardware: Hardware) -> JSON:
    memory = f"{math.ceil(max(hardware.memory_gib, container.memory_gib or 0.0) * 1024)}Mi"
    requests: JSON = {"memory": memory}
    limits: JSON = {}
    if container.cpu:
        requests["cpu"] = f"{math.ceil(container.cpu * 1000)}m"
    if hardware.accelerator_count:
        # The deployment's memory is the accelerator's; that of the node is not bounded by it.
        limits[_GPU] = hardware.accelerator_count
    else:
        limits["memory"] = memory
    # An autoscaler that looks at processors needs something to compare with.
    requests.setdefault("cpu", "1")
    return {"requests": requests, "limits": limits}


def _fetch(fetch: FilesFetch) -> JSON:
    return {
        "name": _FETCH,
        "image": fetch.image,
        "command": ["python", "-m", "workers.serving.fetching"],
        "args": [f"--into={MODELS}", *fetch.manifests],
        "env": _plain(fetch.environment),
        **({"envFrom": [{"secretRef": {"name": fetch.secret}}]} if fetch.secret else {}),
        "resources": {"requests": {"memory": _FETCH_MEMORY, "cpu": "1"}},
        "securityContext": _SECURITY,
        "volumeMounts": [{"name": _MODELS_VOLUME, "mountPath": str(MODELS)}],
    }


def _plain(environment: Mapping[str, str]) -> list[JSON]:
    return [{"name": name, "value": value} for name, value in sorted(environment.items())]


def _secret_values(workload: Workload) -> Iterable[JSON]:
    for name in sorted(workload.container.secrets):
        reference = {"name": workload.owner.name, "key": name}
        yield {"name": name, "valueFrom": {"secretKeyRef": reference}}
