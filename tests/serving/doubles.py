"""The engine double as an Engine, steered by the deploy configuration's engine arguments."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from backend.domain.configuration import Hardware
from backend.domain.engine_options import Option
from backend.domain.servable import Use
from workers.serving.engine import (
    AdapterFiles,
    Command,
    Diagnosis,
    Environment,
    EnvironmentSpec,
    Launch,
    Load,
)
from workers.serving.engines import vllm_adapters
from workers.serving.engines.arguments import command_line

MODES = ("ok", "die-at-load", "die-at-health", "never-healthy", "hang", "die-later")
OPTIONS = {
    "mode": Option("--mode", choices=MODES),
    "load_seconds": Option("--load-seconds", kind="float"),
    "label": Option("--label"),
    "only_one": Option("--only-one", kind="switch"),
    "effect": Option("--effect", kind="float"),
}
PROBE = "print('{}')"


class EngineDouble:
    """Starts `engine_double.py` with the Python of the tests."""

    name = "vllm"

    def environment(self, hardware: Hardware) -> EnvironmentSpec:
        return EnvironmentSpec("double", "1", (), PROBE)

    def settable(self, environment: Environment) -> Mapping[str, Option]:
        return OPTIONS

    def command(self, environment: Environment, launch: Launch) -> Command:
        asked = command_line(launch.configuration.engine_arguments, OPTIONS)
        adapter = launch.adapter
        if adapter is not None:
            asked += [f"--adapter={adapter.name}", f"--adapter-directory={adapter.directory}"]
        if launch.adapter_rank:
            asked.append(f"--adapter-rank={launch.adapter_rank}")
        return Command(
            [
                sys.executable,
                str(Path(__file__).with_name("engine_double.py")),
                f"--port={launch.port}",
                f"--model={launch.model_name}",
                f"--directory={launch.model_directory}",
                *asked,
            ]
        )

    def answers(self, client: httpx.Client, endpoint: str, model_name: str, use: Use) -> bool:
        try:
            if client.get(f"{endpoint}/health").status_code != 200:
                return False
        except httpx.ConnectError:
            return False
        answer = client.post(
            f"{endpoint}/v1/completions", json={"model": model_name, "max_tokens": 1}
        )
        return answer.status_code == 200

    def effect(
        self, client: httpx.Client, endpoint: str, adapter: str, base: str, use: Use
    ) -> float:
        numbers = [
            client.post(f"{endpoint}/v1/completions", json={"model": name, "max_tokens": 1}).json()[
                "number"
            ]
            for name in (adapter, base)
        ]
        return float(abs(numbers[0] - numbers[1]))

    def loaded_adapters(self, client: httpx.Client, endpoint: str) -> Mapping[str, Path]:
        return vllm_adapters.loaded(client, endpoint)

    def load_adapter(
        self, client: httpx.Client, endpoint: str, adapter: AdapterFiles, *, anew: bool
    ) -> None:
        vllm_adapters.load(client, endpoint, adapter, anew=anew)

    def unload_adapter(self, client: httpx.Client, endpoint: str, name: str) -> None:
        vllm_adapters.unload(client, endpoint, name)

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:
        return client.get(f"{endpoint}/health").status_code == 200

    def load(self, client: httpx.Client, endpoint: str) -> Load:
        counts = client.get(f"{endpoint}/metrics").json()
        return Load(running=counts["running"], waiting=counts["waiting"])

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        last = log_tail[-1] if log_tail else "no output"
        return Diagnosis(f"The double ended with {exit_code}: {last}", "Mend the double.")
