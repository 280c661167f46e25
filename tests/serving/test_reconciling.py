"""Desired and observed, on real processes: the engine double under the real worker."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psutil

from backend.application.commands import CommandContext
from backend.application.feed import EventFeed
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from workers.serving.launchers.local import memory_gib


def test_deploy_serves_and_stop_leaves_nothing(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"label": "one"})
    gallery.await_state(model_id, "deployed")
    answer = gallery.ask(gallery.endpoint(model_id))
    assert answer["choices"][0]["text"] == "revision one"
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    assert [name for name, _ in gallery.events(model_id)] == [
        "TermsAccepted",
        "DeploymentRequested",
        "RevisionPrepared",
        "ReplicaStarted",
        "ReplicaReady",
        "RevisionDeployed",
        "DeploymentStopRequested",
        "DeploymentStopped",
    ]
    assert gallery.engines() == []
    files = gallery.settings.data / "engines" / "files"
    eventually(lambda: not list(files.iterdir()), "unused model files are removed")


def test_what_the_worker_records_names_its_cause(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    events = {e.type: e for e in EventFeed(gallery.store, gallery.settings.dsn).read(0, 1000)}
    request, deployed = events["DeploymentRequested"], events["RevisionDeployed"]
    assert deployed.actor == "worker:deploy"
    assert deployed.correlation_id == request.correlation_id
    assert deployed.causation_id == request.event_id


def test_redeploy_never_leaves_a_gap_and_lets_requests_finish(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"label": "one"})
    gallery.await_state(model_id, "deployed")
    old = gallery.endpoint(model_id)
    answers: list[object] = []
    slow = threading.Thread(target=lambda: answers.append(gallery.ask(old, max_tokens=40)))
    slow.start()
    gallery.deploy(model_id, {"label": "two", "load_seconds": "1"})

    def asked() -> bool:
        # What the gateway would do: the replica of the revision that serves.
        serving = gallery.deployment(model_id).serving_revision
        ready = [r for r in gallery.recorded(model_id, "ReplicaReady") if r["revision"] == serving]
        gallery.ask(str(ready[-1]["endpoint"]))
        return serving == 2

    eventually(asked, "the second revision serves")
    assert slow.is_alive(), "the old engine still works on its request"
    slow.join()
    assert answers, "the request on the old engine was answered"
    gallery.await_recorded(model_id, "RevisionRetired")
    assert [r["replaced_revision"] for r in gallery.recorded(model_id, "RevisionDeployed")] == [
        None,
        1,
    ]
    assert len(gallery.engines()) == 1


def test_a_revision_that_dies_while_loading_leaves_the_old_one_serving(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"label": "one"})
    gallery.await_state(model_id, "deployed")
    gallery.deploy(model_id, {"mode": "die-at-load"})
    gallery.await_state(model_id, "failed")
    failure = gallery.recorded(model_id, "RevisionFailed")[0]
    assert failure["serving_revision"] == 1
    assert "told to die while it loads" in "\n".join(failure["log_tail"])
    assert failure["reason"]
    assert failure["remedy"]
    assert gallery.recorded(model_id, "ReplicaLost")[0]["exit_code"] == 3
    assert gallery.ask(gallery.endpoint(model_id))["choices"][0]["text"] == "revision one"
    assert len(gallery.engines()) == 1


def test_an_engine_that_dies_at_its_health_check_fails_with_its_last_words(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"mode": "die-at-health"})
    gallery.await_state(model_id, "failed")
    assert gallery.recorded(model_id, "ReplicaLost")[0]["exit_code"] == 5
    failure = gallery.recorded(model_id, "RevisionFailed")[0]
    assert "told to die at its health check" in "\n".join(failure["log_tail"])
    assert gallery.engines() == []


def test_an_engine_that_is_never_healthy_fails_in_bounded_time(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"mode": "never-healthy"})
    gallery.await_state(model_id, "failed")
    assert "did not answer" in gallery.recorded(model_id, "RevisionFailed")[0]["reason"]
    assert gallery.engines() == []


def test_an_engine_that_hangs_at_its_start_fails_in_bounded_time(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"mode": "hang"})
    gallery.await_state(model_id, "failed")
    assert gallery.engines() == []


def test_an_engine_argument_it_does_not_know_fails_with_its_name(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"mod": "ok"})
    gallery.await_state(model_id, "failed")
    failure = gallery.recorded(model_id, "RevisionFailed")[0]
    assert "engine_arguments.mod" in failure["reason"]
    assert "mode" in failure["remedy"]


def test_a_crashed_engine_comes_back_at_a_new_endpoint(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    first = gallery.endpoint(model_id)
    with contextlib.suppress(httpx.HTTPError):
        httpx.get(f"{first}/die", timeout=5, trust_env=False)
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    lost = gallery.recorded(model_id, "ReplicaLost")[0]
    assert lost["exit_code"] == 7
    assert "told to die" in "\n".join(lost["log_tail"])
    gallery.ask(gallery.endpoint(model_id))
    assert gallery.deployment(model_id).state == "deployed"
    assert len(gallery.recorded(model_id, "RevisionDeployed")) == 1


def test_an_engine_that_stops_responding_is_replaced(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    httpx.get(f"{gallery.endpoint(model_id)}/hang", timeout=5, trust_env=False)
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    gallery.ask(gallery.endpoint(model_id))
    assert len(gallery.engines()) == 1


def test_an_engine_that_keeps_crashing_fails_its_revision(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    for count in range(1, 4):
        gallery.await_recorded(model_id, "ReplicaReady", count)
        for engine in gallery.engines():
            engine.kill()
        gallery.await_recorded(model_id, "ReplicaLost", count)
    gallery.await_state(model_id, "failed")
    assert "3 times" in gallery.recorded(model_id, "RevisionFailed")[0]["reason"]
    assert gallery.engines() == []


def test_a_newer_request_supersedes_one_under_way(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"mode": "never-healthy"})
    gallery.await_recorded(model_id, "ReplicaStarted")
    gallery.deploy(model_id, {"label": "two"})
    gallery.await_state(model_id, "deployed")
    gallery.await_recorded(model_id, "RevisionRetired")
    assert [r["revision"] for r in gallery.recorded(model_id, "RevisionDeployed")] == [2]
    assert gallery.recorded(model_id, "RevisionFailed") == []
    assert len(gallery.engines()) == 1


def test_stop_lets_running_requests_finish(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    answers: list[object] = []
    endpoint = gallery.endpoint(model_id)
    slow = threading.Thread(target=lambda: answers.append(gallery.ask(endpoint, max_tokens=20)))
    slow.start()
    eventually(
        lambda: httpx.get(f"{endpoint}/metrics", trust_env=False).json()["running"] == 1,
        "the request is running",
    )
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    slow.join()
    assert answers


def test_a_stop_during_the_deployment_ends_it(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, {"mode": "never-healthy"})
    gallery.await_recorded(model_id, "ReplicaStarted")
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    assert gallery.engines() == []
    assert gallery.recorded(model_id, "RevisionRetired") == []


def test_several_replicas_switch_together(gallery: Gallery, worker: Worker, model_id: UUID) -> None:
    worker.start()
    gallery.deploy(model_id, scaling={"min_replicas": 2, "max_replicas": 2})
    gallery.await_state(model_id, "deployed")
    names = [name for name, _ in gallery.events(model_id)]
    assert names.count("ReplicaReady") == 2
    assert names.index("RevisionDeployed") > max(
        i for i, name in enumerate(names) if name == "ReplicaReady"
    )
    assert len({r["endpoint"] for r in gallery.recorded(model_id, "ReplicaReady")}) == 2


def test_a_stopped_platform_takes_its_engines_along_and_serves_again_later(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start(supervised=True)
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    assert worker.terminate() == 0
    assert gallery.engines() == []
    assert len(gallery.recorded(model_id, "ReplicaLost")) == 1
    worker.start(supervised=True)
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    gallery.ask(gallery.endpoint(model_id))
    assert gallery.deployment(model_id).state == "deployed"
    assert len(gallery.recorded(model_id, "RevisionDeployed")) == 1


def test_a_worker_replaced_in_good_order_leaves_its_engines_to_the_next(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    (engine,) = gallery.engines()
    assert worker.terminate() == 0
    gallery.ask(gallery.endpoint(model_id))
    worker.start()
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    assert not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE
    assert gallery.recorded(model_id, "ReplicaLost") == []


def test_an_engine_that_died_while_no_worker_watched_is_started_again(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    worker.kill()
    for engine in gallery.engines():
        engine.kill()
    time.sleep(0.1)
    worker.start()
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    assert len(gallery.recorded(model_id, "ReplicaLost")) == 1
    gallery.ask(gallery.endpoint(model_id))


def lose_files(gallery: Gallery) -> tuple[Path, bytes]:
    """Takes away every model's files as engines get them, and the list that they are made from."""
    shutil.rmtree(gallery.settings.data / "engines" / "files")
    (manifest,) = Path(urlsplit(gallery.settings.object_store).path, "manifests").iterdir()
    content = manifest.read_bytes()
    manifest.unlink()
    return manifest, content


