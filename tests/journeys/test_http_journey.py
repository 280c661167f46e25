"""The main job over HTTP on real parts: import, deploy on vLLM, talk, redeploy, publish, withdraw.

The consumer printed in `docs/integrating.md` listens all the while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.journeys.archives import tiny_llama_archive
from tests.journeys.deploying import CONFIGURATION
from tests.rig.client import Administrator
from tests.rig.integrator import DocumentedConsumer
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.journey, pytest.mark.engine, pytest.mark.timeout(900)]


class Talker:
    """Asks again and again, and counts answers and failures."""

    def __init__(self, client: openai.OpenAI, model: str) -> None:
        self._client, self._model = client, model
        self._stop = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Talker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                say_hello(self._client, self._model)
                self.answers += 1
            except openai.OpenAIError as error:
                self.failures.append(f"{time.time()}: {error}")
            self._stop.wait(0.05)


def say_hello(client: openai.OpenAI, model: str) -> str:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hello"}]
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= 1
    return answer.choices[0].message.content or ""


def is_refused(client: openai.OpenAI) -> bool:
    try:
        client.models.list()
    except openai.AuthenticationError:
        return True
    return False


@pytest.fixture
def integrator(tmp_path: Path, platform_up: RunningPlatform) -> Iterator[DocumentedConsumer]:
    consumer = DocumentedConsumer(tmp_path, platform_up.bootstrap_servers)
    yield consumer
    consumer.close()


def test_from_an_archive_to_a_withdrawn_model(
    platform_up: RunningPlatform, integrator: DocumentedConsumer
) -> None:
    admin = Administrator.of(platform_up)

    model_id = admin.import_archive("tiny-llama.zip", tiny_llama_archive())
    model = admin.wait_for_model(model_id, "ready_to_deploy", "import_failed")
    assert model["state"] == "ready_to_deploy", model["failure"]
    assert model["card"]["architecture"] == "LlamaForCausalLM"
    assert {check["outcome"] for check in model["report"]["checks"]} <= {"pass", "warn"}

    admin.deploy(model_id, CONFIGURATION)
    deployment = admin.wait_for_deployment(model_id, "deployed", "failed", seconds=600)
    assert deployment["state"] == "deployed", deployment["failure"]

    key = admin.command("POST", f"/api/models/{model_id}/api-keys", {"name": "journey"})
    client = openai.OpenAI(
        base_url=f"{platform_up.gateway_url}/v1", api_key=key["secret"], max_retries=0
    )
    assert [m.id for m in client.models.list()] == ["tiny-llama"]
    first = say_hello(client, "tiny-llama")
    assert first == say_hello(client, "tiny-llama"), "temperature 0 of the deployment holds"
    stream = client.chat.completions.create(
        model="tiny-llama", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    text = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert text == first

    changed = {**CONFIGURATION, "parameters": {"temperature": 0.0, "maxTokens": 3}}
    with Talker(client, "tiny-llama") as talker:
        admin.deploy(model_id, changed, reason="shorter answers")
        deployment = admin.wait_for_deployment(model_id, "deployed", "failed", seconds=600)
        time.sleep(2)
    assert deployment["servingRevision"] == 2, deployment["failure"]
    assert talker.failures == []
    assert talker.answers > 10
    short = client.chat.completions.create(
        model="tiny-llama", messages=[{"role": "user", "content": "hello"}]
    )
    assert short.usage is not None
    assert short.usage.completion_tokens <= 3

    admin.command("PUT", f"/api/models/{model_id}/publication", {"state": "published"})
    listed = admin.get("/api/marketplace")["items"]
    assert [m["modelId"] for m in listed] == [model_id]
    admin.command("PUT", f"/api/models/{model_id}/publication", {"state": "withdrawn"})
    assert admin.get("/api/marketplace")["items"] == []
    assert say_hello(client, "tiny-llama"), "withdrawing only hides"

    admin.command("DELETE", f"/api/models/{model_id}/api-keys/{key['id']}")
    eventually(lambda: is_refused(client), "the revoked key is refused", seconds=2)

    history = admin.get(f"/api/models/{model_id}/deployment/history")["items"]
    assert [(h["revision"], h["trigger"], h["outcome"]) for h in history] == [
        (2, "redeploy", "deployed"),
        (1, "deploy", "deployed"),
    ]
    assert [change["field"] for change in history[0]["changes"]] == ["parameters.maxTokens"]

    integrator.wait_for(model_id, "ApiKeyRevoked")
    integrator.wait_for(model_id, "RevisionRetired", seconds=90)
    heard = integrator.events_of(model_id)
    admin.position = max(event.position for event in heard)
    told = sorted(admin.events(modelId=model_id), key=lambda event: event["position"])
    assert [(e.position, e.type, e.actor) for e in heard] == [
        (e["position"], e["type"], e["actor"]) for e in told
    ]
    types = [event.type for event in heard]
    in_order = [
        "ModelImportRequested",
        "ModelArchiveReceived",
        "ModelFilesStored",
        "ModelValidated",
        "TermsAccepted",
        "DeploymentRequested",
        "RevisionPrepared",
        "ReplicaStarted",
        "ReplicaReady",
        "RevisionDeployed",
        "ApiKeyCreated",
        "ModelPublished",
        "ModelWithdrawn",
        "ApiKeyRevoked",
    ]
    assert [t for t in dict.fromkeys(types) if t in in_order] == in_order
