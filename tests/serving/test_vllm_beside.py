"""Real vLLM under the real roles: adapters while it runs, and quantization while it loads."""

from __future__ import annotations

from uuid import UUID

import openai
import pytest

from backend.application.commands import CommandContext
from backend.application.engine_facts import EngineFactsTable
from backend.infra.postgres import Pool
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.real_engines import LORA_CARD, START_SECONDS, consumers, idle, lora_files

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]
BY_ADA = CommandContext(ADA)
SMALL = {"memory_gib": 2.5}


def test_adapters_come_and_go_beside_a_running_base(
    real_gallery: Gallery, real_worker: Worker, llama: UUID
) -> None:
    gallery = real_gallery
    fine = gallery.import_model(lora_files(), "fine-tuned", card=LORA_CARD, base=llama)
    flat = gallery.import_model(idle(lora_files()), "flat", card=LORA_CARD, base=llama)
    gallery.deploy(llama, {"max_model_len": "128"}, hardware=SMALL)
    gallery.await_state(llama, "deployed", seconds=START_SECONDS)
    gallery.adapters.load(BY_ADA, llama, fine)
    (loaded,) = gallery.await_recorded(llama, "AdapterLoaded", seconds=START_SECONDS)
    assert (loaded["adapter_name"], loaded["warnings"]) == ("fine-tuned", [])
    assert "--max-lora-rank=16" in gallery.command_line(llama)
    gallery.adapters.load(BY_ADA, llama, flat)
    loaded = gallery.await_recorded(llama, "AdapterLoaded", 2)[1]
    assert "no effect" in loaded["warnings"][0]
    assert len(gallery.recorded(llama, "DeploymentRequested")) == 2

    of = consumers(gallery, real_worker, llama, fine)

    def said(key: UUID, name: str) -> str:
        with of(key) as consumer:
            answer = consumer.completions.create(
                model=name, prompt="The fox", max_tokens=8, temperature=0
            )
            return answer.choices[0].text

    base = said(llama, "tiny")
    assert said(llama, "fine-tuned") == said(fine, "fine-tuned") != base
    assert said(llama, "flat") == base

    gallery.adapters.unload(BY_ADA, llama, fine)
    gallery.await_recorded(llama, "AdapterUnloaded")

    def refused() -> bool:
        try:
            said(llama, "fine-tuned")
        except openai.NotFoundError:
            return True
        return False

    eventually(refused, "the base's key opens the adapter no more")
    assert said(llama, "tiny") == base


def test_a_quantization_that_vllm_can_do_here_is_done_while_it_loads(
    real_gallery: Gallery, real_worker: Worker, llama: UUID, pool: Pool
) -> None:
    table = EngineFactsTable(pool)
    eventually(lambda: table.find("vllm", "cpu"), "the worker tells of its engine", seconds=60)
    known = table.find("vllm", "cpu")
    assert known is not None
    assert known.options["max_model_len"].help
    assert known.options["port"].refusal
    usable = [name for name, each in known.quantizations.items() if each.is_usable]
    assert usable, {name: each.refusal for name, each in known.quantizations.items()}
    real_gallery.deploy(
        llama,
        {"max_model_len": "128"},
        hardware=SMALL,
        optimization={"method": "vllm", "quantization": usable[0]},
    )
    real_gallery.await_state(llama, "deployed", seconds=START_SECONDS)
    assert f"--quantization={usable[0]}" in real_gallery.command_line(llama)
    answer = real_gallery.ask(real_gallery.endpoint(llama), max_tokens=4)
    assert answer["usage"]["completion_tokens"] >= 1
