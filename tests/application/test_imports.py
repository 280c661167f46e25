"""Imports from every source: names, versions, batches, and a rehearsal that writes nothing."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.application.batches import Batches
from backend.application.commands import CommandContext, CommandRunner
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.errors import Invalid, NameTaken, NotAllowed, NotFound
from backend.domain.model import AcceptedRisks, ImportRequest, Model, ModelState
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from backend.readmodels.batches import existing
from tests.application.conftest import Importer

ADA = CommandContext(actor="user:ada")


def path(name: str | None = "m", **more: Any) -> ImportRequest:
    origin = {"path": {"path": f"/models/{name}", "mode": "copy"}}
    return ImportRequest(source="path", origin=origin, name=name, **more)


def written(store: EventStore) -> list[str]:
    return [n.topic for n in store.recorder.select_notifications(start=1, limit=10_000)]


def fail(models: Models, model_id: Any, version: str = "0.0.1") -> None:
    models.record_import_failed(ADA, model_id, version, step="fetch", reason="r", remedy="m")


def finish(models: Models, model_id: Any, version: str = "0.0.1") -> None:
    models.record_files_stored(
        ADA,
        model_id,
        version,
        manifest_uri="file:///m",
        manifest_sha256="0" * 64,
        file_count=1,
        total_bytes=1,
        fence=lambda _: None,
    )
    models.record_validated(
        ADA, model_id, version, report={"checks": []}, card={}, fence=lambda _: None
    )


def test_names_and_technical_names_are_unique_together(models: Models) -> None:
    models.request_import(ADA, path("Qwen", technical_name="q7"))
    for request, field in [
        (path("qwen"), "name"),
        (path("Q7"), "name"),
        (path("other", technical_name="QWEN"), "technicalName"),
        (path("other", technical_name="q7"), "technicalName"),
    ]:
        with pytest.raises(NameTaken) as refusal:
            models.request_import(ADA, request)
        assert refusal.value.field == field
    assert models.request_import(ADA, path("other")).result == {"name": "other", "version": "0.0.1"}


def test_deleting_a_model_frees_both_names(models: Models) -> None:
    first = models.request_import(ADA, path("Qwen", technical_name="q7"))
    models.delete(ADA, first.id)
    models.request_import(ADA, path("q7", technical_name="Qwen"))


def test_a_rehearsal_says_what_would_be_written_and_writes_nothing(
    models: Models, store: EventStore
) -> None:
    accepted = AcceptedRisks(("custom_code",), "ours")
    events = models.rehearse(ADA, path(accepted_risks=accepted))
    assert [event["type"] for event in events] == ["ModelImportRequested", "ModelRiskAccepted"]
    assert events[0]["data"]["origin"] == {
        "path": {"path": "/models/m", "mode": "copy", "template": None}
    }
    assert events[1]["data"]["reason"] == "ours"
    assert written(store) == []
    model_id = models.request_import(ADA, path()).id
    with pytest.raises(NameTaken):
        models.rehearse(ADA, path())
    finish(models, model_id)
    before = written(store)
    (event,) = models.rehearse(ADA, path(), model_id)
    assert (event["type"], event["data"]["version"]) == ("ModelVersionRequested", "0.0.2")
    assert written(store) == before


def test_a_new_version_from_an_upload_claims_it(
    models: Models, importer: Importer, store: EventStore
) -> None:
    model_id = models.request_import(ADA, path()).id
    finish(models, model_id)
    upload_id = importer.upload("other-name.zip")
    request = ImportRequest(file_name="other-name.zip", upload_id=upload_id, size_bytes=10)
    answer = models.request_version(ADA, model_id, request, complete=True)
    assert answer.result == {"name": "m", "version": "0.0.2"}
    upload = importer.uploads.get(upload_id)
    assert upload is not None
    assert (upload.model_id, upload.model_version) == (model_id, "0.0.2")
    assert store.load(Model, model_id).latest.archive_received
    with pytest.raises(NotFound, match="belongs to another model"):
        models.request_import(
            ADA, ImportRequest(file_name="x.zip", upload_id=upload_id, size_bytes=10)
        )


def test_an_adapter_finds_its_base_model(models: Models, store: EventStore) -> None:
    base = models.request_import(ADA, path("base")).id
    wanted = path("adapter", kind="adapter", base_model_id=base)
    with pytest.raises(NotAllowed, match="while it is importing"):
        models.request_import(ADA, wanted)
    finish(models, base)
    adapter = models.request_import(ADA, wanted).id
    finish(models, adapter)
    # A further version has the same base model unless another one is named.
    models.request_version(ADA, adapter, path(kind="adapter"))
    assert store.load(Model, adapter).latest.base_model_id == base
    with pytest.raises(NotFound):
        models.request_import(ADA, path("lost", kind="adapter", base_model_id=uuid4()))


def batch(batches: Batches, *names: str, context: CommandContext = ADA) -> Any:
    return batches.request(
        context,
        address="https://example.org/models.json",
        format="json",
        manifest_uri="file:///manifests/b.json",
        manifest_sha256="b" * 64,
        requests=[path(name) for name in names],
    )


def test_a_batch_is_written_at_once_and_holds_together(
    runner: CommandRunner, store: EventStore, settings: Settings
) -> None:
    keyed = CommandContext(actor="user:ada", idempotency_key="b", fingerprint="b")
    answer = batch(Batches(runner), "one", "two", "three", context=keyed)
    assert [row["name"] for row in answer.result["models"]] == ["one", "two", "three"]
    events = EventFeed(store, settings.dsn).read(0, 100)
    assert [event.type for event in events] == ["ModelImportRequested"] * 3 + [
        "ImportBatchRequested"
    ]
    assert {event.correlation_id for event in events} == {str(answer.id)}
    assert answer.position == 4
    assert events[0].data["batch_id"] == str(answer.id)
    assert events[3].data["model_ids"] == [row["id"] for row in answer.result["models"]]
    again = batch(Batches(runner), "one", "two", "three", context=keyed)
    assert (again.id, again.position, again.repeated) == (answer.id, 4, True)


@pytest.mark.parametrize("names", [("new", "taken"), ("new", "NEW")])
def test_a_batch_with_a_name_that_is_taken_writes_nothing(
    runner: CommandRunner, models: Models, store: EventStore, names: tuple[str, ...]
) -> None:
    models.request_import(ADA, path("taken"))
    before = written(store)
    with pytest.raises(NameTaken, match=names[1]):
        batch(Batches(runner), *names)
    assert written(store) == before


def test_only_failed_rows_of_a_batch_are_retried(
    runner: CommandRunner, models: Models, store: EventStore
) -> None:
    batches = Batches(runner)
    answer = batch(batches, "good", "bad", "gone", "running")
    good, bad, gone, running = (UUID(row["id"]) for row in answer.result["models"])
    finish(models, good)
    fail(models, bad)
    fail(models, gone)
    models.delete(ADA, gone)
    assert batches.retry_failed(ADA, answer.id).result == {"models": [str(bad)]}
    assert store.load(Model, bad).state is ModelState.IMPORTING
    assert store.load(Model, running).version == 1
    with pytest.raises(NotAllowed, match="No import of this batch has failed"):
        batches.retry_failed(ADA, answer.id)


def test_a_batch_is_neither_empty_nor_endless(runner: CommandRunner) -> None:
    with pytest.raises(Invalid, match="0 models"):
        batch(Batches(runner))
    with pytest.raises(Invalid, match="1001 models"):
        batch(Batches(runner), *(f"m{n}" for n in range(1001)))


def test_what_exists_already_is_found_with_one_query(models: Models, pool: Pool) -> None:
    known = models.request_import(ADA, path("Known", technical_name="short")).id
    names = [f"unknown-{n}" for n in range(1000)]
    assert existing(pool, [*names, "KNOWN", "short"]) == {"KNOWN": known, "short": known}
