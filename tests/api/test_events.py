"""What happened: the audit's list and the live stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

import httpx
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from backend.api import live
from backend.api.services import Services
from backend.infra.kafka import TELEMETRY, ensure_topics
from backend.infra.settings import Settings
from backend.infra.telemetry import Telemetry, TelemetryPublisher
from tests.api.client import ApiClient
from tests.rig.servers import BrokerServer
from tests.rig.waiting import eventually


@dataclass
class Heard:
    """What a stream has brought so far."""

    events: list[dict] = field(default_factory=list)  # type: ignore[type-arg]
    telemetry: list[dict] = field(default_factory=list)  # type: ignore[type-arg]
    comments: int = 0
    ended: bool = False

    @property
    def positions(self) -> list[int]:
        return [event["position"] for event in self.events]

    def listen(self, lines: Iterator[str]) -> None:
        kind = ""
        try:
            for line in lines:
                if line.startswith(":"):
                    self.comments += 1
                elif line.startswith("event:"):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data:"):
                    found = self.events if kind == "event" else self.telemetry
                    found.append(json.loads(line.removeprefix("data: ")))
        except httpx.TransportError:
            pass
        self.ended = True


@contextmanager
def stream(
    client: ApiClient, headers: dict[str, str] | None = None, **params: int
) -> Iterator[Heard]:
    heard = Heard()
    with client.stream(
        "GET", "/api/events/stream", params=params, headers=headers, timeout=60
    ) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        threading.Thread(target=heard.listen, args=(answer.iter_lines(),), daemon=True).start()
        yield heard


def test_what_happens_is_told_at_once_and_in_order(admin: ApiClient, services: Services) -> None:
    with stream(admin) as heard:
        eventually(lambda: services.live._clients, "the stream is open")
        model_id = admin.import_model("tiny")
        admin.command("PATCH", f"/api/models/{model_id}", {"description": "d"})
        eventually(lambda: len(heard.events) >= 3, "the events came")
    assert [e["type"] for e in heard.events] == [
        "ModelImportRequested", "ModelArchiveReceived", "ModelConfigurationEdited",
    ]  # fmt: skip
    assert heard.positions == sorted(heard.positions)
    assert heard.events[0]["data"]["fileName"] == "tiny.zip"
    assert heard.events[0]["modelId"] == model_id


def test_a_stream_resumes_without_a_hole(admin: ApiClient, services: Services) -> None:
    for number in range(4):
        admin.import_model(f"m{number}")
    last = services.store.recorder.max_notification_id()
    for headers, params, after in (
        ({}, {"after": 0}, 0),
        ({}, {"after": 3}, 3),
        ({"Last-Event-ID": "5"}, {"after": 1}, 5),  # the browser's own word comes last
    ):
        with stream(admin, headers, **params) as heard:
            eventually(lambda: heard.positions and heard.positions[-1] == last, "caught up")  # noqa: B023
            admin.import_model(f"later-{after}")
            eventually(lambda: heard.positions[-1] > last, "and goes on")  # noqa: B023
        assert heard.positions == list(range(after + 1, heard.positions[-1] + 1))
        last = services.store.recorder.max_notification_id()


def test_nothing_is_missed_while_others_write(admin: ApiClient, services: Services) -> None:
    done = threading.Event()

    def write() -> None:
        for number in range(60):
            admin.import_model(f"m{number}")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    with ApiClient(str(admin.base_url), cookies=dict(admin.cookies)) as reader:
        while not done.is_set():
            with stream(reader, after=0) as heard:
                goal = services.store.recorder.max_notification_id() or 0
                eventually(lambda: heard.positions and heard.positions[-1] >= goal, "caught up")  # noqa: B023
            assert heard.positions == list(range(1, heard.positions[-1] + 1))
    writer.join(60)


def test_events_about_people_are_for_those_who_may_know(
    admin: ApiClient, services: Services, client_as: Callable[[str], ApiClient]
) -> None:
    viewer, auditor = client_as("viewer"), client_as("auditor")
    admin.import_model("tiny")
    last = services.store.recorder.max_notification_id()
    with stream(viewer, after=0) as few, stream(auditor, after=0) as all_of_them:
        eventually(lambda: all_of_them.positions and all_of_them.positions[-1] == last, "all")
        eventually(lambda: few.positions and few.positions[-1] == last, "few")
    assert {e["type"] for e in few.events} == {"ModelImportRequested", "ModelArchiveReceived"}
    assert "UserRegistered" in {e["type"] for e in all_of_them.events}


def test_a_reader_that_does_not_keep_up_is_sent_away_and_resumes(
    admin: ApiClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_QUEUE_SIZE", 3)
    hub = services.live
    with stream(admin) as heard:
        eventually(lambda: hub._clients, "the stream is open")
        admin.import_model("first")
        eventually(lambda: len(heard.events) == 2, "it hears")
        frames = [live._Frame(1000 + n, False, b": filler\n\n") for n in range(10)]
        hub._hand_over(frames)  # more at once than the queue takes
        eventually(lambda: heard.ended, "it was sent away")
    assert not hub._clients


def test_telemetry_passes_through_and_survives_the_broker(
    admin: ApiClient, settings: Settings, broker: BrokerServer, services: Services
) -> None:
    ensure_topics(settings)
    publisher = TelemetryPublisher(settings, client_id="test")
    model_id = UUID(int=1)

    def hears(heard: Heard, step: str, publisher: TelemetryPublisher = publisher) -> bool:
        publisher.publish(
            Telemetry(model_id=model_id, kind="log", step=step, message="a\nb", done=1, total=2)
        )
        return any(t["step"] == step for t in heard.telemetry)

    with stream(admin) as heard:
        eventually(lambda: hears(heard, "before"), "telemetry comes", every=0.3)
        broker.restart()
        ensure_topics(settings)
        second = TelemetryPublisher(settings, client_id="test-2")
        eventually(lambda: hears(heard, "after", second), "it comes again", every=0.3, seconds=60)
        second.close()
        assert admin.import_model("still-works")
        eventually(lambda: heard.events, "events never stopped")
    reading = heard.telemetry[0]
    assert reading["modelId"] == str(model_id)
    assert (reading["done"], reading["total"], reading["message"]) == (1, 2, "a\nb")
    publisher.close()


def test_readings_come_from_every_partition_that_the_topic_has(
    admin: ApiClient, settings: Settings, broker: BrokerServer
) -> None:
    broker.restart()
    maker = KafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    maker.create_topics([NewTopic(TELEMETRY, num_partitions=4, replication_factor=1)])
    maker.close()
    publisher = TelemetryPublisher(settings, client_id="test-partitions")
    models = {str(UUID(int=number)) for number in range(12)}

    def all_heard(heard: Heard) -> bool:
        for model in models:
            publisher.publish(Telemetry(model_id=UUID(model), kind="log", step="s", message="m"))
        return {reading["modelId"] for reading in heard.telemetry} == models

    with stream(admin) as heard:
        eventually(lambda: all_heard(heard), "every model's come", every=0.3, seconds=60)
    publisher.close()


def test_a_stream_ends_when_its_session_does(
    admin: ApiClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.api.routes.events.PING_SECONDS", 0.2)
    cookies = dict(admin.cookies)
    with ApiClient(str(admin.base_url), cookies=cookies) as reader, stream(reader) as heard:
        eventually(lambda: heard.comments, "pings come")
        admin.delete("/api/session")
        eventually(lambda: heard.ended, "the stream ended")


def test_a_wrong_last_event_id_is_refused(admin: ApiClient) -> None:
    for header in ("x", "-1", "9" * 30):
        answer = admin.get("/api/events/stream", headers={"Last-Event-ID": header})
        assert answer.status_code == 422


@pytest.mark.usefixtures("views")
def test_the_list_is_filtered_and_paged(admin: ApiClient, services: Services, client_as) -> None:  # type: ignore[no-untyped-def]
    one, two = admin.import_model("one"), admin.import_model("two")
    client_as("operator").import_model("three")
    at = {"atLeast": services.store.recorder.max_notification_id()}

    def listed(client: ApiClient = admin, **params: object) -> list[dict]:  # type: ignore[type-arg]
        answer = client.get("/api/events", params={**at, **params})  # type: ignore[dict-item]
        assert answer.status_code == 200, answer.text
        return answer.json()["items"]  # type: ignore[no-any-return]

    everything = listed()
    assert [e["position"] for e in everything] == sorted(
        (e["position"] for e in everything), reverse=True
    )
    assert {e["modelId"] for e in listed(modelId=one)} == {one}
    assert {e["actor"] for e in listed(actor="user:a-operator")} == {"user:a-operator"}
    assert {e["type"] for e in listed(type=["UserRegistered", "ModelArchiveReceived"])} == {
        "UserRegistered", "ModelArchiveReceived",
    }  # fmt: skip
    middle = everything[3]["time"]
    assert len(listed(after=middle)) + len(listed(before=middle)) == len(everything) - 1
    assert all(e["modelId"] for e in listed(client_as("viewer")))
    pages, cursor = [], None
    while True:
        params = {**at, "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = admin.get("/api/events", params=params).json()
        pages += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert len(pages) >= len(everything)
    assert two in {e["modelId"] for e in pages}


@pytest.mark.usefixtures("views")
def test_outcomes_become_notifications(admin: ApiClient, services: Services) -> None:
    from tests.api import worker

    model_id = admin.import_model("tiny")
    position = worker.make_ready(services, model_id)
    items = admin.get("/api/notifications", params={"atLeast": position}).json()["items"]
    assert [(i["type"], i["modelName"]) for i in items] == [("ModelValidated", "tiny")]
