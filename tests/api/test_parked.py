"""What is parked is shown to those who look after the platform, and counted for their alerts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backend.api.services import Services
from backend.application.commands import CommandContext
from backend.infra.consumer import Consumer, Handler
from backend.infra.jobs import Jobs, enqueue
from tests.api.client import ApiClient
from tests.rig.api_server import ApiServer
from tests.rig.waiting import eventually

URL = "/api/operations/parked"


def figures(admin: ApiClient) -> dict[tuple[str, ...], float]:
    """Every sample of /metrics, by its name and the values of its labels."""
    text = admin.get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def consuming(server: ApiServer) -> Iterator[Callable[[Handler], None]]:
    """Runs a consumer `picky` with the handler given."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(handle: Handler) -> None:
        consumer = Consumer(server.settings, server.services.pool, "picky", handle)
        threads.append(threading.Thread(target=consumer.run, args=(stop,), daemon=True))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(timeout=20)


def park_a_job(services: Services, model_id: UUID, version: str = "0.0.1") -> UUID:
    job_id = uuid4()
    with services.pool.connection() as connection, connection.transaction():
        enqueue(
            connection.cursor(),
            kind="import",
            job_id=job_id,
            model_id=model_id,
            payload={"version": version},
        )
    jobs = Jobs(services.pool, lease_seconds=30)
    claim = jobs.claim("import", "worker")
    assert claim is not None
    jobs.finish(claim, state="parked", error="OSError: disk on fire")
    return job_id


def test_nothing_is_parked_at_first(admin: ApiClient) -> None:
    assert admin.get(URL).json() == {"events": [], "eventCount": 0, "jobs": [], "jobCount": 0}
    assert figures(admin)["loggia_store_up",] == 1
    assert figures(admin)["loggia_jobs", "import", "parked"] == 0


def test_a_parked_job_is_shown_until_its_version_is_imported_again(
    admin: ApiClient, services: Services
) -> None:
    model_id = uuid4()
    job_id = park_a_job(services, model_id)
    found = admin.get(URL).json()
    assert found["jobCount"] == 1
    assert {k: v for k, v in found["jobs"][0].items() if k != "parkedAt"} == {
        "id": str(job_id),
        "kind": "import",
        "modelId": str(model_id),
        "version": "0.0.1",
        "error": "OSError: disk on fire",
    }
    eventually(lambda: figures(admin)["loggia_jobs", "import", "parked"] == 1, "it is counted")

    with services.pool.connection() as connection, connection.transaction():
        for version in ("0.0.2", "0.0.1"):
            assert admin.get(URL).json()["jobCount"] == 1
            enqueue(
                connection.cursor(),
                kind="import",
                job_id=uuid4(),
                model_id=model_id,
                payload={"version": version},
            )
    assert admin.get(URL).json()["jobCount"] == 0
    eventually(lambda: figures(admin)["loggia_jobs", "import", "parked"] == 0, "nor counted")


@pytest.mark.usefixtures("views")
def test_a_parked_event_is_shown_with_its_reason_and_counted_once(
    admin: ApiClient, services: Services, consuming: Callable[[Handler], None]
) -> None:
    model_id = admin.import_model("tiny")

    def refuse(*_: object) -> None:
        raise ValueError("cannot digest this")

    consuming(refuse)
    services.models.edit_configuration(
        CommandContext(actor="user:ada"), UUID(model_id), description="x"
    )
    last = services.store.recorder.max_notification_id() or 0
    eventually(lambda: admin.get(URL).json()["eventCount"] >= 3, "everything is parked")
    first, *others = (e for e in admin.get(URL).json()["events"] if e["modelId"] == model_id)
    assert (first["consumer"], first["type"]) == ("picky", "ModelImportRequested")
    assert first["error"] == "ValueError('cannot digest this')"
    assert [e["position"] for e in others] == list(range(first["position"] + 1, last + 1))

    def is_counted() -> bool:
        found = figures(admin)
        return (
            found["loggia_consumer_position", "picky"] == found["loggia_store_position",] == last
            and found["loggia_consumer_lag_events", "picky"] == 0
            and found["loggia_relay_lag_events",] == 0
            and found["loggia_waiting_events", "picky"] == len(others)
            and found["loggia_parked_events", "gallery"] == 0
        )

    eventually(is_counted, "it is counted")


def test_while_the_database_does_not_answer_other_figures_are_there(
    admin: ApiClient, services: Services
) -> None:
    services.pool.close()
    eventually(lambda: figures(admin)["loggia_store_up",] == 0, "the loss is told")
    assert not [name for name, *_ in figures(admin) if name.startswith("loggia_consumer")]
