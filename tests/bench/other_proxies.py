"""Proxies that others make, each in an environment of its own, where they can be installed.

LiteLLM's proxy (https://docs.litellm.ai/docs/proxy/configs) with one process, a master key and no
database; vLLM's router (https://github.com/vllm-project/router) with the policy that keeps
conversations together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from tests.rig.ports import free_ports

VERSIONS = {"litellm": "litellm[proxy]", "vllm-router": "vllm-router"}
_INSTALL_SECONDS = 600


def installed(name: str, folder: Path) -> Path | None:
    """The folder of its programs; None where it cannot be installed here."""
    programs = folder / name / "bin"
    if (programs / name).exists():
        return programs
    venv.create(folder / name, with_pip=True)
    arguments = os.environ.get("LOGGIA_ENGINE_PIP_ARGUMENTS", "").split()
    try:
        subprocess.run(
            [programs / "python", "-m", "pip", "install", "-q", *arguments, VERSIONS[name]],
            check=True,
            timeout=_INSTALL_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None
    return programs


def version(name: str, programs: Path) -> str:
    """Which release is measured."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    told = subprocess.run(
        [programs / "python", "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return told.stdout.strip()


def command(
    name: str, programs: Path, *, port: int, engines: list[str], key: str, folder: Path
) -> list[str]:
    """How it is started before these engines, so that it opens the model with the key."""
    address = ["--host", "127.0.0.1", "--port", str(port)]
    if name == "vllm-router":
        (metrics,) = free_ports(1)
        rest = [
            "--policy",
            "cache_aware",
            "--log-level",
            "error",
            "--prometheus-port",
            str(metrics),
        ]
        return [str(programs / name), *address, "--worker-urls", *engines, *rest]
    configuration = folder / f"litellm-{port}.json"
    configuration.write_text(
        json.dumps(
            {
                "model_list": [
                    {
                        "model_name": "tiny",
                        "litellm_params": {
                            "model": "hosted_vllm/tiny",
                            "api_base": f"{engine}/v1",
                            "api_key": "none",
                        },
                    }
                    for engine in engines
                ],
                "router_settings": {"routing_strategy": "least-busy"},
                "general_settings": {"master_key": key},
            }
        )
    )
    return [str(programs / name), *address, "--config", str(configuration), "--num_workers", "1"]


ENVIRONMENT = {
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
}
