"""NVIDIA Triton: imported model repositories, and models converted for CTranslate2.

The replica's process is a front that starts the server beside it; see `triton_front`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import httpx
from prometheus_client.parser import text_string_to_metric_families

from backend.domain.configuration import DeployConfiguration, Hardware
from backend.domain.engine_options import (
    INSTANCES,
    TRITON_OPTIONS,
    Option,
    check_arguments,
    check_options,
)
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.servable import Use
from workers.importing.validation.triton_code import CONFIG, code_named_in
from workers.serving.engine import (
    Command,
    Diagnosis,
    Environment,
    EnvironmentSpec,
    Launch,
    Load,
)
from workers.serving.engines import triton_front, triton_repository
from workers.serving.engines.arguments import command_line, judged
from workers.serving.engines.triton_probe import probe
from workers.serving.engines.vllm import has_nvidia_gpu
from workers.serving.optimization import conversion
from workers.serving.optimization.artefacts import Arrangement
from workers.serving.subject import Subject

PYTRITON = "0.7.0"
SERVER = "2.51"
_REQUIREMENTS = (
    f"nvidia-pytriton=={PYTRITON}",
    "numpy<2",
    "aiohttp>=3.12,<4",
    f"ctranslate2=={conversion.VERSION}",
    "tokenizers>=0.22,<1",
    "jinja2>=3.1,<4",
)
_GPU_REQUIREMENTS = ("nvidia-cublas-cu12", "nvidia-cudnn-cu12")
# What the front sets, and what would tell callers' secrets.
_RESERVED = frozenset(
    {"id", "model_store", "model_repository", "model_control_mode", "load_model",
     "repository_poll_secs", "backend_directory", "backend_config", "allow_http", "allow_grpc",
     "allow_metrics", "allow_gpu_metrics", "reuse_http_port", "reuse_grpc_port", "exit_on_error",
     "exit_timeout_secs", "strict_readiness", "allow_sagemaker", "allow_vertex_ai",
     "repoagent_directory", "cache_directory", "host_policy", "trace_config", "log_verbose",
     "http_restricted_api", "grpc_restricted_protocol", "http_header_forward_pattern",
     "grpc_header_forward_pattern", "metrics_config", "trace_level", "trace_rate", "trace_count",
     "trace_log_frequency", "log_info", "log_warning", "log_error", "log_format",
     "metrics_interval_ms", "sagemaker_thread_count", "sagemaker_safe_port_range",
     "vertex_ai_thread_count", "vertex_ai_default_model", "model_namespacing", "model_config_name",
     "cache_config", "strict_model_config"}
)  # fmt: skip
_FRONT = Path(triton_front.__file__).parent
# Started so, because the folder beside it holds modules whose names would hide packages.
_START = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1)); "
    f"runpy.run_module({_FRONT.name!r}, run_name='__main__', alter_sys=True)"
)
_SIGNS = (
    (
        re.compile(r"out of memory|std::bad_alloc|MemoryError|Cannot allocate memory"),
        "The engine ran out of memory.",
        "Give the deployment more memory, or stop others on this server.",
    ),
    (
        re.compile(r"No space left on device|failed to .*shared memory|shm"),
        "Triton's Python backend has too little shared memory.",
        "Give the server more of it (/dev/shm), or stop others on this server.",
    ),
)
_FRONT_SAYS = re.compile(r"triton_front: (Triton .+)")
_KILLED = -9


class Triton:
    """Triton's server with our front before it."""

    name = "triton"

    def environment(self, hardware: Hardware) -> EnvironmentSpec:
        """One for CPU and GPU. Raises `Invalid` where a GPU is wanted and none is there."""
        requirements: tuple[str, ...] = _REQUIREMENTS
        if hardware.accelerator == "gpu":
            if not has_nvidia_gpu():
                raise Invalid(
                    "hardware.accelerator: this server has no NVIDIA GPU.",
                    remedy="Choose cpu, or a server with a GPU.",
                    field="hardware.accelerator",
                )
            requirements += _GPU_REQUIREMENTS
        return EnvironmentSpec(
            "triton" if hardware.accelerator == "gpu" else "triton-cpu",
            f"{SERVER}-ct{conversion.VERSION}",
            requirements,
            probe("cuda" if hardware.accelerator == "gpu" else "cpu"),
            package_count=40,
        )

    def settable(self, environment: Environment) -> Mapping[str, Option]:
        """The server's options and ours, those marked that a deployment may not set."""
        return {**judged(environment.options, _RESERVED), **TRITON_OPTIONS}

    def arrange(self, subject: Subject, configuration: DeployConfiguration) -> Arrangement | None:
        """A repository around a converted model's files; an imported one is served as it is."""
        if subject.use is Use.INFER:
            return None
        context = subject.whole.card.get("context_length")
        check_arguments(configuration)
        return triton_repository.arrangement(
            configuration,
            context_length=int(context) if context else None,
            threads=_threads(configuration),
            instances=int(configuration.engine_arguments.get(INSTANCES, "1")),
        )

    def command(self, environment: Environment, launch: Launch) -> Command:
        """The front on a loopback port, which starts the server.

        Raises `Invalid`, and `NotAllowed` for a repository with code that nobody consented to.
        """
        if launch.use is Use.INFER and not launch.runs_own_code:
            _refuse_code(launch.model_directory)
        given = launch.configuration.engine_arguments
        settable = self.settable(environment)
        check_options(given, settable)
        asked = command_line(
            {name: value for name, value in given.items() if name not in TRITON_OPTIONS}, settable
        )
        on_gpu = launch.configuration.hardware.accelerator == "gpu"
        return Command(
            [
                str(environment.python),
                "-c",
                _START,
                str(_FRONT.parent),
                f"--port={launch.port}",
                f"--model={launch.model_name}",
                f"--serves={_served(launch)}",
                f"--repository={launch.model_directory}",
                *(["--gpu"] if on_gpu else []),
                "--",
                *asked,
            ],
            {
                "OMP_NUM_THREADS": str(_threads(launch.configuration)),
                "TOKENIZERS_PARALLELISM": "false",
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )

    def answers(self, client: httpx.Client, endpoint: str, model_name: str, use: Use) -> bool:
        """Whether it completes a prompt by one token, or says that its model is ready."""
        try:
            if not self.is_alive(client, endpoint):
                return False
        except httpx.ConnectError:
            return False
        if use is Use.INFER:
            ready = client.get(f"{endpoint}/v2/models/{quote(model_name, safe='')}/ready")
            return ready.status_code == httpx.codes.OK
        response = client.post(
            f"{endpoint}/v1/completions",
            json={"model": model_name, "prompt": "Hello", "max_tokens": 1, "temperature": 0},
        )
        if response.status_code != httpx.codes.OK:
            return False
        answer = response.json()
        return bool(answer.get("choices")) and answer["usage"]["completion_tokens"] >= 1

    def effect(
        self,
        client: httpx.Client,  # noqa: ARG002
        endpoint: str,  # noqa: ARG002
        adapter: str,
        base: str,  # noqa: ARG002
        use: Use,  # noqa: ARG002
    ) -> float:
        """Raises `LookupError`: Triton serves no adapters."""
        raise LookupError(f"Triton serves no adapter '{adapter}'")

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:
        """Whether the server behind the front answers."""
        return client.get(f"{endpoint}/health").status_code == httpx.codes.OK

    def load(self, client: httpx.Client, endpoint: str) -> Load:
        """Requests inside the front, and those of them that wait in Triton's queues."""
        response = client.get(f"{endpoint}/metrics").raise_for_status()
        counts = {"running": 0, "waiting": 0}
        for family in text_string_to_metric_families(response.text):
            if family.name == "triton_front_requests":
                for sample in family.samples:
                    counts[sample.labels["state"]] = int(sample.value)
        return Load(**counts)

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        """What its last lines mean, else what the front said."""
        text = "\n".join(log_tail)
        for sign, reason, remedy in _SIGNS:
            if sign.search(text):
                return Diagnosis(reason, remedy)
        if exit_code == _KILLED:
            return Diagnosis(
                "The engine was killed, perhaps because the server ran out of memory.",
                "Give the deployment more memory, or stop others on this server; then redeploy.",
            )
        said = _FRONT_SAYS.findall(text)
        how = "" if exit_code is None else f" with exit status {exit_code}"
        return Diagnosis(
            str(said[-1])[:500] if said else f"The engine ended{how}.",
            "Read the log's last lines, change the configuration or the repository, and redeploy.",
        )


def _refuse_code(repository: Path) -> None:
    """The import asks for consent too, but versions outlive what it knew when they came in."""
    for path in sorted(repository.glob(f"*/{CONFIG}")):
        if named := code_named_in(path.read_bytes()):
            raise NotAllowed(
                f"The model would run code of its own: {path.parent.name}/{CONFIG} {named[0]}.",
                remedy="Import the model again, read its code, and accept the risk 'custom code'.",
            )


def _served(launch: Launch) -> str:
    """The model of the repository that callers mean by the model's name."""
    if launch.use is not Use.INFER:
        return triton_repository.MODEL
    folders = sorted(path for path in launch.model_directory.iterdir() if path.is_dir())
    named = [path.name for path in folders if path.name == launch.model_name]
    composed = [path.name for path in folders if "ensemble_scheduling" in _content(path / CONFIG)]
    return (named or composed or [path.name for path in folders] or [launch.model_name])[0]


def _content(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _threads(configuration: DeployConfiguration) -> int:
    """Half of the cores, so that a revision and its successor run side by side."""
    return max(1, (os.cpu_count() or 2) // 2) if configuration.hardware.accelerator == "cpu" else 1
