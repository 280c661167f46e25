"""Faults around a model that real vLLM serves: who leaves, who is refused, what hangs."""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager
from uuid import UUID

import httpx
import pytest

from backend.application.commands import CommandContext
from backend.gateway.metering import CLIENT_LEFT
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.load import Clients
from tests.serving.real_engines import START_SECONDS
from tests.usage.records import on_topic
from workers.serving.engine import Load
from workers.serving.engines.vllm import Vllm

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

PROMPT = "ultramarine"
TOKENS = 400
LONG = {"model": "tiny", "prompt": PROMPT, "max_tokens": TOKENS, "ignore_eos": True, "stream": True}


def test_one_who_leaves_one_who_is_refused_and_an_engine_that_hangs(
    real_gallery: Gallery, real_worker: Worker, llama: UUID
) -> None:
    gallery, worker = real_gallery, real_worker
    gallery.deploy(llama, {"max_model_len": "512"}, hardware={"memory_gib": 2.5})
    gallery.await_state(llama, "deployed", seconds=START_SECONDS)
    url, key = worker.start_gateway(), gallery.key(llama)

    assert_the_work_of_one_who_leaves_ends(gallery, llama, url, key)
    lost = assert_a_revoked_key_is_refused_and_its_stream_goes_on(gallery, llama, url, key)
    assert_an_engine_that_hangs_is_replaced(gallery, llama, url, key)

    told = worker.log.read_text()
    engines = gallery.settings.data / "engines"
    told += "".join(path.read_text(errors="replace") for path in engines.glob("*/log*"))
    assert "vLLM" in told
    for private in (PROMPT, key, lost):
        assert private not in told


def assert_the_work_of_one_who_leaves_ends(
    gallery: Gallery, model_id: UUID, url: str, key: str
) -> None:
    with stream(url, key) as leaving:
        next(leaving.iter_lines())
    with httpx.Client(trust_env=False) as client:
        endpoint = gallery.endpoint(model_id)
        eventually(
            lambda: Vllm().load(client, endpoint) == Load(0, 0), "the engine is idle", seconds=1
        )
    (record,) = eventually(lambda: on_topic(gallery.settings), "the usage is told")
    assert (record.status, record.estimated) == (CLIENT_LEFT, True)
    assert 0 < record.output_tokens < TOKENS


def assert_a_revoked_key_is_refused_and_its_stream_goes_on(
    gallery: Gallery, model_id: UUID, url: str, key: str
) -> str:
    made = gallery.keys.create(CommandContext(ADA), model_id, name="lost")
    lost = str(made.secret)
    with Clients(url, key) as others, stream(url, lost) as running:
        others.be(2)
        lines = running.iter_lines()
        next(lines)
        gallery.keys.revoke(CommandContext(ADA), model_id, made.id)
        refused = {"Authorization": f"Bearer {lost}"}
        eventually(
            lambda: httpx.get(f"{url}/models", headers=refused, trust_env=False).status_code == 401,
            "the key is refused",
            seconds=1,
        )
        assert [line for line in lines if line][-1] == "data: [DONE]"
        others.wait_for_more()
    assert others.failures == []
    return lost


def assert_an_engine_that_hangs_is_replaced(
    gallery: Gallery, model_id: UUID, url: str, key: str
) -> None:
    with stream(url, key) as cut:
        lines = cut.iter_lines()
        next(lines)
        os.killpg(gallery.engines()[0].pid, signal.SIGSTOP)
        last = [line for line in lines if line][-1]
    assert last.startswith('data: {"error":'), "an error event, not silence"
    gallery.await_recorded(model_id, "ReplicaReady", 2, seconds=START_SECONDS)
    (gone,) = gallery.recorded(model_id, "ReplicaLost")
    assert "has not responded" in gone["reason"]
    with stream(url, key) as again:
        assert [line for line in again.iter_lines() if line][-1] == "data: [DONE]"


def stream(url: str, key: str) -> AbstractContextManager[httpx.Response]:
    """A long answer, piece by piece."""
    return httpx.stream(
        "POST",
        f"{url}/completions",
        json=LONG,
        headers={"Authorization": f"Bearer {key}"},
        timeout=120,
        trust_env=False,
    )
