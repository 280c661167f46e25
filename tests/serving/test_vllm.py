"""Real vLLM under the real roles, in the environment that the user's cache keeps."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from backend.domain.configuration import Hardware
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from tests.builders.models import tiny_llama
from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery, Worker
from workers.serving.engines.vllm import Vllm
from workers.serving.environments import EngineEnvironments

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

# The first run on a machine installs the engine; later ones start it within half a minute.
START_SECONDS = 240


@pytest.fixture
def real_settings(settings: Settings) -> Settings:
    cache = Path(os.environ.get("LOGGIA_CACHE_DIR", "~/.cache/loggia")).expanduser()
    return settings.model_copy(
        update={
            "cache_dir": cache,
            "engine_pip_arguments": os.environ.get("LOGGIA_ENGINE_PIP_ARGUMENTS", ""),
        }
    )


@pytest.fixture
def real_gallery(real_settings: Settings, pool: Pool) -> Iterator[Gallery]:
    gallery = Gallery(real_settings, pool)
    yield gallery
    gallery.close()


@pytest.fixture
def real_worker(real_settings: Settings, real_gallery: Gallery, tmp_path: Path) -> Iterator[Worker]:
    environments = EngineEnvironments(
        real_settings.cache, pip_arguments=real_settings.engine_pip_arguments
    )
    environments.ensure(Vllm().environment(Hardware()), print, lambda: False)
    worker = Worker(real_settings, tmp_path / "worker.log")
    worker.start_roles()
    yield worker
    worker.kill()
    print(worker.log.read_text())


@pytest.fixture
def llama(real_gallery: Gallery) -> UUID:
    return real_gallery.import_model(tiny_llama())


def sessions(gallery: Gallery) -> set[int]:
    return {record.pid for record in gallery.launcher.records()}


def living_in(session: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process)
        except OSError:
            continue
    return found


def test_a_model_is_deployed_redeployed_and_comes_back_after_a_crash(
    real_gallery: Gallery, real_worker: Worker, llama: UUID
) -> None:
    gallery = real_gallery
    gallery.deploy(llama, {"max_model_len": "256"})
    gallery.await_state(llama, "deployed", seconds=START_SECONDS)
    first = gallery.endpoint(llama)
    answer = gallery.ask(first, max_tokens=4)
    assert answer["usage"]["completion_tokens"] >= 1

    gallery.deploy(llama, {"max_model_len": "128"})
    old_sessions = sessions(gallery)

    def served() -> bool:
        gallery.ask(
            first if gallery.deployment(llama).serving_revision == 1 else gallery.endpoint(llama)
        )
        return gallery.deployment(llama).serving_revision == 2

    eventually(served, "the second revision serves", seconds=START_SECONDS, every=0.5)
    gallery.await_recorded(llama, "RevisionRetired", seconds=90)
    assert not any(living_in(session) for session in old_sessions)

    (session,) = sessions(gallery)
    os.kill(session, signal.SIGKILL)
    gallery.await_recorded(llama, "ReplicaReady", 3, seconds=START_SECONDS)
    assert living_in(session) == [], "what the killed server had started is gone too"
    assert gallery.recorded(llama, "ReplicaLost")[0]["exit_code"] == -signal.SIGKILL
    assert gallery.ask(gallery.endpoint(llama), max_tokens=2)["choices"]

    for ready in gallery.recorded(llama, "ReplicaReady"):
        print("seconds to the first token:", ready["startup_seconds"])
    (session,) = sessions(gallery)
    gallery.stop(llama)
    gallery.await_state(llama, "stopped", seconds=60)
    assert living_in(session) == []


def test_a_configuration_that_vllm_refuses_fails_with_its_words(
    real_gallery: Gallery, real_worker: Worker, llama: UUID
) -> None:
    real_gallery.deploy(llama, {"max_model_len": "100000"})
    real_gallery.await_state(llama, "failed", seconds=START_SECONDS)
    (failure,) = real_gallery.recorded(llama, "RevisionFailed")
    assert "max_model_len" in failure["reason"]
    assert failure["log_tail"]
    assert real_gallery.engines() == []
