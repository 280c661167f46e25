"""Adapters on a running vLLM: its API for loading LoRA, which only the loopback reaches.

See vLLM's documentation, "LoRA Adapters: Dynamically serving LoRA Adapters".
"""

from __future__ import annotations

from pathlib import Path

import httpx

from backend.domain.engine_options import Option
from workers.serving.engine import AdapterFiles, AdapterRefused

# Without it the API is not there.
ENVIRONMENT = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
# How many different ones a batch may have, and how many stay in memory. Others are read again.
_DEFAULTS = {"max_loras": 4, "max_cpu_loras": 16}


def defaults(given: dict[str, str], options: dict[str, Option]) -> dict[str, str]:
    """Options that are set for engines which hold adapters, unless somebody has."""
    if given.keys() & _DEFAULTS.keys():
        return {}
    return {name: str(value) for name, value in _DEFAULTS.items() if name in options}


def loaded(client: httpx.Client, endpoint: str) -> dict[str, Path]:
    """The adapters that answer, by name, with their files. Raises as `Engine.load` does."""
    answer = client.get(f"{endpoint}/v1/models").raise_for_status().json()
    return {
        str(card["id"]): Path(card["root"])
        for card in answer["data"]
        if card.get("parent") is not None
    }


def load(client: httpx.Client, endpoint: str, adapter: AdapterFiles, *, anew: bool) -> None:
    """Makes it answer; `anew` where one of its name does. Raises `AdapterRefused`."""
    body = {
        "lora_name": adapter.name,
        "lora_path": str(adapter.directory),
        "load_inplace": anew,
    }
    _post(client, f"{endpoint}/v1/load_lora_adapter", body)


def unload(client: httpx.Client, endpoint: str, name: str) -> None:
    """Makes it answer no more. Raises `AdapterRefused`."""
    _post(client, f"{endpoint}/v1/unload_lora_adapter", {"lora_name": name}, missing_is_fine=True)


def _post(
    client: httpx.Client, url: str, body: dict[str, object], *, missing_is_fine: bool = False
) -> None:
    response = client.post(url, json=body)
    if response.is_success or (missing_is_fine and response.status_code == httpx.codes.NOT_FOUND):
        return
    try:
        reason = str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        reason = f"status {response.status_code}"
    raise AdapterRefused(reason[:500])
