"""How a deploy configuration becomes vLLM's command line, and what its last words mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.engine_options import Option, Quantization
from backend.domain.errors import DomainError, Invalid
from backend.domain.servable import Use
from tests.builders.models import config
from workers.serving.engine import AdapterFiles, Environment, Launch
from workers.serving.engines.vllm import Vllm

OPTIONS = {
    "max_model_len": Option("--max-model-len"),
    "max_num_seqs": Option("--max-num-seqs", kind="int"),
    "dtype": Option("--dtype", choices=("auto", "bfloat16", "float32")),
    "enforce_eager": Option("--enforce-eager", kind="switch", negation="--no-enforce-eager"),
    "kv_cache_memory_bytes": Option("--kv-cache-memory-bytes"),
    "gpu_memory_utilization": Option("--gpu-memory-utilization", kind="float"),
    "tensor_parallel_size": Option("--tensor-parallel-size", kind="int"),
    "worker_cls": Option("--worker-cls"),
    "trust_remote_code": Option("--trust-remote-code", kind="switch"),
    "port": Option("--port", kind="int"),
    "generation_config": Option("--generation-config"),
    "enable_lora": Option("--enable-lora", kind="switch"),
    "max_lora_rank": Option("--max-lora-rank", kind="int", choices=("1", "8", "16", "32", "64")),
    "quantization": Option("--quantization"),
    "lora_modules": Option("--lora-modules", many=True),
    "runner": Option("--runner", choices=("auto", "draft", "generate", "pooling")),
}
ENVIRONMENT = Environment(Path("/engine/bin/python"), "1", OPTIONS)


def command(
    tmp_path: Path,
    arguments: dict[str, str] | None = None,
    *,
    model: dict[str, Any] | None = None,
    use: Use = Use.GENERATE,
    runs_own_code: bool = False,
    adapter: AdapterFiles | None = None,
    environment: Environment = ENVIRONMENT,
    **parts: Any,
) -> list[str]:
    (tmp_path / "config.json").write_text(json.dumps(model or config()))
    configuration = DeployConfiguration.from_dict({"engine_arguments": arguments or {}, **parts})
    launch = Launch(
        replica_id=uuid4(),
        model_name="tiny",
        model_directory=tmp_path,
        total_bytes=1_000_000,
        port=20_123,
        configuration=configuration,
        use=use,
        runs_own_code=runs_own_code,
        adapter=adapter,
    )
    return list(Vllm().command(environment, launch).arguments)


def test_the_configuration_sets_the_engines_options(tmp_path: Path) -> None:
    arguments = command(tmp_path, {"max_model_len": "256"}, parameters={"batch_size": 3})
    assert "--host=127.0.0.1" in arguments
    assert "--port=20123" in arguments
    assert "--served-model-name=tiny" in arguments
    assert "--max-num-seqs=3" in arguments
    assert "--max-model-len=256" in arguments
    assert "--enforce-eager" in arguments


def test_what_is_given_replaces_the_default(tmp_path: Path) -> None:
    arguments = command(tmp_path, {"enforce_eager": "false", "dtype": "float32"})
    assert "--no-enforce-eager" in arguments
    assert "--enforce-eager" not in arguments
    assert "--dtype=float32" in arguments
    assert "--dtype=auto" not in arguments


def test_the_cache_is_no_larger_than_full_batches_need(tmp_path: Path) -> None:
    def cache(**hardware: Any) -> int:
        arguments = command(tmp_path, hardware=hardware)
        prefix = "--kv-cache-memory-bytes="
        return int(next(a for a in arguments if a.startswith(prefix)).removeprefix(prefix))

    assert cache(memory_gib=64) == cache(memory_gib=8) < 256 * 1024**2
    assert cache(memory_gib=1) >= 128 * 1024**2


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_modl_len", "256", "no such option"),
        ("dtype", "float8", "not a choice"),
        ("max_num_seqs", "many", "whole number"),
        ("enforce_eager", "perhaps", "neither true nor false"),
        ("port", "1", "cannot be set"),
        ("worker_cls", "os.system", "cannot be set"),
        ("trust_remote_code", "true", "cannot be set"),
        ("generation_config", "auto", "set by Loggia"),
        ("runner", "pooling", "set by Loggia"),
        ("max_lora_rank", "8", "set by Loggia"),
        ("lora_modules", "other=/etc", "cannot be set"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(
    tmp_path: Path, name: str, value: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        command(tmp_path, {name: value})
    assert refused.value.field == f"engine_arguments.{name}"
    assert refused.value.remedy


@pytest.mark.parametrize(("rank", "started_with"), [(1, 1), (4, 8), (8, 8), (9, 16), (64, 64)])
def test_an_adapter_is_loaded_under_its_name_with_a_rank_that_the_engine_knows(
    tmp_path: Path, rank: int, started_with: int
) -> None:
    adapter = AdapterFiles("fine-tuned", tmp_path / "a,b", rank)
    arguments = command(tmp_path, adapter=adapter)
    assert "--enable-lora" in arguments
    assert f"--max-lora-rank={started_with}" in arguments
    assert "--served-model-name=tiny" in arguments
    module = json.loads(arguments[arguments.index("--lora-modules") + 1])
    assert module == {
        "name": "fine-tuned",
        "path": str(tmp_path / "a,b"),
        "base_model_name": "tiny",
    }


def test_a_rank_above_every_one_that_the_engine_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="ranks up to 64") as refused:
        command(tmp_path, adapter=AdapterFiles("fine-tuned", tmp_path, 65))
    assert refused.value.remedy


def test_a_base_model_is_started_without_anything_of_adapters(tmp_path: Path) -> None:
    assert not any("lora" in argument for argument in command(tmp_path))


def test_code_of_the_models_own_runs_only_with_consent(tmp_path: Path) -> None:
    assert "--trust-remote-code" in command(tmp_path, runs_own_code=True)
    assert "--trust-remote-code" not in command(tmp_path)


@pytest.mark.parametrize(
    ("use", "runner"),
    [(Use.GENERATE, "generate"), (Use.EMBED, "pooling"), (Use.RERANK, "pooling")],
)
def test_each_use_has_its_runner(tmp_path: Path, use: Use, runner: str) -> None:
    assert f"--runner={runner}" in command(tmp_path, use=use)


@pytest.mark.parametrize(
    ("labels", "ranks"),
    [({"num_labels": 1}, True), ({"id2label": {"0": "LABEL_0"}}, True), ({}, False),
     ({"id2label": {"0": "bad", "1": "good"}}, False)],
)  # fmt: skip
def test_only_a_classifier_with_one_label_ranks(
    tmp_path: Path, labels: dict[str, Any], ranks: bool
) -> None:
    model = {**config(), "architectures": ["BertForSequenceClassification"], **labels}
    if ranks:
        assert command(tmp_path, model=model, use=Use.RERANK)
    else:
        with pytest.raises(DomainError, match="2 classes"):
            command(tmp_path, model=model, use=Use.RERANK)


QUANTIZED = {"method": "vllm", "quantization": "fp8_per_channel"}


def test_the_optimization_sets_the_quantization(tmp_path: Path) -> None:
    assert "--quantization=fp8_per_channel" in command(tmp_path, optimization=QUANTIZED)
    assert not any("quantization" in argument for argument in command(tmp_path))


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ({"fp8_per_channel": Quantization(True, "No kernel.")}, "No kernel"),
        ({"fp8_per_channel": Quantization(False)}, "were quantized with it"),
        ({"mxfp8": Quantization(True)}, "does not know"),
    ],
)
def test_a_quantization_that_the_installed_engine_cannot_do_is_refused(
    tmp_path: Path, methods: dict[str, Quantization], words: str
) -> None:
    environment = replace(ENVIRONMENT, quantizations=methods)
    with pytest.raises(Invalid, match=words) as refused:
        command(tmp_path, environment=environment, optimization=QUANTIZED)
    assert refused.value.field == "optimization.quantization"


def test_two_answers_to_how_to_quantize_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="the optimization says"):
        command(tmp_path, {"quantization": "awq"}, optimization=QUANTIZED)


def test_engines_that_hold_adapters_are_started_for_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config()))
    launch = Launch(
        uuid4(), "tiny", tmp_path, 1_000_000, 20_123, DeployConfiguration(), adapter_rank=24
    )
    started = Vllm().command(ENVIRONMENT, launch)
    assert "--enable-lora" in started.arguments
    assert "--max-lora-rank=32" in started.arguments
    assert "--lora-modules" not in started.arguments
    assert started.environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    assert "--host=127.0.0.1" in started.arguments
    plain = Vllm().command(ENVIRONMENT, replace(launch, adapter_rank=0))
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in plain.environment


def test_a_value_cannot_smuggle_another_option(tmp_path: Path) -> None:
    arguments = command(tmp_path, {"max_model_len": "--trust-remote-code"})
    assert "--trust-remote-code" not in arguments
    assert "--max-model-len=--trust-remote-code" in arguments


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["ValueError: Available memory on kv cache allocation is less than"], "key-value cache"),
        (["torch.OutOfMemoryError: CUDA out of memory."], "ran out of memory"),
        (
            [
                "pydantic_core.ValidationError: 1 validation error for ModelConfig",
                "  Value error, max_model_len (9) is greater than 4",
            ],
            "max_model_len",
        ),
        (
            ["KeyError: 'rope'", "RuntimeError: Engine core failed. See root cause above."],
            "KeyError: 'rope'",
        ),
        ([], "exit status 1"),
    ],
)
def test_last_words_become_a_reason_and_a_remedy(lines: list[str], words: str) -> None:
    found = Vllm().diagnose(lines, 1)
    assert words in found.reason
    assert found.remedy
