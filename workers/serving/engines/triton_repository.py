"""The model repository that Triton gets for a model converted for CTranslate2."""

from __future__ import annotations

import json
from pathlib import Path

from backend.domain.configuration import DeployConfiguration
from workers.serving.engines import ctranslate2_backend
from workers.serving.optimization.artefacts import Arrangement

MODEL = "model"
_VERSION = "1"
_BACKEND = Path(ctranslate2_backend.__file__).parent
_FILES = ("model.py", "decoding.py", "prompts.py")
# How long a request may wait for others to be answered together with it.
_QUEUE_MICROSECONDS = 2000


def arrangement(
    configuration: DeployConfiguration, *, context_length: int | None, threads: int, instances: int
) -> Arrangement:
    """The converted files with the backend's code and the configuration around them."""
    beside = {f"{MODEL}/{_VERSION}/{name}": (_BACKEND / name).read_bytes() for name in _FILES}
    config = config_pbtxt(
        configuration, context_length=context_length, threads=threads, instances=instances
    )
    return Arrangement(
        f"{MODEL}/{_VERSION}/weights", {**beside, f"{MODEL}/config.pbtxt": config.encode()}
    )


def config_pbtxt(
    configuration: DeployConfiguration, *, context_length: int | None, threads: int, instances: int
) -> str:
    """How Triton runs the model: what goes in and out, batches, and how many at a time."""
    on_gpu = configuration.hardware.accelerator == "gpu"
    parameters = {
        "compute_type": configuration.optimization.quantization or "default",
        "context_length": str(context_length or 0),
        "threads": str(threads),
    }
    inputs = [
        _tensor(name, kind, optional=True)
        for name, kind in (
            ("text_input", "TYPE_STRING"),
            ("messages", "TYPE_STRING"),
            ("sampling_parameters", "TYPE_STRING"),
            ("stream", "TYPE_BOOL"),
        )
    ]
    outputs = [_tensor("text_output", "TYPE_STRING"), _tensor("details", "TYPE_STRING")]
    lines = [
        f'name: "{MODEL}"',
        'backend: "python"',
        f"max_batch_size: {configuration.parameters.batch_size}",
        "model_transaction_policy { decoupled: true }",
        *(f"input {tensor}" for tensor in inputs),
        *(f"output {tensor}" for tensor in outputs),
        f"dynamic_batching {{ max_queue_delay_microseconds: {_QUEUE_MICROSECONDS} }}",
        f"instance_group {{ count: {instances} kind: KIND_{'GPU' if on_gpu else 'CPU'} }}",
        *(
            f"parameters {{ key: {json.dumps(key)} value {{ string_value: {json.dumps(value)} }} }}"
            for key, value in parameters.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _tensor(name: str, kind: str, *, optional: bool = False) -> str:
    also = " optional: true" if optional else ""
    return f'{{ name: "{name}" data_type: {kind} dims: [ 1 ]{also} }}'
