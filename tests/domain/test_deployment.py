"""The endpoint never goes dark: traffic moves only to a revision that answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.configuration import DeployConfiguration, Parameters
from backend.domain.deployment import Deployment
from backend.domain.deployment_events import DeploymentState
from backend.domain.errors import DomainError, Invalid, NotAllowed, NotFound
from backend.domain.events import Cause, caused_by


@pytest.fixture(autouse=True)
def cause() -> Iterator[None]:
    with caused_by(Cause("user:ada", uuid4())):
        yield


def begun() -> Deployment:
    return Deployment.begin(model_id=uuid4(), terms_version="1", terms_sha256="0" * 64)


def request(deployment: Deployment, temperature: float = 1.0) -> int:
    deployment.request(
        configuration=DeployConfiguration(parameters=Parameters(temperature=temperature)),
        model_version="0.0.1",
        reason="",
    )
    return deployment.desired_revision


def serving() -> Deployment:
    deployment = begun()
    deployment.record_revision_deployed(revision=request(deployment))
    return deployment


def test_a_redeploy_keeps_the_old_revision_until_the_new_one_answers() -> None:
    deployment = serving()
    second = request(deployment, 0.5)
    assert (deployment.state, deployment.serving_revision) == (DeploymentState.DEPLOYING, 1)
    deployment.record_revision_deployed(revision=second)
    assert (deployment.state, deployment.serving_revision) == (DeploymentState.DEPLOYED, 2)
    assert deployment.pending_events[-1].replaced_revision == 1  # type: ignore[attr-defined]


def test_a_failed_redeploy_keeps_the_old_revision_serving() -> None:
    deployment = serving()
    second = request(deployment)
    deployment.record_revision_failed(revision=second, reason="r", remedy="m", log_tail=["x"])
    assert (deployment.state, deployment.serving_revision) == (DeploymentState.FAILED, 1)


def test_a_superseded_revision_cannot_take_the_traffic() -> None:
    deployment = serving()
    second = request(deployment)
    request(deployment)
    with pytest.raises(NotAllowed, match="superseded by 3"):
        deployment.record_revision_deployed(revision=second)


def test_a_rollback_is_a_new_revision_that_names_the_restored_one() -> None:
    deployment = serving()
    request(deployment, 0.5)
    deployment.roll_back(revision=1, reason="worse answers")
    assert deployment.desired_revision == 3
    assert deployment.revisions[3] == deployment.revisions[1]
    assert deployment.pending_events[-1].restored_revision == 1  # type: ignore[attr-defined]


def test_a_rollback_needs_a_reason_and_an_existing_revision() -> None:
    deployment = serving()
    with pytest.raises(Invalid, match="reason"):
        deployment.roll_back(revision=1, reason=" ")
    with pytest.raises(NotFound, match="Revision 7"):
        deployment.roll_back(revision=7, reason="r")


def test_stop_and_start_again() -> None:
    deployment = serving()
    deployment.stop(reason="night")
    with pytest.raises(NotAllowed, match="being stopped"):
        request(deployment)
    deployment.record_stopped()
    assert (deployment.state, deployment.serving_revision) == (DeploymentState.STOPPED, None)
    deployment.start()
    assert deployment.revisions[2] == deployment.revisions[1]


@given(st.lists(st.tuples(st.sampled_from("rdfkst"), st.integers(1, 4)), max_size=30))
def test_what_serves_was_deployed_and_only_a_stop_or_its_own_failure_ends_it(
    steps: list[tuple[str, int]],
) -> None:
    with caused_by(Cause("user:ada", uuid4())):
        deployment = begun()
        for step, revision in steps:
            before = deployment.serving_revision
            acts: dict[str, Any] = {
                "r": lambda: request(deployment),
                "d": lambda r=revision: deployment.record_revision_deployed(revision=r),
                "f": lambda r=revision: deployment.record_revision_failed(
                    revision=r, reason="r", remedy="m", log_tail=[]
                ),
                "k": lambda r=revision: deployment.record_revision_retired(revision=r),
                "s": lambda: deployment.stop(reason=""),
                "t": deployment.record_stopped,
            }
            try:
                acts[step]()
            except DomainError:
                assert deployment.serving_revision == before
            if deployment.serving_revision != before:
                assert step in {"d", "t"} or (step, revision) == ("f", before)
            if deployment.serving_revision is not None:
                assert deployment.serving_revision in deployment.revisions


def warm(temperature: float) -> DeployConfiguration:
    return DeployConfiguration(parameters=Parameters(temperature=temperature))


def test_a_kept_configuration_disturbs_nothing_until_it_is_deployed() -> None:
    deployment = serving()
    deployment.save_configuration(configuration=warm(0.5), reason="later")
    assert (deployment.state, deployment.serving_revision) == (DeploymentState.DEPLOYED, 1)
    assert deployment.saved_configuration == warm(0.5).to_dict()
    deployment.roll_back(revision=1, reason="night shift")
    assert deployment.saved_configuration is not None, "a rollback is about something else"
    request(deployment, 0.5)
    assert deployment.saved_configuration is None
    assert deployment.revisions[3]["parameters"]["temperature"] == 0.5


def test_keeping_the_same_twice_or_what_is_deployed_leaves_no_trace() -> None:
    deployment = serving()
    before = deployment.version
    deployment.save_configuration(configuration=warm(1.0), reason="")
    assert deployment.version == before
    for _ in range(2):
        deployment.save_configuration(configuration=warm(0.5), reason="")
    assert deployment.version == before + 1
    deployment.save_configuration(configuration=warm(1.0), reason="")
    assert deployment.saved_configuration is None
    with pytest.raises(NotAllowed, match="no pending changes"):
        deployment.discard_configuration()


def test_a_configuration_of_before_gpus_were_shared_is_complete() -> None:
    whole = warm(1.0).to_dict()
    old = {**whole, "hardware": dict(whole["hardware"])}
    del old["hardware"]["gpu_sharing"]
    deployment = begun()
    deployment.record(
        Deployment.Requested,
        deployment_id=deployment.id,
        model_id=deployment.model_id,
        revision=1,
        trigger="deploy",
        model_version="0.0.1",
        base_model_version=None,
        configuration=old,
        reason="",
        restored_revision=None,
    )
    before = deployment.version
    deployment.save_configuration(configuration=warm(1.0), reason="")
    assert deployment.version == before, "it is what is deployed"
    deployment.roll_back(revision=1, reason="as before")
    assert deployment.pending_events[-1].configuration == whole  # type: ignore[attr-defined]


def test_nothing_is_kept_for_what_was_never_deployed() -> None:
    with pytest.raises(NotAllowed, match="never been deployed"):
        begun().save_configuration(configuration=warm(1.0), reason="")


def test_a_configuration_round_trips() -> None:
    document = DeployConfiguration.from_dict(
        {"parameters": {"stop": ["</s>"]}, "engine_arguments": {"max_model_len": "256"}}
    ).to_dict()
    assert DeployConfiguration.from_dict(json.loads(json.dumps(document))).to_dict() == document


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"parameters": {"temperature": 3}}, "parameters.temperature"),
        ({"parameters": {"temperature": float("nan")}}, "parameters.temperature"),
        ({"parameters": {"temperature": "hot"}}, "parameters.temperature"),
        ({"parameters": {"max_tokens": 1.5}}, "parameters.max_tokens"),
        ({"parameters": {"max_tokens": True}}, "parameters.max_tokens"),
        ({"parameters": {"stop": ["a"] * 5}}, "parameters.stop"),
        ({"parameters": {"stop": [1]}}, "parameters.stop"),
        ({"parameters": {"heat": 1}}, "parameters.heat"),
        ({"scaling": {"min_replicas": 2, "max_replicas": 1}}, "scaling.min_replicas"),
        ({"scaling": {"min_replicas": -1}}, "scaling.min_replicas"),
        ({"scaling": {"min_replicas": 0, "max_replicas": 0}}, "scaling.max_replicas"),
        ({"hardware": {"accelerator": "gpu"}}, "hardware.accelerator_count"),
        ({"hardware": {"accelerator": "tpu"}}, "hardware.accelerator"),
        ({"optimization": {"quantization": "int8"}}, "optimization.quantization"),
        ({"optimization": {"method": "vllm"}}, "optimization.quantization"),
        ({"optimization": {"method": "vllm", "quantization": "--x"}}, "optimization.quantization"),
        (
            {"optimization": {"method": "ctranslate2", "quantization": "int8"}},
            "optimization.method",
        ),
        (
            {
                "engine": "triton",
                "optimization": {"method": "ctranslate2", "quantization": "int3"},
            },
            "optimization.quantization",
        ),
        ({"engine": "magic"}, "engine"),
        ({"engine_arguments": {"--port": "1"}}, "engine_arguments.--port"),
        ({"schema_version": 2}, "schema_version"),
        ({"parameters": []}, "parameters."),
    ],
)
def test_a_bad_value_is_refused_by_its_field(document: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        DeployConfiguration.from_dict(document)
    assert refusal.value.field == field
    assert refusal.value.remedy


def converting() -> Deployment:
    deployment = begun()
    deployment.request(
        configuration=DeployConfiguration.from_dict(
            {
                "engine": "triton",
                "optimization": {"method": "ctranslate2", "quantization": "int8"},
            }
        ),
        model_version="0.0.1",
        reason="",
    )
    return deployment


def finish_conversion(deployment: Deployment, revision: int, *, reused: bool = False) -> None:
    deployment.record_optimization_finished(
        revision=revision,
        method="ctranslate2",
        quantization="int8",
        artefact_sha256="a" * 64,
        size_before_bytes=400,
        size_after_bytes=100,
        reused=reused,
        checks=[],
    )


def state_of(deployment: Deployment) -> DeploymentState:
    """It changes by what is done between two looks, which a type checker cannot know."""
    return deployment.state


def test_a_conversion_comes_before_the_deployment() -> None:
    deployment = converting()
    assert state_of(deployment) is DeploymentState.OPTIMIZING
    deployment.record_optimization_started(revision=1, method="ctranslate2", quantization="int8")
    finish_conversion(deployment, 1)
    assert state_of(deployment) is DeploymentState.DEPLOYING
    assert deployment.artefacts == {1: "a" * 64}
    told = len(deployment.pending_events)
    finish_conversion(deployment, 1)
    deployment.record_optimization_started(revision=1, method="ctranslate2", quantization="int8")
    assert len(deployment.pending_events) == told, "a repetition says nothing"


def test_a_conversion_for_a_superseded_revision_does_not_deploy_the_next_one() -> None:
    deployment = converting()
    second = converting()
    deployment.request(
        configuration=DeployConfiguration.from_dict(second.revisions[1]),
        model_version="0.0.1",
        reason="",
    )
    finish_conversion(deployment, 1)
    assert state_of(deployment) is DeploymentState.OPTIMIZING
    finish_conversion(deployment, 2, reused=True)
    assert state_of(deployment) is DeploymentState.DEPLOYING


def test_a_failed_conversion_leaves_what_serves() -> None:
    deployment = serving()
    deployment.request(
        configuration=DeployConfiguration.from_dict(converting().revisions[1]),
        model_version="0.0.1",
        reason="",
    )
    deployment.record_revision_failed(revision=2, reason="r", remedy="m", log_tail=["x"])
    assert (deployment.state, deployment.serving_revision) == (DeploymentState.FAILED, 1)
