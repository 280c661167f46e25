"""What the gallery shows of versions and batches, and of an earlier release's tables."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import pytest

from backend.application.batches import Batches
from backend.application.commands import CommandContext, CommandRunner
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain.errors import NotFound
from backend.domain.model import AcceptedRisks, ImportRequest
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from backend.readmodels import batches, versions
from backend.readmodels.cursors import Cursors
from backend.readmodels.gallery import Gallery, ModelDetail
from projections.applying import Applier
from projections.gallery import GALLERY
from projections.marketplace import MARKETPLACE
from projections.service import prepare
from tests.application.conftest import models, pool, runner, store

__all__ = ["models", "pool", "runner", "store"]

ADA = CommandContext(actor="user:ada")


def path(name: str, **more: Any) -> ImportRequest:
    origin = {"path": {"path": f"/models/{name}", "mode": "copy"}}
    return ImportRequest(source="path", origin=origin, name=name, **more)


class Shown:
    """Commands, and what the projections make of them."""

    def __init__(self, settings: Settings, pool: Pool, store: EventStore, models: Models) -> None:
        self.pool = pool
        self.models = models
        self.objects = ObjectStore.from_settings(settings)
        self._feed = EventFeed(store, settings.dsn)
        self._appliers = [Applier(GALLERY), Applier(MARKETPLACE)]
        with pool.connection() as connection, connection.cursor() as cursor:
            for applier in self._appliers:
                applier.create_tables(cursor)
        self._position = 0

    def catch_up(self) -> None:
        events = self._feed.read(self._position, 1000)
        with self.pool.connection() as connection, connection.cursor() as cursor:
            for applier in self._appliers:
                applier.handle(cursor, events)
        self._position = events[-1].position if events else self._position

    def detail(self, model_id: UUID) -> ModelDetail:
        self.catch_up()
        return Gallery(self.pool).detail(model_id, lambda _: True)

    def versions(self, model_id: UUID) -> list[versions.VersionView]:
        self.catch_up()
        return versions.of_model(self.pool, model_id, None, 100, Cursors(b"any")).items

    def listed_architecture(self, model_id: UUID) -> str | None:
        self.catch_up()
        with self.pool.connection() as connection:
            row = connection.execute(
                "SELECT architecture FROM marketplace.listings WHERE model_id = %s", (model_id,)
            ).fetchone()
        assert row is not None
        found: str | None = row["architecture"]
        return found

    def finish(
        self, model_id: UUID, version: str, architecture: str, files: dict[str, str]
    ) -> None:
        text = (
            '{"files":['
            + ",".join(
                f'{{"path":"{path}","size":1,"sha256":"{digest * 64}"}}'
                for path, digest in sorted(files.items())
            )
            + "]}"
        )
        digest = f"{abs(hash(text)):064x}"
        self.objects.put(f"manifests/{digest}.json", [text.encode()])
        self.models.record_files_stored(
            ADA,
            model_id,
            version,
            manifest_uri=self.objects.uri(f"manifests/{digest}.json"),
            manifest_sha256=digest,
            file_count=len(files),
            total_bytes=len(files),
            fence=lambda _: None,
        )
        self.models.record_validated(
            ADA,
            model_id,
            version,
            report={"checks": []},
            card={"architecture": architecture, "format": "transformers"},
            fence=lambda _: None,
        )


@pytest.fixture
def shown(settings: Settings, pool: Pool, store: EventStore, models: Models) -> Shown:
    return Shown(settings, pool, store, models)


def test_the_model_shows_its_current_version_whatever_a_new_one_does(
    shown: Shown, models: Models
) -> None:
    model_id = models.request_import(ADA, path("m", labels=["own"])).id
    assert [step.step for step in shown.detail(model_id).import_steps] == ["fetch", "validate"]
    shown.finish(model_id, "0.0.1", "LlamaForCausalLM", {"a": "1"})
    models.request_version(ADA, model_id, path("m"))
    detail = shown.detail(model_id)
    assert (detail.state, detail.latest_state) == ("ready_to_deploy", "importing")
    assert (detail.model_version, detail.latest_version) == ("0.0.1", "0.0.2")
    assert (detail.format, detail.labels) == ("transformers", ["own"])
    assert detail.actions.cancel.allowed

    models.record_import_failed(
        ADA, model_id, "0.0.2", step="fetch", reason="gone", remedy="look for it"
    )
    detail = shown.detail(model_id)
    assert (detail.state, detail.failure) == ("ready_to_deploy", None)
    assert detail.actions.retry.allowed
    assert detail.actions.publish.allowed
    newest, first = shown.versions(model_id)
    assert newest.failure is not None
    assert (newest.version, newest.failure.reason, newest.current) == ("0.0.2", "gone", False)
    assert (first.version, first.current) == ("0.0.1", True)


def test_an_earlier_version_is_shown_again_when_it_is_chosen(shown: Shown, models: Models) -> None:
    model_id = models.request_import(ADA, path("m")).id
    shown.finish(model_id, "0.0.1", "LlamaForCausalLM", {"a": "1", "b": "2"})
    models.request_version(ADA, model_id, path("m", version="1.0.0"))
    shown.finish(model_id, "1.0.0", "Qwen2ForCausalLM", {"b": "3", "c": "4"})
    assert shown.detail(model_id).architecture == "Qwen2ForCausalLM"
    assert shown.listed_architecture(model_id) == "Qwen2ForCausalLM"
    models.select_current_version(ADA, model_id, version="0.0.1")
    detail = shown.detail(model_id)
    assert (detail.architecture, detail.current_version) == ("LlamaForCausalLM", "0.0.1")
    assert shown.listed_architecture(model_id) == "LlamaForCausalLM"

    found = versions.compare(shown.pool, shown.objects, model_id, before="0.0.1", after="1.0.0")
    assert [(each.field, each.before, each.after) for each in found.card] == [
        ("architecture", "LlamaForCausalLM", "Qwen2ForCausalLM")
    ]
    assert [(each.path, each.change) for each in found.files] == [
        ("a", "removed"),
        ("b", "changed"),
        ("c", "added"),
    ]
    with pytest.raises(NotFound, match=r"no version 2\.0\.0"):
        versions.compare(shown.pool, shown.objects, model_id, before="0.0.1", after="2.0.0")


def test_accepted_risks_are_shown_with_who_and_why(shown: Shown, models: Models) -> None:
    accepted = AcceptedRisks(("pickle",), "written by ourselves")
    model_id = models.request_import(ADA, path("m", accepted_risks=accepted)).id
    (risk,) = shown.detail(model_id).accepted_risks
    assert (risk.risks, risk.reason, risk.actor) == (
        ["pickle"],
        "written by ourselves",
        "user:ada",
    )


def test_a_deleted_model_leaves_no_versions(shown: Shown, models: Models) -> None:
    model_id = models.request_import(ADA, path("m")).id
    shown.catch_up()
    models.delete(ADA, model_id)
    with pytest.raises(NotFound):
        shown.versions(model_id)


def test_a_batch_shows_the_state_of_each_row(
    shown: Shown, models: Models, runner: CommandRunner
) -> None:
    answer = Batches(runner).request(
        ADA,
        address="https://example.org/list.txt",
        format="list",
        manifest_uri="file:///m",
        manifest_sha256="c" * 64,
        requests=[path(name) for name in ("good", "bad", "gone", "running")],
    )
    good, bad, gone, _ = (UUID(row["id"]) for row in answer.result["models"])
    shown.finish(good, "0.0.1", "LlamaForCausalLM", {"a": "1"})
    models.record_import_failed(ADA, bad, "0.0.1", step="fetch", reason="r", remedy="m")
    models.delete(ADA, gone)
    shown.catch_up()
    found = batches.batch(shown.pool, answer.id)
    assert [(row.name, row.state) for row in found.rows] == [
        ("good", "ready_to_deploy"),
        ("bad", "import_failed"),
        (None, "deleted"),
        ("running", "importing"),
    ]
    assert found.states == {
        "ready_to_deploy": 1, "import_failed": 1, "deleted": 1, "importing": 1,
    }  # fmt: skip
    assert found.rows[1].retriable
    assert shown.detail(good).batch_id == answer.id


def test_tables_of_another_shape_are_built_anew(
    shown: Shown, models: Models, settings: Settings, pool: Pool
) -> None:
    """As after an update: what an earlier release has made is dropped, with its progress."""
    models.request_import(ADA, path("m"))
    shown.catch_up()
    with pool.connection() as connection:
        connection.execute("ALTER TABLE gallery.models DROP COLUMN technical_name")
        for name in ("gallery", "marketplace"):
            connection.execute(
                "INSERT INTO loggia.consumer_watermark (consumer, position, ahead) "
                "VALUES (%s, 1, '{}')",
                (name,),
            )
    prepare(settings, threading.Event())
    with pool.connection() as connection:
        kept = connection.execute("SELECT consumer FROM loggia.consumer_watermark").fetchall()
        rows = connection.execute("SELECT technical_name FROM gallery.models").fetchall()
    assert [row["consumer"] for row in kept] == ["marketplace"]
    assert rows == []
