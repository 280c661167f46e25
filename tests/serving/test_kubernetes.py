"""The deploy worker on a FAKE cluster: see `tests.rig.fake_cluster` and `tests.rig.fake_nodes`.

The worker is the real one in a process of its own, with the official client; pods are processes
that fetch real files from a store that speaks S3. No real cluster has ever run these tests.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from backend.application.engine_facts import EngineFacts, EngineFactsTable
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from tests.rig.fake_cluster import NAMESPACE, RunningCluster, fake_cluster
from tests.rig.fake_nodes import FakeNodes, fake_nodes
from tests.rig.s3 import s3_store
from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery, Worker

ON_KUBERNETES = {"server": "kubernetes", "accelerator": "cpu", "memory_gib": 1.0}
FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


class Site:
    """A gallery, its deploy worker and a fake cluster."""

    def __init__(
        self, gallery: Gallery, worker: Worker, running: RunningCluster, nodes: FakeNodes
    ) -> None:
        self.gallery = gallery
        self.worker = worker
        self.running = running
        self.cluster = running.cluster
        self.nodes = nodes

    def deploy(self, model_id: UUID, **arguments: str) -> int:
        return self.gallery.deploy(model_id, arguments, hardware=ON_KUBERNETES)

    def leftovers(self) -> list[tuple[str, str]]:
        """Everything but the secret that the administrator made."""
        with self.cluster.lock:
            return [key for key in self.cluster.objects if key != ("secrets", "object-store")]

    def restart(self) -> None:
        self.worker.kill()
        self.worker.start()


@contextmanager
def opened(
    settings: Settings,
    pool: Pool,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    **changed: str,
) -> Iterator[Site]:
    with (
        s3_store() as store,
        fake_cluster(folder) as running,
        fake_nodes(running, folder / "nodes") as nodes,
    ):
        account = {
            "AWS_ACCESS_KEY_ID": store.key,
            "AWS_SECRET_ACCESS_KEY": store.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in account.items():
            monkeypatch.setenv(name, value)
        running.cluster.create(
            "secrets",
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "object-store"},
                "stringData": account,
            },
        )
        chosen = {
            "object_store_url": f"s3://{store.bucket}/objects",
            "object_store_endpoint": store.endpoint,
            "kubernetes_namespace": NAMESPACE,
            "kubernetes_kubeconfig": str(running.kubeconfig),
            "kubernetes_image": "loggia:test",
            "kubernetes_object_store_secret": "object-store",
            **changed,
        }
        gallery = Gallery(settings.model_copy(update=chosen), pool)
        # What the deploy worker says as soon as it is up.
        EngineFactsTable(pool).publish(EngineFacts("kubernetes", "vllm", "cpu", "", {}, {}))
        worker = Worker(settings, folder / "worker.log")
        worker.environment |= {f"LOGGIA_{name.upper()}": value for name, value in chosen.items()}
        try:
            yield Site(gallery, worker, running, nodes)
        finally:
            worker.kill()
            gallery.close()
            print(worker.log.read_text() if worker.log.exists() else "no worker ran")


@pytest.fixture
def site(
    serving_settings: Settings, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    with opened(serving_settings, pool, tmp_path, monkeypatch) as site:
        yield site


@pytest.fixture
def model_id(site: Site) -> UUID:
    return site.gallery.import_model(FILES)


@pytest.fixture
def deployed(site: Site, model_id: UUID) -> UUID:
    """A model that serves on the cluster."""
    site.deploy(model_id, label="1")
    site.worker.start()
    site.gallery.await_state(model_id, "deployed")
    return model_id


def answer(site: Site, model_id: UUID) -> Any:
    return site.gallery.ask(site.gallery.endpoint(model_id))["choices"][0]["text"]


def test_a_revision_becomes_a_workload_that_serves_its_files(site: Site, deployed: UUID) -> None:
    assert answer(site, deployed) == "revision 1"
    (started,) = site.gallery.recorded(deployed, "ReplicaStarted")
    assert (started["server"], started["engine_version"]) == ("kubernetes", "double")
    (workload,) = site.cluster.of("deployments")
    assert workload["metadata"]["labels"]["loggia.dev/model"] == str(deployed)
    (models,) = site.nodes.folders()
    (manifest,) = models.iterdir()
    assert {path.name: path.read_bytes() for path in manifest.iterdir()} == FILES
    log = site.gallery.settings.data / "engines" / started["replica_id"] / "log"
    eventually(
        lambda: log.exists() and "serving" in log.read_text(),
        "the pod's output is in the replica's log",
    )


def test_stopping_leaves_nothing_on_the_cluster(site: Site, deployed: UUID) -> None:
    site.gallery.stop(deployed)
    site.gallery.await_state(deployed, "stopped")
    eventually(lambda: not site.leftovers(), "every object is gone")
    assert site.nodes.processes() == []


def test_a_redeploy_switches_when_the_new_one_answers_and_drains_the_old(
    site: Site, deployed: UUID
) -> None:
    old = site.gallery.endpoint(deployed)
    answers: list[str] = []

    def slow() -> None:
        answers.append(site.gallery.ask(old, max_tokens=40)["choices"][0]["text"])

    running = threading.Thread(target=slow)
    running.start()
    site.deploy(deployed, label="2")
    site.gallery.await_recorded(deployed, "RevisionDeployed", 2)
    assert answer(site, deployed) == "revision 2"
    site.gallery.await_recorded(deployed, "RevisionRetired")
    running.join()
    assert answers == ["revision 1"]  # it was let finish
    eventually(lambda: len(site.cluster.of("deployments")) == 1, "only the new one is there")


@pytest.mark.parametrize(
    "place",
    ["add:after", "replica_started:before", "replica_started:after", "announce:before",
     "replica_ready:before", "revision_deployed:after"],
)  # fmt: skip
def test_a_worker_that_is_killed_is_continued_without_a_second_workload(
    site: Site, model_id: UUID, place: str
) -> None:
    site.deploy(model_id, label="1")
    site.worker.start(die_at=place)
    site.worker.await_death()
    site.worker.start()
    site.gallery.await_state(model_id, "deployed")
    assert answer(site, model_id) == "revision 1"
    assert len(site.cluster.of("deployments")) == 1
    assert len(site.gallery.recorded(model_id, "ReplicaStarted")) == 1
    assert site.gallery.recorded(model_id, "ReplicaLost") == []


def test_a_restarted_worker_adopts_what_runs(site: Site, deployed: UUID) -> None:
    before = site.nodes.processes()
    site.restart()
    site.deploy(deployed, label="2")
    site.gallery.await_recorded(deployed, "RevisionRetired")
    assert len(before) == 1
    assert site.gallery.recorded(deployed, "ReplicaLost") == []
    assert not set(before) & set(site.nodes.processes())


def test_an_engine_that_ends_while_it_loads_fails_the_revision_with_its_words(
    site: Site, model_id: UUID
) -> None:
    site.deploy(model_id, mode="die-at-load")
    site.worker.start()
    site.gallery.await_state(model_id, "failed")
    (failed,) = site.gallery.recorded(model_id, "RevisionFailed")
    assert "ended with 3" in failed["reason"]
    assert any("told to die while it loads" in line for line in failed["log_tail"])
    eventually(lambda: not site.leftovers(), "every object is gone")


def test_files_that_cannot_be_fetched_fail_the_revision(site: Site, model_id: UUID) -> None:
    site.cluster.change("secrets", "object-store", lambda found: found["stringData"].clear())
    site.deploy(model_id)
    site.worker.start()
    site.gallery.await_state(model_id, "failed")
    (failed,) = site.gallery.recorded(model_id, "RevisionFailed")
    assert failed["log_tail"]


def test_no_room_is_told_while_people_wait_and_when_it_fails(site: Site, model_id: UUID) -> None:
    site.nodes.room = False
    site.deploy(model_id)
    site.worker.start()
    site.gallery.await_state(model_id, "failed")
    (failed,) = site.gallery.recorded(model_id, "RevisionFailed")
    assert any("Insufficient nvidia.com/gpu" in line for line in failed["log_tail"])


def test_a_pod_that_dies_is_the_clusters_business(site: Site, deployed: UUID) -> None:
    (engine,) = site.nodes.processes()
    os.kill(engine, signal.SIGKILL)

    def again() -> bool:
        return site.nodes.processes() not in ([], [engine]) and _answers(site, deployed)

    eventually(again, "the cluster has started it again")
    assert site.gallery.recorded(deployed, "ReplicaLost") == []


def test_a_workload_that_somebody_deletes_is_made_again(site: Site, deployed: UUID) -> None:
    (workload,) = site.cluster.of("deployments")
    site.cluster.delete("deployments", workload["metadata"]["name"])
    site.gallery.await_recorded(deployed, "ReplicaReady", 2)
    assert answer(site, deployed) == "revision 1"
    assert len(site.gallery.recorded(deployed, "ReplicaLost")) == 1
    assert len(site.cluster.of("services")) == 1


def test_serving_goes_on_while_the_api_server_is_away(site: Site, deployed: UUID) -> None:
    site.running.stop()
    assert answer(site, deployed) == "revision 1"
    site.restart()  # a worker that has never seen the cluster
    site.deploy(deployed, label="2")
    assert answer(site, deployed) == "revision 1"
    site.cluster.forget_history()
    site.running.start()
    site.gallery.await_recorded(deployed, "RevisionDeployed", 2)
    assert answer(site, deployed) == "revision 2"
    assert site.gallery.recorded(deployed, "ReplicaLost") == []


def test_what_belongs_to_nobody_is_removed_and_other_peoples_is_not(
    site: Site, deployed: UUID
) -> None:
    (ours,) = site.cluster.of("deployments")
    orphan, foreign = (_copy(ours, name) for name in ("loggia-orphan", "loggia-foreign"))
    orphan["metadata"]["labels"]["loggia.dev/replica"] = str(UUID(int=1))
    orphan["metadata"]["name"] = f"loggia-{UUID(int=1).hex[:20]}"
    foreign["metadata"]["labels"]["loggia.dev/installation"] = "somebody-else"
    site.cluster.create("deployments", orphan)
    site.cluster.create("deployments", foreign)
    site.restart()
    eventually(lambda: len(site.cluster.of("deployments")) == 2, "the orphan is gone")
    kept = {found["metadata"]["name"] for found in site.cluster.of("deployments")}
    assert kept == {ours["metadata"]["name"], "loggia-foreign"}


def test_the_clusters_own_autoscaler_may_add_pods(site: Site, deployed: UUID) -> None:
    (workload,) = site.cluster.of("deployments")
    site.cluster.change(
        "deployments", workload["metadata"]["name"], lambda found: found["spec"].update(replicas=3)
    )
    eventually(lambda: len(site.nodes.processes()) == 3, "three pods run")
    assert answer(site, deployed) == "revision 1"
    site.gallery.stop(deployed)
    site.gallery.await_state(deployed, "stopped")
    eventually(lambda: site.nodes.processes() == [], "all of them are gone")


@pytest.mark.parametrize(
    ("changed", "said", "remedy"),
    [
        ({"kubernetes_vllm_cpu_image": "missing/engine:1"}, "cannot get the image", "PULL_SECRET"),
        ({"kubernetes_kubeconfig": "/nowhere"}, "credentials", "LOGGIA_KUBERNETES_KUBECONFIG"),
    ],
)
def test_what_can_never_start_fails_the_revision_with_a_remedy(
    serving_settings: Settings,
    pool: Pool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, str],
    said: str,
    remedy: str,
) -> None:
    with opened(serving_settings, pool, tmp_path, monkeypatch, **changed) as site:
        model_id = site.gallery.import_model(FILES)
        site.deploy(model_id)
        site.worker.start()
        site.gallery.await_state(model_id, "failed")
        (failed,) = site.gallery.recorded(model_id, "RevisionFailed")
        assert said in failed["reason"]
        assert remedy in failed["remedy"]


def test_kserve_serves_a_revision_and_forgets_it(
    serving_settings: Settings, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(serving_settings, pool, tmp_path, monkeypatch, kubernetes_shape="kserve") as site:
        model_id = site.gallery.import_model(FILES)
        site.deploy(model_id, label="1")
        site.worker.start()
        site.gallery.await_state(model_id, "deployed")
        assert answer(site, model_id) == "revision 1"
        assert len(site.cluster.of("inferenceservices")) == 1
        site.restart()
        site.gallery.stop(model_id)
        site.gallery.await_state(model_id, "stopped")
        eventually(lambda: not site.leftovers(), "every object is gone")
        assert site.gallery.recorded(model_id, "ReplicaLost") == []


def _answers(site: Site, model_id: UUID) -> bool:
    try:
        return bool(answer(site, model_id))
    except Exception:
        return False


def _copy(found: Any, name: str) -> Any:
    metadata = {"name": name, "labels": dict(found["metadata"]["labels"])}
    return {**{k: v for k, v in found.items() if k != "status"}, "metadata": metadata}
