"""The engine double as an Engine, steered by the deploy configuration's engine arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from backend.domain.configuration import Hardware
from workers.serving.engine import (
    Command,
    Diagnosis,
    Environment,
    EnvironmentSpec,
    Launch,
    Load,
    Option,
)
from workers.serving.engines.arguments import command_line

OPTIONS = {
    "mode": Option("--mode", choices=("ok", "die-at-load", "never-healthy", "hang", "die-later")),
    "load_seconds": Option("--load-seconds", kind="float"),
    "label": Option("--label"),
}
PROBE = "print('{}')"


class EngineDouble:
    """Starts `launched_double.py` with the Python of the tests."""

    name = "vllm"

    def environment(self, hardware: Hardware) -> EnvironmentSpec:
        return EnvironmentSpec("double", "1", (), PROBE)

    def command(self, environment: Environment, launch: Launch) -> Command:
        asked = command_line(launch.configuration.engine_arguments, OPTIONS, frozenset())
        return Command(
            [
                sys.executable,
                str(Path(__file__).with_name("launched_double.py")),
                f"--port={launch.port}",
                f"--model={launch.model_name}",
                f"--directory={launch.model_directory}",
                *asked,
            ]
        )

    def answers(self, client: httpx.Client, endpoint: str, model_name: str) -> bool:
        try:
            if client.get(f"{endpoint}/health").status_code != 200:
                return False
        except httpx.ConnectError:
            return False
        answer = client.post(
            f"{endpoint}/v1/completions", json={"model": model_name, "max_tokens": 1}
        )
        return answer.status_code == 200

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:
        return client.get(f"{endpoint}/health").status_code == 200

    def load(self, client: httpx.Client, endpoint: str) -> Load:
        counts = client.get(f"{endpoint}/metrics").json()
        return Load(running=counts["running"], waiting=counts["waiting"])

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        last = log_tail[-1] if log_tail else "no output"
        return Diagnosis(f"The double ended with {exit_code}: {last}", "Mend the double.")
