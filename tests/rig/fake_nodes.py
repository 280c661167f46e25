"""FAKE nodes for the fake cluster: they run pods as processes of this machine.

Each pod gets an address of its own in 127.0.0.0/8, and a folder that stands for its `/models`. Its
containers' commands are run as they are, but that `0.0.0.0` becomes the pod's address and
`/models` its folder. A Service's address forwards connections to ready pods, in turn. Deployments
and InferenceServices get their pods and their status; autoscaling is the test's to play.
"""

from __future__ import annotations

import base64
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from tests.rig.fake_cluster import FakeCluster, RunningCluster
from tests.rig.forwarding import forward, own_address

JSON = dict[str, Any]

_TICK_SECONDS = 0.05
_REPOSITORY = Path(__file__).parents[2]


@dataclass
class _Container:
    name: str
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    last_exit: int | None = None
    retry_at: float = 0.0

    def status(self, spec: JSON, *, ready: bool) -> JSON:
        found: JSON = {
            "name": self.name,
            "image": spec["image"],
            "imageID": "",
            "restartCount": self.restarts,
            "ready": ready,
        }
        code = self.process.poll() if self.process else None
        if spec["image"].startswith("missing/"):
            waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
            found["state"] = {"waiting": waiting}
        elif self.process is None:
            found["state"] = {"waiting": {"reason": "PodInitializing"}}
        elif code is None:
            found["state"] = {"running": {}}
        else:
            reason = "Completed" if code == 0 else "Error"
            found["state"] = {"terminated": {"exitCode": code % 256, "reason": reason}}
        if self.last_exit is not None:
            found["lastState"] = {"terminated": {"exitCode": self.last_exit % 256}}
        return found


@dataclass
class _Pod:
    name: str
    owner: str
    template: JSON
    folder: Path
    address: str = field(default_factory=own_address)
    fetching: _Container | None = None
    engine: _Container | None = None
    ready: bool = False


