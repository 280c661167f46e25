"""What a model allows, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain import values
from backend.domain.errors import DomainError, Invalid, NotAllowed
from backend.domain.events import Cause, caused_by
from backend.domain.model import ImportRequest, Model, ModelState

REPORT: dict[str, Any] = {"checks": []}
CARD = {"architecture": "LlamaForCausalLM"}


@pytest.fixture(autouse=True)
def cause() -> Iterator[None]:
    with caused_by(Cause("user:ada", uuid4())):
        yield


def requested(name: str = "tiny.zip") -> Model:
    return Model.request_import(ImportRequest(file_name=name, upload_id=uuid4(), size_bytes=10))


def receive(model: Model) -> None:
    assert model.latest.upload_id is not None
    model.receive_archive(model.latest.upload_id, 10)


def store_files(model: Model) -> None:
    model.record_files_stored(
        model.latest.number,
        manifest_uri="file:///m",
        manifest_sha256="0" * 64,
        file_count=1,
        total_bytes=1,
    )


def ready() -> Model:
    model = requested()
    receive(model)
    store_files(model)
    model.record_validated(model.latest.number, report=REPORT, card=CARD)
    return model


def names(model: Model) -> list[str]:
    return [type(event).TOPIC for event in model.pending_events]  # type: ignore[attr-defined]


def test_an_import_goes_from_importing_over_validating_to_ready() -> None:
    model = requested()
    states = [model.state]
    receive(model)
    store_files(model)
    states.append(model.state)
    model.record_validated(model.latest.number, report=REPORT, card=CARD)
    states.append(model.state)
    assert states == [ModelState.IMPORTING, ModelState.VALIDATING, ModelState.READY]


def test_a_model_is_named_by_its_file() -> None:
    assert requested("Qwen1.5-7B.zip").name == "Qwen1_5-7B"
    assert requested("通义千问_7B.zip").name == "通义千问_7B"


@pytest.mark.parametrize(
    ("file_name", "words"),
    [
        ("my model.zip", "contains a space"),
        ("a" * 65 + ".zip", "has 65 characters"),
        (".zip", "has 0 characters"),
        ("model.rar", "not an archive"),
        ("näme.zip", "contains 'ä'"),
    ],
)
def test_a_bad_file_name_is_refused_in_words(file_name: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refusal:
        requested(file_name)
    assert refusal.value.remedy


@given(st.text(max_size=80))
def test_every_accepted_name_keeps_the_rule(text: str) -> None:
    try:
        name = values.model_name(text)
    except Invalid:
        return
    assert 1 <= len(name) <= 64
    assert values.model_name(name) == name
    assert not any(c.isspace() or c in "./\\\0" for c in name)


def test_retry_needs_the_archive() -> None:
    model = requested()
    model.record_import_failed("0.0.1", step="upload", reason="x", remedy="again", report=None)
    with pytest.raises(NotAllowed, match="never arrived"):
        model.retry_import()


def test_a_failed_import_can_be_retried_and_cancelled_again() -> None:
    model = requested()
    receive(model)
    model.record_import_failed("0.0.1", step="extract", reason="b", remedy="mend", report=None)
    model.retry_import()
    assert model.state == "importing"
    model.cancel_import()
    assert model.state == "import_failed"


def test_repeating_a_step_writes_nothing_more() -> None:
    model = requested()
    receive(model)
    receive(model)
    store_files(model)
    store_files(model)
    assert names(model) == ["ModelImportRequested", "ModelArchiveReceived", "ModelFilesStored"]


def test_publication_says_nothing_about_the_rest() -> None:
    model = ready()
    model.publish()
    model.publish()
    model.withdraw()
    model.withdraw()
    assert names(model)[-2:] == ["ModelPublished", "ModelWithdrawn"]
    assert model.state is ModelState.READY


def test_only_a_ready_model_can_be_published() -> None:
    with pytest.raises(NotAllowed, match="while it is importing"):
        requested().publish()


def test_a_deployed_model_cannot_be_deleted() -> None:
    with pytest.raises(NotAllowed, match="has been deployed"):
        ready().delete(ever_deployed=True)


@pytest.mark.parametrize(
    "act",
    [
        Model.publish,
        Model.withdraw,
        Model.retry_import,
        Model.cancel_import,
        lambda m: m.delete(ever_deployed=False),
        lambda m: m.edit_configuration(description="", labels=[], documentation_links=[]),
    ],
)
def test_nothing_can_be_done_to_a_deleted_model(act: Callable[[Model], None]) -> None:
    model = ready()
    model.delete(ever_deployed=False)
    with pytest.raises(NotAllowed, match="deleted"):
        act(model)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("labels", ["a", "b", "c", "d", "e", "f"], "at most 5"),
        ("labels", [""], "empty"),
        ("documentation_links", ["https://a.example"] * 4, "at most 3"),
        ("documentation_links", ["javascript:alert(1)"], "not a web address"),
        ("description", "x" * 2001, "2001 characters"),
    ],
)
def test_configuration_limits(field: str, value: object, words: str) -> None:
    model = ready()
    facts = {"description": "", "labels": [], "documentation_links": [], field: value}
    with pytest.raises(Invalid, match=words):
        model.edit_configuration(**facts)  # type: ignore[arg-type]


ACTIONS: list[Callable[[Model], None]] = [
    receive,
    store_files,
    lambda m: m.record_validated(m.latest.number, report=REPORT, card=CARD),
    lambda m: m.record_import_failed(
        m.latest.number, step="x", reason="r", remedy="r", report=None
    ),
    Model.retry_import,
    Model.cancel_import,
    Model.publish,
    Model.withdraw,
    lambda m: m.delete(ever_deployed=False),
]


@given(st.lists(st.sampled_from(range(len(ACTIONS))), max_size=30))
def test_no_sequence_of_commands_publishes_an_unusable_model(choices: list[int]) -> None:
    with caused_by(Cause("user:ada", uuid4())):
        model = requested()
        for choice in choices:
            before = (model.state, model.version)
            try:
                ACTIONS[choice](model)
            except DomainError:
                assert (model.state, model.version) == before
    written = names(model)
    validated = "ModelValidated" in written
    assert "ModelPublished" not in written or validated
    assert model.state is not ModelState.READY or validated
    events = model.collect_events()
    replayed = None
    for event in events:
        replayed = event.mutate(replayed)
    assert replayed == model