def test_a_revision_that_cannot_be_prepared_again_serves_on_and_is_watched(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    worker.kill()
    manifest, content = lose_files(gallery)
    worker.start()
    eventually(lambda: "could not be prepared" in worker.log.read_text(), "it was tried")
    gallery.ask(gallery.endpoint(model_id))
    httpx.get(f"{gallery.endpoint(model_id)}/hang", timeout=5, trust_env=False)
    gallery.await_recorded(model_id, "ReplicaLost")
    assert gallery.recorded(model_id, "RevisionFailed") == []
    manifest.write_bytes(content)
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    gallery.ask(gallery.endpoint(model_id))


def test_a_revision_that_cannot_be_prepared_again_is_replaced_by_a_redeploy(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    worker.kill()
    lose_files(gallery)
    worker.start()
    gallery.import_version(model_id, "0.0.2", {"config.json": b"{}", "model.safetensors": b"more"})
    gallery.deploy(model_id)
    gallery.await_recorded(model_id, "RevisionRetired")
    assert gallery.deployment(model_id).serving_revision == 2
    assert gallery.recorded(model_id, "RevisionFailed") == []


def test_a_redeploy_away_from_what_is_out_of_reach_is_done_and_the_rest_later(
    gallery: Gallery, worker: Worker, model_id: UUID, tmp_path: Path
) -> None:
    silent = tmp_path / "silent"
    worker.start(silent=silent)
    gallery.deploy(model_id, {"label": "one"})
    gallery.await_state(model_id, "deployed")
    silent.write_text(gallery.recorded(model_id, "ReplicaReady")[0]["replica_id"])
    gallery.deploy(model_id, {"label": "two"})
    gallery.await_recorded(model_id, "RevisionDeployed", 2)
    assert gallery.recorded(model_id, "RevisionRetired") == []
    assert len(gallery.engines()) == 2
    silent.unlink()
    gallery.await_recorded(model_id, "RevisionRetired")
    assert len(gallery.engines()) == 1


def test_a_revision_serves_the_version_that_was_current_and_a_rollback_brings_it_back(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id)
    gallery.await_state(model_id, "deployed")
    gallery.import_version(model_id, "0.0.2", {"config.json": b"{}", "model.safetensors": b"more"})
    # A new version disturbs nobody: what runs goes on with its own files.
    assert gallery.served_files(model_id)["model.safetensors"] == b"weights"
    gallery.deploy(model_id)
    gallery.await_recorded(model_id, "RevisionDeployed", 2)
    assert gallery.served_files(model_id)["model.safetensors"] == b"more"
    gallery.deployments.roll_back(CommandContext(ADA), model_id, revision=1, reason="worse")
    gallery.await_recorded(model_id, "RevisionDeployed", 3)
    assert gallery.served_files(model_id)["model.safetensors"] == b"weights"
    requested = gallery.recorded(model_id, "DeploymentRequested")
    assert [facts["model_version"] for facts in requested] == ["0.0.1", "0.0.2", "0.0.1"]


def test_what_will_never_fit_fails_with_how_much_is_missing(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    worker.start()
    gallery.deploy(model_id, hardware={"memory_gib": 4000})
    gallery.await_state(model_id, "failed")
    (failed,) = gallery.recorded(model_id, "RevisionFailed")
    assert re.search(r"wants 4000 GiB of memory.* GiB are missing", failed["reason"])
    assert "hardware.memoryGib" in failed["remedy"]


def test_a_replica_waits_for_memory_that_another_was_promised(
    gallery: Gallery, worker: Worker, model_id: UUID
) -> None:
    most = memory_gib()
    worker.start()
    gallery.deploy(model_id, hardware={"memory_gib": round(most * 0.7, 1)})
    gallery.await_state(model_id, "deployed")
    other = gallery.import_model({"config.json": b"{}", "model.safetensors": b"more"}, "other")
    gallery.deploy(other, hardware={"memory_gib": round(most * 0.6, 1)})
    time.sleep(1)
    assert gallery.recorded(other, "ReplicaStarted") == []
    gallery.stop(model_id)
    gallery.await_state(other, "deployed")
