"""Models on Ollama under the real worker; the server is a fake that checks what it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from backend.application.commands import CommandContext
from tests.rig.waiting import eventually
from tests.serving.conftest import ADA, Gallery, Worker
from tests.serving.fake_ollama import TOKEN, FakeOllama, fake_ollama

WEIGHTS = b"GGUF and some weights"
CARD = {"format": "gguf", "architecture": "LlamaForCausalLM"}
MODELFILE = """FROM ./tiny.gguf
PARAMETER num_ctx 2048
PARAMETER stop "<end>"
PARAMETER stop "<user>"
SYSTEM Be brief.
"""
TEMPLATE = '''TEMPLATE """{{ .System }} {{ .Prompt }}"""
PARAMETER temperature 0.5
'''


@pytest.fixture
def ollama() -> Iterator[FakeOllama]:
    with fake_ollama() as server:
        yield server


@pytest.fixture
def ollama_worker(worker: Worker, ollama: FakeOllama) -> Worker:
    worker.environment["LOGGIA_OLLAMA_URL"] = ollama.url
    worker.environment["LOGGIA_OLLAMA_TOKEN"] = TOKEN
    return worker


def deploy(gallery: Gallery, model_id: UUID, **arguments: str) -> None:
    gallery.deploy(model_id, arguments, engine="ollama")


def the_model(ollama: FakeOllama) -> dict[str, Any]:
    (made,) = ollama.models.values()
    return made


def test_a_gguf_file_is_sent_once_made_and_answers_under_its_own_name(
    gallery: Gallery, ollama_worker: Worker, ollama: FakeOllama
) -> None:
    model_id = gallery.import_model({"tiny.gguf": WEIGHTS}, card=CARD)
    ollama_worker.start()
    deploy(gallery, model_id, num_ctx="1024")
    gallery.await_state(model_id, "deployed")
    digest = f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"
    made = the_model(ollama)
    assert made["files"] == {"tiny.gguf": digest}
    assert made["parameters"] == {"num_ctx": 1024}
    assert gallery.recorded(model_id, "ReplicaStarted")[0]["engine_version"] == "0.12.3"
    answer = gallery.ask(gallery.endpoint(model_id))
    assert answer["model"] == "tiny"
    assert ollama.asked[-1]["model"] == made["model"]

    deploy(gallery, model_id, num_ctx="512")
    gallery.await_recorded(model_id, "RevisionRetired")
    assert ollama.uploads == [digest]
    assert ollama.removed == [made["model"]]
    assert the_model(ollama)["parameters"] == {"num_ctx": 512}
    gallery.stop(model_id)
    gallery.await_state(model_id, "stopped")
    assert ollama.models == {}


def test_a_deployment_template_becomes_the_modelfile(
    gallery: Gallery, ollama_worker: Worker, ollama: FakeOllama
) -> None:
    files = {"tiny.gguf": WEIGHTS, "Modelfile": MODELFILE.encode()}
    model_id = gallery.import_model(files, card={**CARD, "format": "ollama"})
    gallery.models.update_template(CommandContext(ADA), model_id, template=TEMPLATE)
    ollama_worker.start()
    deploy(gallery, model_id)
    gallery.await_state(model_id, "deployed")
    made = the_model(ollama)
    assert made["template"] == "{{ .System }} {{ .Prompt }}"
    assert made["system"] == "Be brief."
    assert made["parameters"] == {
        "num_ctx": 2048,
        "stop": ["<end>", "<user>"],
        "temperature": 0.5,
    }


def test_a_template_may_name_a_model_of_the_library(
    gallery: Gallery, ollama_worker: Worker, ollama: FakeOllama
) -> None:
    model_id = gallery.import_model({"README.md": b"see FROM"}, card=CARD)
    gallery.models.update_template(CommandContext(ADA), model_id, template="FROM llama3.2")
    ollama_worker.start()
    deploy(gallery, model_id)
    gallery.await_state(model_id, "deployed")
    assert ollama.pulled == {"llama3.2"}
    assert the_model(ollama)["from"] == "llama3.2"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("FROM ../../etc/passwd", "not among the model's files"),
        ("FROM ./other.gguf", "not among the model's files"),
        ("FROM nothing-like-it", "pull model manifest"),
        ("", "names no source"),
    ],
)
def test_a_template_that_leads_nowhere_fails_with_its_reason(
    gallery: Gallery, ollama_worker: Worker, template: str, said: str
) -> None:
    model_id = gallery.import_model({"README.md": b"nothing"}, card=CARD)
    if template:
        gallery.models.update_template(CommandContext(ADA), model_id, template=template)
    ollama_worker.start()
    deploy(gallery, model_id)
    gallery.await_state(model_id, "failed")
    (failed,) = gallery.recorded(model_id, "RevisionFailed")
    assert said in failed["reason"]
    assert failed["remedy"]


def test_what_the_server_refuses_is_told_in_its_words_without_its_token(
    gallery: Gallery, ollama_worker: Worker, ollama: FakeOllama
) -> None:
    ollama.says_no = "unsupported architecture 'martian'"
    model_id = gallery.import_model({"tiny.gguf": WEIGHTS}, card=CARD)
    ollama_worker.start()
    deploy(gallery, model_id)
    gallery.await_state(model_id, "failed")
    (failed,) = gallery.recorded(model_id, "RevisionFailed")
    assert "unsupported architecture 'martian'" in failed["reason"]
    assert TOKEN not in str(gallery.events(model_id))
    assert TOKEN not in ollama_worker.log.read_text()


def test_a_killed_front_is_replaced_and_what_it_left_is_taken_away(
    gallery: Gallery, ollama_worker: Worker, ollama: FakeOllama
) -> None:
    model_id = gallery.import_model({"tiny.gguf": WEIGHTS}, card=CARD)
    ollama_worker.start()
    deploy(gallery, model_id)
    gallery.await_state(model_id, "deployed")
    left = the_model(ollama)["model"]
    (front,) = gallery.engines()
    front.kill()
    gallery.await_recorded(model_id, "ReplicaReady", 2)
    assert left in ollama.removed
    assert the_model(ollama)["model"] != left
    assert gallery.ask(gallery.endpoint(model_id))["choices"]


def test_a_silent_server_fails_the_revision_with_what_to_do(
    gallery: Gallery, ollama_worker: Worker
) -> None:
    ollama_worker.environment["LOGGIA_OLLAMA_URL"] = "http://127.0.0.1:9"
    model_id = gallery.import_model({"tiny.gguf": WEIGHTS}, card=CARD)
    ollama_worker.start()
    deploy(gallery, model_id)
    gallery.await_state(model_id, "failed")
    (failed,) = gallery.recorded(model_id, "RevisionFailed")
    assert "does not answer" in failed["reason"]
    assert "LOGGIA_OLLAMA_URL" in failed["remedy"]


def test_a_stream_passes_and_ends_on_the_server_when_the_client_leaves(
    gallery: Gallery, ollama_worker: Worker, ollama: FakeOllama
) -> None:
    model_id = gallery.import_model({"tiny.gguf": WEIGHTS}, card=CARD)
    ollama_worker.start()
    deploy(gallery, model_id)
    gallery.await_state(model_id, "deployed")
    endpoint = gallery.endpoint(model_id)
    body = {"model": "tiny", "prompt": "Hello", "max_tokens": 3, "stream": True}
    answer = httpx.post(f"{endpoint}/v1/completions", json=body, trust_env=False)
    assert answer.text.count('"model": "tiny"') == 3
    assert answer.text.endswith("data: [DONE]\n\n")
    with httpx.stream(
        "POST",
        f"{endpoint}/v1/completions",
        json={**body, "max_tokens": 1000},
        trust_env=False,
    ) as stream:
        lines = stream.iter_lines()
        next(lines)
        loads = httpx.get(f"{endpoint}/load", trust_env=False).json()
        assert loads["running"] == 1
    assert ollama.cancelled.wait(10)

    def idle() -> bool:
        loads = httpx.get(f"{endpoint}/load", trust_env=False).json()
        return bool(loads["running"] == 0)

    eventually(idle, "the front has let go")
