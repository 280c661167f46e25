"""Real engines under load that never pauses: no request fails while replicas and revisions change.

vLLM, and Triton with a model that CTranslate2 has converted.
"""

from __future__ import annotations

import os
import signal
from typing import Any
from uuid import UUID

import pytest

from backend.application.commands import CommandContext
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.load import Clients
from tests.serving.real_engines import living_in

pytestmark = [pytest.mark.engine, pytest.mark.timeout(3600)]

# Two engines that start side by side on a busy machine.
START_SECONDS = 480
ENGINES: dict[str, dict[str, Any]] = {
    "vllm": {"hardware": {"memory_gib": 2.5}, "engine_arguments": {"max_model_len": "128"}},
    "triton": {
        "hardware": {"memory_gib": 1},
        "engine": "triton",
        "optimization": {"method": "ctranslate2", "quantization": "int8"},
    },
}
TWO = {"min_replicas": 2, "max_replicas": 2}
FROM_ZERO = {
    "min_replicas": 0,
    "max_replicas": 2,
    "scale_up_delay_seconds": 1,
    "scale_down_delay_seconds": 4,
}


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_fails_while_replicas_and_revisions_change_and_little_where_they_are_killed(
    real_gallery: Gallery, real_worker: Worker, llama: UUID, engine: str
) -> None:
    gallery, worker, wanted = real_gallery, real_worker, ENGINES[engine]
    worker.environment["LOGGIA_GATEWAY_WAIT_SECONDS"] = str(START_SECONDS)

    def ready(count: int) -> None:
        gallery.await_recorded(llama, "ReplicaReady", count, seconds=START_SECONDS)

    gallery.deploy(llama, **wanted, scaling=TWO)
    gallery.await_state(llama, "deployed", seconds=START_SECONDS)
    url, key = worker.start_gateway(), gallery.key(llama)
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": 16, "ignore_eos": True}
    with (
        Clients(url, key, body=body) as clients,
        Clients(url, key, body=body, stream=True) as streams,
    ):
        # More of them would only take the processors from the engines that start.
        clients.be(1)
        streams.be(1)
        clients.wait_for_more()

        gallery.deploy(llama, **wanted, scaling=FROM_ZERO, parameters={"batch_size": 2})
        gallery.await_recorded(llama, "RevisionRetired", seconds=START_SECONDS)
        ready(4)

        clients.be(0)
        gallery.await_recorded(llama, "ReplicaRetired")
        clients.be(3)
        ready(5)
        clients.wait_for_more()

        streams.be(0)
        clients.be(0)
        gallery.await_recorded(llama, "ReplicaRetired", 3)
        eventually(lambda: gallery.engines() == [], "nothing runs", seconds=90)
        streams.be(1)
        streams.wait_for_more(seconds=START_SECONDS)

        gallery.deployments.roll_back(CommandContext(ADA), llama, revision=1, reason="steady load")
        gallery.await_recorded(llama, "RevisionRetired", 2, seconds=START_SECONDS)
        clients.be(1)
        clients.wait_for_more()
        assert clients.failures == []
        assert streams.failures == []
        scaled = [facts["to_replicas"] for facts in gallery.recorded(llama, "DeploymentScaled")]
        # On the way to zero one may be left for a moment.
        assert scaled in ([1, 2, 0, 1], [1, 2, 1, 0, 1])

        killed: list[int] = []

        def kill_engine() -> None:
            killed.append(gallery.engines()[0].pid)
            os.kill(killed[-1], signal.SIGKILL)

        def kill_worker() -> None:
            assert worker.process is not None
            worker.process.kill()
            worker.await_death()

        kill_engine()
        ready(9)
        kill_worker()
        clients.wait_for_more()
        kill_engine()
        clients.wait_for_more()
        worker.start_real()
        ready(10)
        clients.wait_for_more()
    assert clients.failures == [], "another replica answers what had no answer yet"
    assert set(streams.failures) <= {"cut short"}
    assert len(streams.failures) <= 2, "one stream for each dead engine"
    lost = gallery.recorded(llama, "ReplicaLost")
    assert len(lost) == 2
    assert lost[0]["exit_code"] == -signal.SIGKILL
    assert not any(map(living_in, killed)), "what a killed engine had started is gone too"
