"""The official client against the FAKE API server of `tests.rig.fake_cluster`: no real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.domain.errors import Invalid, NotAllowed
from tests.rig.fake_cluster import NAMESPACE, RunningCluster, fake_cluster
from tests.rig.waiting import eventually
from tests.serving.test_kubernetes_manifests import workload
from workers.serving.launchers import kubernetes_manifests as manifests
from workers.serving.launchers.kubernetes_api import Cluster, Expired, Kind
from workers.serving.launchers.kubernetes_view import Mirror
from workers.serving.launchers.launcher import Unreachable

SELECTOR = manifests.selector("0123456789abcdef")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningCluster]:
    with fake_cluster(tmp_path) as running:
        yield running


@pytest.fixture
def cluster(running: RunningCluster) -> Cluster:
    return Cluster(NAMESPACE, kubeconfig=running.kubeconfig)


@pytest.fixture
def mirror(cluster: Cluster) -> Iterator[Mirror]:
    mirror = Mirror(cluster, Kind.SERVICE, SELECTOR)
    yield mirror
    mirror.close()


def service(name: str) -> dict[str, Any]:
    made = manifests.service(workload())
    made["metadata"]["name"] = name
    return made


def names(mirror: Mirror) -> list[str]:
    return sorted(found["metadata"]["name"] for found in mirror.all())


@pytest.mark.parametrize(
    ("kind", "manifest"),
    [
        (Kind.DEPLOYMENT, manifests.deployment(workload())),
        (Kind.SERVICE, manifests.service(workload())),
        (Kind.INFERENCE_SERVICE, manifests.inference_service(workload())),
    ],
)
def test_objects_are_made_read_and_deleted(cluster: Cluster, kind: Kind, manifest: Any) -> None:
    name = manifest["metadata"]["name"]
    made = cluster.create(kind, manifest)
    assert made is not None
    assert made["spec"] == manifest["spec"]
    assert cluster.create(kind, manifest) is None  # a conflict: it is there
    found = cluster.read(kind, name)
    assert found is not None
    assert cluster.delete(kind, name, "another uid") is False  # a conflict: it is another one
    assert cluster.delete(kind, name, found["metadata"]["uid"]) is True
    assert cluster.delete(kind, name) is False
    assert cluster.read(kind, name) is None


def test_refusals_name_the_remedy(running: RunningCluster, cluster: Cluster) -> None:
    spoilt = manifests.deployment(workload())
    spoilt["spec"]["replicas"] = "two"
    with pytest.raises(Invalid, match="replicas"):
        cluster.create(Kind.DEPLOYMENT, spoilt)
    running.cluster.fail_next(403)
    with pytest.raises(NotAllowed, match="does not let Loggia"):
        cluster.list(Kind.SERVICE, SELECTOR)
    with pytest.raises(NotAllowed, match="could not find") as refused:
        Cluster("elsewhere", kubeconfig=running.kubeconfig).list(Kind.SERVICE, SELECTOR)
    assert "Make the namespace elsewhere" in refused.value.remedy
    running.cluster.fail_next(503)
    with pytest.raises(Unreachable):
        cluster.list(Kind.SERVICE, SELECTOR)
    running.stop()
    with pytest.raises(Unreachable):
        cluster.read(Kind.SERVICE, "any")


def test_without_credentials_it_says_which_setting_helps(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="credentials") as refused:
        Cluster(NAMESPACE, kubeconfig=tmp_path / "none")
    assert "LOGGIA_KUBERNETES_KUBECONFIG" in refused.value.remedy


def test_a_watch_tells_what_changes_after_a_version(
    running: RunningCluster, cluster: Cluster
) -> None:
    _, version = cluster.list(Kind.SERVICE, SELECTOR)
    running.cluster.create("services", service("one"))
    running.cluster.create("deployments", manifests.deployment(workload()))
    running.cluster.change("services", "one", lambda found: found["spec"].update(clusterIP="::1"))
    running.cluster.delete("services", "one")
    watch = cluster.watch(Kind.SERVICE, SELECTOR, version)
    seen = [next(watch) for _ in range(3)]
    assert [event for event, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[1][1]["spec"]["clusterIP"] == "::1"


def test_a_version_that_is_forgotten_is_gone(running: RunningCluster, cluster: Cluster) -> None:
    _, version = cluster.list(Kind.SERVICE, SELECTOR)
    running.cluster.create("services", service("one"))
    running.cluster.forget_history()
    with pytest.raises(Expired):
        next(cluster.watch(Kind.SERVICE, SELECTOR, version))
    running.cluster.fail_next(410)
    with pytest.raises(Expired):
        next(cluster.watch(Kind.SERVICE, SELECTOR, version))


def test_a_mirror_follows_and_goes_on_where_it_was_cut(
    running: RunningCluster, mirror: Mirror
) -> None:
    running.cluster.create("services", service("one"))
    assert names(mirror) == ["one"]
    running.cluster.create("services", service("two"))
    eventually(lambda: names(mirror) == ["one", "two"], "the new one is seen")
    running.cluster.cut_watches()
    running.cluster.delete("services", "one")
    eventually(lambda: names(mirror) == ["two"], "what happened meanwhile is seen")
    lists = [path for _, path in running.cluster.requests if "watch=" not in path]
    assert len(lists) == 1  # it never had to look at everything again


def test_a_mirror_lists_again_where_the_history_is_gone(
    running: RunningCluster, mirror: Mirror
) -> None:
    running.cluster.create("services", service("one"))
    assert names(mirror) == ["one"]
    running.stop()
    running.cluster.delete("services", "one")
    running.cluster.create("services", service("two"))
    running.cluster.forget_history()
    assert names(mirror) == ["one"]  # what was seen last stands
    running.start()
    eventually(lambda: names(mirror) == ["two"], "it has looked again")


def test_a_mirror_survives_failures_of_the_server(running: RunningCluster, mirror: Mirror) -> None:
    running.cluster.fail_next(500, 503, 429)
    running.cluster.create("services", service("one"))
    assert eventually(lambda: names(mirror), "it has looked at last") == ["one"]


def test_a_mirror_that_never_saw_anything_says_so(
    running: RunningCluster, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.serving.launchers.kubernetes_view._FIRST_LOOK_SECONDS", 0.5)
    running.stop()
    mirror = Mirror(cluster, Kind.SERVICE, SELECTOR)
    with pytest.raises(Unreachable):
        mirror.all()
    mirror.close()
