"""What tests of real engines share: adapters that peft wrote, and clients of the real gateway."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

import numpy as np
import openai
import psutil
from safetensors.numpy import load, save

from tests.serving.conftest import Gallery, Worker

# The first run on a machine installs the engine; later ones start it within half a minute.
START_SECONDS = 240
LORA_CARD = {"format": "peft", "adapter": {"method": "LORA", "rank": 8, "max_rank": 8}}
_ADAPTERS = Path(__file__).parents[1] / "importing" / "adapters"


def lora_files() -> dict[str, bytes]:
    """An adapter of the tiny Llama, written by peft."""
    return {path.name: path.read_bytes() for path in (_ADAPTERS / "lora").iterdir()}


def idle(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The adapter with weights that change nothing."""
    weights = {
        name: np.zeros_like(array) if "lora_B" in name else array
        for name, array in load(files["adapter_model.safetensors"]).items()
    }
    return {**files, "adapter_model.safetensors": save(weights)}


def consumers(gallery: Gallery, worker: Worker, *models: UUID) -> Callable[[UUID], openai.OpenAI]:
    """An official client for each model, with a key of it, at the real gateway."""
    keys = {model_id: gallery.key(model_id) for model_id in models}
    url = worker.start_gateway()
    return lambda model_id: openai.OpenAI(base_url=url, api_key=keys[model_id])


def living_in(session: int) -> list[psutil.Process]:
    """What an engine started and still runs; its session has the number of its first process."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process)
        except OSError:
            continue
    return found