class FakeNodes:
    """Brings pods into being while it runs."""

    def __init__(self, cluster: FakeCluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._pods: dict[str, _Pod] = {}
        self._since: dict[str, float] = {}
        self._stop = threading.Event()
        self._listeners: list[socket.socket] = []
        self._client = httpx.Client(timeout=0.5, trust_env=False)
        # The commands of images that have their own.
        self.images: dict[str, list[str]] = {}
        # Set to nothing for a cluster that has no room.
        self.room = True
        cluster.logs = self._log
        cluster.service_made = self._serve
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends every pod."""
        self._stop.set()
        self._thread.join()
        for pod in list(self._pods.values()):
            self._end(pod)
        for listener in self._listeners:
            listener.close()
        self._client.close()

    def processes(self) -> list[int]:
        """The engines' process ids."""
        return [
            pod.engine.process.pid
            for pod in self._pods.values()
            if pod.engine and pod.engine.process and pod.engine.process.poll() is None
        ]

    def folders(self) -> list[Path]:
        """What stands for /models, one for each pod."""
        return [pod.folder / "models" for pod in self._pods.values()]

    def _run(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            for plural in ("deployments", "inferenceservices"):
                for workload in self._cluster.of(plural):
                    self._keep(plural, workload)
            self._remove_ownerless()

    def _keep(self, plural: str, workload: JSON) -> None:
        name, spec = workload["metadata"]["name"], workload["spec"]
        if plural == "deployments":
            wanted, template = spec["replicas"], spec["template"]["spec"]
        else:
            # Knative begins with one pod, also where none is the least.
            wanted, template = max(1, spec["predictor"]["minReplicas"]), spec["predictor"]
        mine = [pod for pod in self._pods.values() if pod.owner == name]
        for _ in range(wanted - len(mine)):
            pod_name = f"{name}-{uuid4().hex[:5]}"
            pod = _Pod(pod_name, name, template, self._folder / pod_name)
            self._pods[pod_name] = pod
            mine.append(pod)
            manifest = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod_name, "labels": workload["metadata"]["labels"]},
                "spec": {key: template[key] for key in ("containers",)},
            }
            self._cluster.create("pods", manifest)
        for pod in mine[wanted:]:
            self._remove(pod)
        for pod in mine[:wanted]:
            self._step(pod)
            self._cluster.change("pods", pod.name, partial(self._tell, pod=pod))
        self._status(plural, workload, mine[:wanted], wanted)

    def _step(self, pod: _Pod) -> None:
        spec = pod.template
        if not self.room or spec["containers"][0]["image"].startswith("missing/"):
            return
        pod.folder.mkdir(parents=True, exist_ok=True)
        preparing = spec.get("initContainers", [])
        if preparing and (pod.fetching is None or not self._succeeded(pod.fetching)):
            if pod.fetching is None:
                pod.fetching = _Container(preparing[0]["name"], pod.folder / "fetch.log")
            self._keep_running(pod, pod.fetching, preparing[0])
            return
        if pod.engine is None:
            pod.engine = _Container(spec["containers"][0]["name"], pod.folder / "engine.log")
        self._keep_running(pod, pod.engine, spec["containers"][0])
        pod.ready = self._healthy(pod, spec["containers"][0])

    @staticmethod
    def _succeeded(container: _Container) -> bool:
        return container.process is not None and container.process.poll() == 0

    def _keep_running(self, pod: _Pod, container: _Container, spec: JSON) -> None:
        code = container.process.poll() if container.process else None
        if container.process is not None and code is None:
            return
        if container.process is not None:
            if not container.retry_at:
                container.retry_at = time.monotonic() + 0.3
            if time.monotonic() < container.retry_at:
                return
            container.last_exit, container.retry_at = code, 0.0
            container.restarts += 1
            container.log.replace(container.log.with_suffix(".previous"))
        own = self.images.get(spec["image"], [])
        words = [*spec.get("command", own), *spec.get("args", [])]
        words = [self._inside(pod, word) for word in words]
        if words[:1] == ["python"]:
            words[0] = sys.executable
        with container.log.open("wb") as log:
            container.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=_REPOSITORY,
                env={**_BASE, "HOST": pod.address, **self._environment(spec)},
            )

    @staticmethod
    def _inside(pod: _Pod, word: str) -> str:
        models = str(pod.folder / "models")
        return word.replace("0.0.0.0", pod.address).replace("/models", models)

    def _environment(self, spec: JSON) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in spec.get("envFrom", []):
            found |= self._secret(source["secretRef"]["name"])
        for variable in spec.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            found[variable["name"]] = (
                self._secret(reference["name"])[reference["key"]]
                if reference
                else variable["value"]
            )
        return found

    def _secret(self, name: str) -> dict[str, str]:
        secret = self._cluster.read("secrets", name)
        plain: dict[str, str] = secret.get("stringData", {})
        coded = secret.get("data", {})
        return {**{key: base64.b64decode(value).decode() for key, value in coded.items()}, **plain}

    def _healthy(self, pod: _Pod, spec: JSON) -> bool:
        get = spec["readinessProbe"]["httpGet"]
        try:
            answer = self._client.get(f"http://{pod.address}:{get['port']}{get['path']}")
        except httpx.HTTPError:
            return False
        return answer.is_success

    def _tell(self, found: JSON, pod: _Pod) -> None:
        status: JSON = {"phase": "Pending", "conditions": []}
        if not self.room:
            status["conditions"].append(
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                }
            )
            found["status"] = status
            return
        preparing = pod.template.get("initContainers", [])
        if pod.fetching is not None:
            done = self._succeeded(pod.fetching)
            status["initContainerStatuses"] = [pod.fetching.status(preparing[0], ready=done)]
        engine = pod.engine or _Container(pod.template["containers"][0]["name"], pod.folder)
        status["containerStatuses"] = [
            engine.status(pod.template["containers"][0], ready=pod.ready)
        ]
        if engine.process is not None:
            status |= {"phase": "Running", "podIP": pod.address}
        found["status"] = status

    def _status(self, plural: str, workload: JSON, pods: list[_Pod], wanted: int) -> None:
        name = workload["metadata"]["name"]
        ready = [pod for pod in pods if pod.ready]
        if plural == "deployments":
            old = workload.get("status", {}).get("conditions", [{}])[0].get("reason")
            complete = old == "NewReplicaSetAvailable" or len(ready) >= wanted
            condition = {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
            }
            age = time.monotonic() - self._since.setdefault(name, time.monotonic())
            if not complete and age > workload["spec"]["progressDeadlineSeconds"]:
                condition |= {"status": "False", "reason": "ProgressDeadlineExceeded"}
            status: JSON = {"availableReplicas": len(ready), "conditions": [condition]}
        else:
            status = {"conditions": [{"type": "Ready", "status": str(bool(ready))}]}
            if ready:
                port = workload["spec"]["predictor"]["containers"][0]["ports"][0]["containerPort"]
                status["address"] = {"url": f"http://{ready[0].address}:{port}"}
                status["components"] = {"predictor": {"latestReadyRevision": f"{name}-00001"}}
        self._cluster.change(plural, name, lambda found: found.update(status=status))

    def _remove_ownerless(self) -> None:
        names = {
            workload["metadata"]["name"]
            for plural in ("deployments", "inferenceservices")
            for workload in self._cluster.of(plural)
        }
        for pod in list(self._pods.values()):
            if pod.owner not in names:
                self._remove(pod)

    def _remove(self, pod: _Pod) -> None:
        self._end(pod)
        del self._pods[pod.name]
        with suppress(Exception):
            self._cluster.delete("pods", pod.name)

    @staticmethod
    def _end(pod: _Pod) -> None:
        for container in (pod.fetching, pod.engine):
            if container is not None and container.process is not None:
                container.process.terminate()
                try:
                    container.process.wait(timeout=3)
                except subprocess.TimeoutExpired:
                    container.process.kill()
                    container.process.wait()

    def _log(self, name: str, container: str, previous: bool) -> str:
        pod = self._pods.get(name)
        for each in (pod.fetching, pod.engine) if pod else ():
            if each is not None and each.name == container:
                path = each.log.with_suffix(".previous") if previous else each.log
                with suppress(OSError):
                    changed = path.stat().st_mtime
                    moment = datetime.fromtimestamp(changed, UTC)
                    return "".join(
                        f"{moment:%Y-%m-%dT%H:%M:%S}.{number:09d}Z {line}\n"
                        for number, line in enumerate(path.read_text().splitlines())
                    )
        return ""

    def _serve(self, service: JSON) -> None:
        """Gives the Service an address that forwards to ready pods."""
        name, address = service["metadata"]["name"], own_address()
        (port,) = service["spec"]["ports"]
        turns = itertools.count()

        def pod() -> tuple[str, int] | None:
            ready = [p for p in list(self._pods.values()) if p.owner == name and p.ready]
            return (ready[next(turns) % len(ready)].address, port["port"]) if ready else None

        self._listeners.append(forward((address, port["port"]), pod))
        self._cluster.change(
            "services", name, lambda found: found["spec"].update(clusterIP=address)
        )


_BASE = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@contextmanager
def fake_nodes(running: RunningCluster, folder: Path) -> Iterator[FakeNodes]:
    """Nodes that run the cluster's pods until the end."""
    nodes = FakeNodes(running.cluster, folder)
    try:
        yield nodes
    finally:
        nodes.close()
