"""Commands that arrive together are written together, and each has an outcome of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import Cursor
from psycopg.rows import DictRow

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.application.deployments import Deployments
from backend.application.models import Models
from backend.application.store import EventStore, StoreUnavailable
from backend.domain import terms
from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment
from backend.domain.errors import Conflict, DomainError, NameTaken, NotFound
from backend.domain.model import ImportRequest, Model, ModelState
from backend.infra.settings import Settings
from tests.application.conftest import Importer

ADA = CommandContext(actor="user:ada")


def all_at_once(calls: list[Callable[[], Accepted]]) -> list[Accepted | Exception]:
    """What comes of calls that begin in the same instant."""
    line = threading.Barrier(len(calls))

    def run(call: Callable[[], Accepted]) -> Accepted | Exception:
        line.wait(timeout=30)
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def together(settings: Settings, calls: list[Callable[[], Accepted]]) -> list[Accepted | Exception]:
    """The same, while the first one waits for a lock: the others are one group behind it."""
    with psycopg.connect(settings.dsn) as blocker:
        blocker.execute("LOCK TABLE loggia.loggia_events IN EXCLUSIVE MODE")
        timer = threading.Timer(0.5, blocker.rollback)
        timer.start()
        outcomes = all_at_once(calls)
        timer.join()
    return outcomes


def editing(models: Models, model_id: Any, text: str) -> Callable[[], Accepted]:
    return lambda: models.edit_configuration(ADA, model_id, description=text)


def positions(store: EventStore) -> list[int]:
    return [n.id for n in store.recorder.select_notifications(start=1, limit=10_000)]


def make_ready(models: Models, model_id: Any) -> None:
    models.record_files_stored(
        ADA,
        model_id,
        "0.0.1",
        manifest_uri="file:///m",
        manifest_sha256="ab" * 32,
        file_count=1,
        total_bytes=1,
        fence=lambda _: None,
    )
    models.record_validated(
        ADA, model_id, "0.0.1", report={"checks": []}, card={}, fence=lambda _: None
    )


def test_each_command_of_a_group_has_its_own_answer(
    models: Models, importer: Importer, store: EventStore, settings: Settings
) -> None:
    ids = [importer.import_model(f"m{number}") for number in range(6)]
    before = len(positions(store))

    outcomes = together(settings, [editing(models, each, "together") for each in ids])

    answers = [each for each in outcomes if isinstance(each, Accepted)]
    assert {each.id for each in answers} == set(ids)
    assert sorted(each.position for each in answers) == list(range(before + 1, before + 7))
    assert positions(store) == list(range(1, before + 7))
    for each in ids:
        assert store.load(Model, each).description == "together"


def test_what_fails_in_a_group_fails_alone(
    models: Models, importer: Importer, runner: CommandRunner, store: EventStore, settings: Settings
) -> None:
    ids = [importer.import_model(f"m{number}") for number in range(3)]
    uploads = [importer.upload(f"{name}.zip") for name in ("m0", "new")]
    before = len(positions(store))

    def with_statement(statement: Callable[[Cursor[DictRow]], Any]) -> Callable[[], Accepted]:
        def decide() -> Decision:
            model = store.load(Model, ids[2])
            model.edit_configuration(description="never", labels=[], documentation_links=[])
            return Decision([model], [statement])

        return lambda: runner.run(ADA, decide)

    def importing(number: int, name: str) -> Callable[[], Accepted]:
        return lambda: models.request_import(
            ADA, ImportRequest(file_name=name, upload_id=uploads[number], size_bytes=1)
        )

    def decided_wrongly() -> Decision:
        raise KeyError("a mistake in a decision")

    outcomes = together(
        settings,
        [
            editing(models, ids[0], "written"),
            importing(0, "m0.zip"),
            with_statement(lambda cursor: cursor.execute("SELECT 1/0")),
            importing(1, "new.zip"),
            lambda: runner.run(ADA, decided_wrongly),
            lambda: models.edit_configuration(
                CommandContext(actor="user:ada", expected_version=1), ids[1], description="stale"
            ),
            lambda: models.edit_configuration(ADA, uploads[0], description="of nothing"),
        ],
    )

    assert isinstance(outcomes[0], Accepted)
    assert isinstance(outcomes[1], NameTaken)
    assert isinstance(outcomes[2], psycopg.errors.DivisionByZero)
    assert isinstance(outcomes[3], Accepted)
    assert isinstance(outcomes[4], KeyError)
    assert isinstance(outcomes[5], Conflict)
    assert outcomes[5].current["version"] == 2
    assert isinstance(outcomes[6], NotFound)
    assert positions(store) == list(range(1, before + 3))
    assert store.load(Model, ids[2]).description == ""


def test_a_command_that_is_repeated_in_the_same_instant_is_carried_out_once(
    models: Models, importer: Importer, store: EventStore, settings: Settings
) -> None:
    model_id = importer.import_model()
    before = len(positions(store))
    keyed = CommandContext(actor="user:ada", idempotency_key="k", fingerprint="f")

    outcomes = together(
        settings,
        [lambda: models.edit_configuration(keyed, model_id, description="once")] * 8,
    )

    answers = [each for each in outcomes if isinstance(each, Accepted)]
    assert len(answers) == 8
    assert {(each.version, each.position) for each in answers} == {(3, before + 1)}
    assert [each.repeated for each in answers].count(False) == 1


def test_what_another_process_wrote_is_seen_before_it_is_decided_upon(
    models: Models, importer: Importer, settings: Settings
) -> None:
    model_id = importer.import_model()
    models.edit_configuration(ADA, model_id, labels=["mine"])
    other_store = EventStore(settings)
    others = Models(CommandRunner(other_store, settings.secret_key))
    for number in range(5):
        others.edit_configuration(ADA, model_id, labels=["others", str(number)])
        # The labels are not named, so those of the other process stay.
        models.edit_configuration(ADA, model_id, description=f"mine {number}")
    assert other_store.load(Model, model_id).labels == ["others", "4"]
    # Nothing to change, judged by what is stored now and not by what was kept in memory.
    others.delete(ADA, model_id)
    with pytest.raises(DomainError, match="deleted"):
        models.edit_configuration(ADA, model_id, description="mine 4")
    other_store.close()


def test_a_model_is_either_deleted_or_deployed(
    models: Models,
    importer: Importer,
    runner: CommandRunner,
    store: EventStore,
    settings: Settings,
) -> None:
    """Two processes and, in each, one group: the deletion races with the first deployment."""
    wanted = DeployConfiguration().to_dict()
    other_store = EventStore(settings)
    others = CommandRunner(other_store, settings.secret_key)
    for round_number in range(12):
        model_id = importer.import_model(f"m{round_number}")
        make_ready(models, model_id)

        def deleting(by: CommandRunner, which: Any = model_id) -> Callable[[], Accepted]:
            return lambda: Models(by).delete(ADA, which)

        def deploying(by: CommandRunner, which: Any = model_id) -> Callable[[], Accepted]:
            return lambda: Deployments(by).request(
                ADA,
                which,
                configuration=wanted,
                terms_version=terms.VERSION,
                terms_accepted=True,
            )

        calls = [deploying(others), deleting(runner), deploying(runner), deleting(others)]
        outcomes = all_at_once(calls if round_number % 2 else calls[::-1])

        model = store.load(Model, model_id)
        deployed = store.find(Deployment, Deployment.create_id(model_id)) is not None
        assert (model.state is ModelState.DELETED) != deployed, outcomes
        refusals = [each for each in outcomes if not isinstance(each, Accepted)]
        assert all(isinstance(each, DomainError) for each in refusals), outcomes
    other_store.close()


def test_a_locked_store_refuses_and_forgets_nothing(
    models: Models, importer: Importer, store: EventStore, settings: Settings
) -> None:
    ids = [importer.import_model(f"m{number}") for number in range(4)]
    before = positions(store)
    with psycopg.connect(settings.dsn) as blocker:
        blocker.execute("LOCK TABLE loggia.loggia_events IN EXCLUSIVE MODE")
        outcomes = all_at_once([editing(models, each, "locked") for each in ids])
        blocker.rollback()
    assert all(isinstance(each, StoreUnavailable) for each in outcomes), outcomes
    assert positions(store) == before
    for each in ids:
        models.edit_configuration(ADA, each, description="free")
    assert [store.load(Model, each).description for each in ids] == ["free"] * 4
