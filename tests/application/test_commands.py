"""Each command has one effect, positions have no holes, and nobody writes over somebody else."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from backend.application.api_keys import ApiKeys
from backend.application.commands import Accepted, CommandContext, CommandRunner
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.errors import Conflict, DomainError, IdempotencyKeyReused, NameTaken
from backend.domain.model import Model
from backend.infra.settings import Settings
from tests.application.conftest import Importer

ADA = CommandContext(actor="user:ada")


def positions(store: EventStore) -> list[int]:
    return [n.id for n in store.recorder.select_notifications(start=1, limit=10_000)]


def test_a_repeated_command_answers_as_the_first_did_and_writes_nothing(
    models: Models, importer: Importer, store: EventStore
) -> None:
    model_id = importer.import_model()
    keyed = CommandContext(actor="user:ada", idempotency_key="edit-1", fingerprint="a")
    first = models.edit_configuration(keyed, model_id, description="first")
    models.edit_configuration(ADA, model_id, description="second")

    again = models.edit_configuration(keyed, model_id, description="first")

    assert (again.id, again.version, again.position) == (first.id, first.version, first.position)
    assert again.repeated
    assert store.load(Model, model_id).description == "second"


def test_a_repeated_command_without_events_is_remembered_too(
    models: Models, importer: Importer, store: EventStore
) -> None:
    model_id = importer.import_model()
    before = positions(store)
    keyed = CommandContext(actor="user:ada", idempotency_key="none", fingerprint="a")
    first = models.edit_configuration(keyed, model_id, description="")
    second = models.edit_configuration(keyed, model_id, description="")
    assert not first.repeated
    assert second.repeated
    assert first.position == second.position == before[-1]
    assert positions(store) == before


def test_a_key_under_another_request_is_refused(models: Models, importer: Importer) -> None:
    model_id = importer.import_model()
    models.edit_configuration(
        CommandContext(actor="user:ada", idempotency_key="k", fingerprint="a"), model_id
    )
    with pytest.raises(IdempotencyKeyReused):
        models.edit_configuration(
            CommandContext(actor="user:ada", idempotency_key="k", fingerprint="b"), model_id
        )


def test_keys_of_two_people_do_not_meet(models: Models, importer: Importer) -> None:
    model_id = importer.import_model()
    for actor, text in (("user:ada", "one"), ("user:bob", "two")):
        accepted = models.edit_configuration(
            CommandContext(actor=actor, idempotency_key="same", fingerprint=text),
            model_id,
            description=text,
        )
        assert not accepted.repeated


def test_a_secret_is_shown_again_to_the_repeated_command_and_stands_in_no_event(
    runner: CommandRunner, importer: Importer, store: EventStore
) -> None:
    model_id = importer.import_model()
    keys = ApiKeys(runner)
    context = CommandContext(actor="user:ada", idempotency_key="key", fingerprint="a")
    first = keys.create(context, model_id, name="app")
    again = keys.create(context, model_id, name="app")
    assert first.secret
    assert again.secret == first.secret
    stored = store.recorder.select_notifications(start=1, limit=100)
    assert all(first.secret.encode() not in notification.state for notification in stored)


def test_fifty_racing_edits_have_one_winner(
    models: Models, importer: Importer, store: EventStore
) -> None:
    model_id = importer.import_model()
    version = store.load(Model, model_id).version
    start = threading.Barrier(50)

    def edit(number: int) -> str:
        start.wait(timeout=30)
        try:
            models.edit_configuration(
                CommandContext(actor="user:ada", expected_version=version),
                model_id,
                description=f"edit {number}",
            )
        except Conflict as conflict:
            return f"conflict with version {conflict.current['version']}"
        return "ok"

    with ThreadPoolExecutor(50) as threads:
        outcomes = list(threads.map(edit, range(50)))

    assert sorted(outcomes) == [f"conflict with version {version + 1}"] * 49 + ["ok"]
    assert store.load(Model, model_id).version == version + 1


def test_positions_have_no_gap_even_when_attempts_fail(
    models: Models, importer: Importer, store: EventStore
) -> None:
    model_ids = [importer.import_model(f"m{number}") for number in range(4)]

    def work(number: int) -> None:
        for step in range(10):
            try:
                models.edit_configuration(
                    CommandContext(actor="user:ada", expected_version=step % 4),
                    model_ids[number % 4],
                    description=f"{number} {step}",
                )
            except DomainError:
                models.edit_configuration(ADA, model_ids[0], description=f"{number} {step} b")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))

    found = positions(store)
    assert found == list(range(1, len(found) + 1))


def test_two_imports_of_one_name_leave_one_model(importer: Importer, store: EventStore) -> None:
    importer.import_model("Tiny")
    with pytest.raises(NameTaken):
        importer.import_model("tiny")
    assert {n.originator_version for n in store.recorder.select_notifications(1, 100)} == {1, 2}


def test_a_deleted_model_frees_its_name(importer: Importer, models: Models) -> None:
    first = importer.import_model("tiny")
    models.delete(ADA, first)
    assert importer.import_model("tiny") != first


def test_every_event_says_who_and_why(
    models: Models, importer: Importer, store: EventStore, settings: Settings
) -> None:
    cause = uuid4()
    context = CommandContext(actor="user:ada", causation_id=cause)
    importer.import_model(context=context)
    events = EventFeed(store, settings.dsn).read(0, 10)
    assert [event.type for event in events] == ["ModelImportRequested", "ModelArchiveReceived"]
    assert {event.actor for event in events} == {"user:ada"}
    assert {event.correlation_id for event in events} == {str(context.correlation_id)}
    assert {event.causation_id for event in events} == {str(cause)}


def test_the_feed_wakes_for_new_events(
    models: Models, importer: Importer, store: EventStore, settings: Settings
) -> None:
    stop = threading.Event()
    seen: list[Accepted | str] = []
    caught_up = threading.Event()

    def follow() -> None:
        for batch in EventFeed(store, settings.dsn).follow(0, stop):
            seen.extend(event.public.type for event in batch)
            if not batch:
                caught_up.set()
            if "ModelArchiveReceived" in seen:
                return

    thread = threading.Thread(target=follow)
    thread.start()
    assert caught_up.wait(timeout=10)
    importer.import_model()
    thread.join(timeout=10)
    stop.set()
    assert seen == ["ModelImportRequested", "ModelArchiveReceived"]
