"""The model repository that is written for Triton, and the command that serves it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from backend.domain.configuration import DeployConfiguration, Hardware
from backend.domain.engine_options import Option
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.servable import Use
from backend.domain.version import Version
from workers.serving.engine import Environment, Launch
from workers.serving.engines.triton import Triton
from workers.serving.subject import Subject

OPTIONS = {
    "model_load_thread_count": Option("--model-load-thread-count", kind="int"),
    "grpc_port": Option("--grpc-port", kind="int"),
    "load_model": Option("--load-model"),
}
ENVIRONMENT = Environment(Path("/engines/triton/bin/python"), "2.51", OPTIONS)


def _configuration(**parts: object) -> DeployConfiguration:
    return DeployConfiguration.from_dict({"engine": "triton", **parts})


def _converted(**parts: object) -> DeployConfiguration:
    optimization = {"method": "ctranslate2", "quantization": "int8"}
    return _configuration(optimization=optimization, **parts)


def _subject(**card: object) -> Subject:
    version = Version("0.0.1", "path", {}, "", None, None, card=card)
    return Subject(uuid4(), "tiny", version)


def _launch(configuration: DeployConfiguration, directory: Path, use: Use) -> Launch:
    return Launch(uuid4(), "tiny", directory, 1000, 20001, configuration, use)


def test_the_repository_of_a_converted_model_is_what_triton_defines() -> None:
    configuration = _converted(parameters={"batch_size": 16}, engine_arguments={"instances": "2"})
    found = Triton().arrange(_subject(context_length=512), configuration)
    assert found is not None
    assert found.folder == "model/1/weights"
    assert {"model/config.pbtxt", "model/1/model.py"} <= found.beside.keys()
    config = text_format.Parse(
        found.beside["model/config.pbtxt"].decode(), model_config_pb2.ModelConfig()
    )
    assert (config.name, config.backend, config.max_batch_size) == ("model", "python", 16)
    assert config.model_transaction_policy.decoupled
    assert config.HasField("dynamic_batching")
    (group,) = config.instance_group
    assert (group.count, group.kind) == (2, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    assert config.parameters["compute_type"].string_value == "int8"
    assert config.parameters["context_length"].string_value == "512"
    assert [tensor.name for tensor in config.output] == ["text_output", "details"]
    # The same arrangement is the same files, so that it is stored once.
    assert Triton().arrange(_subject(context_length=512), configuration) == found


def test_an_imported_repository_is_served_as_it_is(tmp_path: Path) -> None:
    assert Triton().arrange(_subject(format="triton"), _configuration()) is None
    for name in ("tokens", "words"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.pbtxt").write_text(f'name: "{name}"')
    (tmp_path / "words" / "config.pbtxt").write_text("ensemble_scheduling { }")
    command = Triton().command(ENVIRONMENT, _launch(_configuration(), tmp_path, Use.INFER))
    assert "--serves=words" in command.arguments
    assert f"--repository={tmp_path}" in command.arguments


def test_a_repository_with_code_is_served_only_with_consent(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    config = 'backend: "python" default_model_filename: "serve.py"'
    (tmp_path / "net" / "config.pbtxt").write_text(config)
    launch = _launch(_configuration(), tmp_path, Use.INFER)
    with pytest.raises(NotAllowed, match=r"net/config\.pbtxt asks for Triton's Python backend"):
        Triton().command(ENVIRONMENT, launch)
    command = Triton().command(ENVIRONMENT, replace(launch, runs_own_code=True))
    assert "--serves=net" in command.arguments


def test_arguments_of_the_server_are_checked_and_passed_on(tmp_path: Path) -> None:
    given = {"model_load_thread_count": "2", "instances": "1"}
    configuration = _configuration(engine_arguments=given)
    arguments = (
        Triton().command(ENVIRONMENT, _launch(configuration, tmp_path, Use.GENERATE)).arguments
    )
    assert list(arguments)[-2:] == ["--", "--model-load-thread-count=2"]
    assert "--serves=model" in arguments


@pytest.mark.parametrize(
    "given",
    [{"grpc_port": "1"}, {"load_model": "x"}, {"unheard_of": "1"}, {"instances": "many"},
     {"model_load_thread_count": "few"}],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_named(given: dict[str, str], tmp_path: Path) -> None:
    launch = _launch(_configuration(engine_arguments=given), tmp_path, Use.GENERATE)
    with pytest.raises(Invalid, match=next(iter(given))):
        Triton().command(ENVIRONMENT, launch)


def test_more_instances_than_any_machine_has_room_for_are_refused() -> None:
    with pytest.raises(Invalid, match="out of range"):
        Triton().arrange(_subject(), _converted(engine_arguments={"instances": "1000"}))


def test_a_gpu_is_refused_where_there_is_none() -> None:
    with pytest.raises(Invalid, match="no NVIDIA GPU"):
        Triton().environment(Hardware(accelerator="gpu", accelerator_count=1))


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        (
            ["triton_front: Triton could not load 'model': bad model.py"],
            1,
            "could not load 'model'",
        ),
        (["std::bad_alloc"], -6, "out of memory"),
        (["something"], -9, "killed"),
        ([], 3, "exit status 3"),
    ],
)
def test_the_last_lines_say_why_it_ended(lines: list[str], code: int, reason: str) -> None:
    found = Triton().diagnose(lines, code)
    assert reason in found.reason
    assert found.remedy
