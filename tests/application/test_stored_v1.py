"""Events that the first release has written: read, published and continued by this one.

The rows of `stored_v1.jsonl` are what that release put into the table, byte for byte.
"""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest

from backend.application.commands import CommandContext, CommandRunner
from backend.application.deployments import Deployments
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.deployment import Deployment
from backend.domain.model import ImportRequest, Model, ModelState
from backend.infra.postgres import Pool
from backend.infra.settings import Settings

MODEL = UUID("295fd9a9-9d2a-4780-89d9-97ab172c65b3")
DEPLOYMENT = Deployment.create_id(MODEL)
UPLOAD = UUID("4ab329a7-b5df-46a4-87f6-74653a3287a9")
ROWS = Path(__file__).with_name("stored_v1.jsonl")
ADA = CommandContext(actor="user:ada")


@pytest.fixture(autouse=True)
def written(pool: Pool, store: EventStore) -> None:
    with pool.connection() as connection:
        for position, line in enumerate(ROWS.read_text().splitlines(), start=1):
            row = json.loads(line)
            connection.execute(
                "INSERT INTO loggia.loggia_events (originator_id, originator_version, topic, "
                "state, notification_id) VALUES (%s, %s, %s, %s, %s)",
                (
                    row["originator_id"],
                    row["originator_version"],
                    row["topic"],
                    row["state"].encode(),
                    position,
                ),
            )


def test_a_model_of_the_first_release_is_as_it_was(store: EventStore) -> None:
    model = store.load(Model, MODEL)
    assert (model.state, model.current_version) == (ModelState.READY, "0.0.1")
    assert (model.name, model.technical_name) == ("tiny", "tiny")
    version = model.versions["0.0.1"]
    assert (version.source, version.origin, version.upload_id) == ("upload", {}, UPLOAD)
    assert version.manifest_sha256 == "a" * 64
    assert (model.labels, model.description, model.template) == ([], "", "")


def test_its_events_are_published_as_they_were(store: EventStore, settings: Settings) -> None:
    request, *_ = EventFeed(store, settings.dsn).read(0, 10)
    # What the first release has put on the topic, and what this one would, are the same bytes.
    assert request.message.SerializeToString(deterministic=True).hex() == (
        "0a2432393566643961392d396432612d343738302d383964392d393761623137326336356233120474696e79"
        "1a0462617365220675706c6f61642a05302e302e31320874696e792e7a69703a2434616233323961372d6235"
        "64662d343661342d383766362d373436353361333238376139400a"
    )


def test_it_goes_on_with_a_new_version(runner: CommandRunner, store: EventStore) -> None:
    models = Models(runner)
    models.request_version(
        ADA,
        MODEL,
        ImportRequest(source="path", origin={"path": {"path": "/models/tiny", "mode": "copy"}}),
    )
    model = store.load(Model, MODEL)
    assert list(model.versions) == ["0.0.1", "0.0.2"]
    assert model.state is ModelState.READY


def test_its_deployment_keeps_the_version_it_serves(
    runner: CommandRunner, store: EventStore, settings: Settings
) -> None:
    Deployments(runner).roll_back(ADA, MODEL, revision=1, reason="as before")
    assert store.load(Deployment, DEPLOYMENT).model_versions == {1: "0.0.1", 2: "0.0.1"}
    first, *_, again = (
        event.data["configuration"]["hardware"]["gpu_sharing"]
        for event in EventFeed(store, settings.dsn).read(0, 10)
        if event.type == "DeploymentRequested"
    )
    assert (first, again) == ("", "exclusive")
