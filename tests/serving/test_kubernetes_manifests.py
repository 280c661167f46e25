"""What a replica is on a cluster, checked against the published schemas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.domain.configuration import DeployConfiguration, Hardware, Parameters, Scaling
from tests.rig.kubernetes_schemas import problems
from workers.serving.containers import Container, Health
from workers.serving.launchers import kubernetes_manifests as manifests
from workers.serving.launchers.kubernetes_manifests import FilesFetch, Owner, Workload

REPLICA = UUID("5f0a6a3e-9f0e-4b55-9b1c-1d2f3a4b5c6d")
CONTAINER = Container(
    image="vllm/vllm-openai:v1",
    version="v1",
    port=8000,
    health=Health("/health", 8000),
    command=["python3"],
    arguments=["-m", "vllm.entrypoints.openai.api_server", "--port=8000"],
    environment={"HF_HUB_OFFLINE": "1"},
)
FILES = FilesFetch(
    image="loggia:1",
    environment={"LOGGIA_OBJECT_STORE_URL": "s3://loggia/objects"},
    secret="object-store",
    claim=None,
    manifests=["a" * 64, "b" * 64],
)


def workload(files: FilesFetch | None = FILES, **parts: Any) -> Workload:
    configuration = DeployConfiguration(
        scaling=Scaling(**parts.get("scaling", {})),
        hardware=Hardware(**parts.get("hardware", {"server": "kubernetes", "memory_gib": 4.0})),
        parameters=Parameters(**parts.get("parameters", {})),
    )
    return Workload(
        owner=Owner("0123456789abcdef", uuid4(), uuid4(), 3, REPLICA),
        container=CONTAINER,
        configuration=configuration,
        start_seconds=600,
        drain_seconds=60,
        files=files,
    )


def scaling(least: int, most: int, up: int = 30, down: int = 300) -> dict[str, int]:
    return {
        "min_replicas": least,
        "max_replicas": most,
        "scale_up_delay_seconds": up,
        "scale_down_delay_seconds": down,
    }


GPUS = {"server": "kubernetes", "accelerator": "gpu", "accelerator_count": 2, "memory_gib": 40.0}
WORKLOADS = [
    workload(),
    workload(files=None),
    workload(files=replace(FILES, claim="models", secret=None)),
    workload(scaling=scaling(2, 8)),
    workload(hardware=GPUS),
    replace(workload(scaling=scaling(0, 3)), service_account="engines", pull_secret="registry"),
    replace(workload(scaling=scaling(1, 3)), scaling_metric="vllm_num_requests_running"),
    replace(workload(), container=replace(CONTAINER, secrets={"TOKEN": "s3cret"}, cpu=0.5)),
]


@pytest.mark.parametrize("given", WORKLOADS)
def test_every_manifest_satisfies_its_published_schema(given: Workload) -> None:
    made = [
        manifests.deployment(given),
        manifests.service(given),
        manifests.inference_service(given),
        manifests.autoscaler(given),
        manifests.secret(given),
    ]
    for manifest in filter(None, made):
        assert problems(manifest) == [], manifest["kind"]


@pytest.mark.parametrize(
    ("make", "spoil"),
    [
        (manifests.deployment, lambda m: m["spec"].update(replicas="two")),
        (manifests.deployment, lambda m: m["spec"]["template"]["spec"].update(container=[])),
        (manifests.inference_service, lambda m: m["spec"]["predictor"].update(minReplica=1)),
        (manifests.inference_service, lambda m: m["spec"]["predictor"].update(scaleTarget="8")),
        (manifests.inference_service, lambda m: m["spec"]["predictor"].update(containers={})),
    ],
)
def test_the_schemas_notice_what_is_wrong(make: Any, spoil: Any) -> None:
    manifest = make(workload())
    spoil(manifest)
    assert problems(manifest)


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        (scaling(1, 1), 1, None),
        (scaling(0, 1), 1, None),
        (scaling(0, 4), 1, 4),
        (scaling(2, 5), 2, 5),
    ],
)
def test_the_autoscaler_of_a_deployment_keeps_the_bounds(
    given: dict[str, int], least: int, most: int | None
) -> None:
    made = workload(scaling=given)
    found = manifests.autoscaler(made)
    assert manifests.deployment(made)["spec"]["replicas"] == least
    if most is None:
        assert found is None
        return
    assert found is not None
    assert (found["spec"]["minReplicas"], found["spec"]["maxReplicas"]) == (least, most)
    assert found["spec"]["scaleTargetRef"]["name"] == made.owner.name


def test_delays_become_the_autoscalers_own_and_stay_in_its_limits() -> None:
    found = manifests.autoscaler(workload(scaling=scaling(1, 3, up=45, down=7200)))
    assert found is not None
    behavior = found["spec"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 45
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 3600
    made = manifests.inference_service(workload(scaling=scaling(0, 3, up=0, down=120)))
    annotations = made["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/window"] == "6s"
    assert annotations["autoscaling.knative.dev/scale-down-delay"] == "120s"
    assert made["spec"]["predictor"]["minReplicas"] == 0
    assert made["spec"]["predictor"]["maxReplicas"] == 3


def test_requests_inside_are_what_both_shapes_scale_by() -> None:
    batches = {"batch_size": 16}
    made = replace(workload(scaling=scaling(1, 3), parameters=batches), scaling_metric="running")
    found = manifests.autoscaler(made)
    assert found is not None
    (metric,) = found["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == "running"
    assert metric["pods"]["target"]["averageValue"] == "16"
    predictor = manifests.inference_service(made)["spec"]["predictor"]
    assert (predictor["scaleMetric"], predictor["scaleTarget"]) == ("concurrency", 16)


def test_no_answer_is_cut_off_when_an_engine_would_be_drained() -> None:
    assert "timeout" not in manifests.inference_service(workload())["spec"]["predictor"]


def test_a_secret_value_stands_in_the_secret_and_nowhere_else() -> None:
    made = WORKLOADS[-1]
    secret = manifests.secret(made)
    assert secret is not None
    assert secret["stringData"] == {"TOKEN": "s3cret"}
    for manifest in (manifests.deployment(made), manifests.inference_service(made)):
        assert "s3cret" not in str(manifest)
    assert "s3cret" not in repr(made)


def test_pods_say_whose_they_are_and_get_no_rights() -> None:
    template = manifests.deployment(workload())["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert labels["loggia.dev/replica"] == str(REPLICA)
    assert labels["loggia.dev/revision"] == "3"
    assert template["spec"]["automountServiceAccountToken"] is False
    for container in (*template["spec"]["initContainers"], *template["spec"]["containers"]):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_files_are_fetched_before_the_engine_starts_and_read_by_it() -> None:
    spec = manifests.deployment(workload())["spec"]["template"]["spec"]
    (fetch,) = spec["initContainers"]
    assert fetch["args"] == ["--into=/models", "a" * 64, "b" * 64]
    assert fetch["envFrom"] == [{"secretRef": {"name": "object-store"}}]
    assert spec["containers"][0]["volumeMounts"][0]["readOnly"] is True
    shared = manifests.deployment(workload(files=replace(FILES, claim="models")))
    (volume,) = shared["spec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "models"}


def test_gpus_are_asked_for_by_number() -> None:
    spec = manifests.deployment(workload(hardware=GPUS))["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert {"name": "shm", "mountPath": "/dev/shm"} in spec["containers"][0]["volumeMounts"]
