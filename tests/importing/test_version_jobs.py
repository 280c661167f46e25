"""Versions on their way in: a new one never harms the one that is in use."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.application.commands import CommandContext
from backend.contracts.codec import PublicEvent
from backend.contracts.generated.loggia.events.v1 import model_pb2
from backend.domain.model import AcceptedRisks, ImportRequest, ModelState
from tests.builders.models import tiny_llama, write_archive
from tests.importing.kept_adapters import kept
from tests.importing.workplace import Site
from workers.importing.dispatch import handle

ADMIN = CommandContext("user:admin")


def new_version(site: Site, model_id: UUID, archive: Path, **more: Any) -> UUID:
    """Asks for a version from an archive that has arrived; returns its upload."""
    upload_id = site.upload(archive)
    site.models.request_version(
        ADMIN,
        model_id,
        ImportRequest(
            file_name=archive.name,
            upload_id=upload_id,
            size_bytes=archive.stat().st_size,
            **more,
        ),
        complete=True,
    )
    site.enqueue(model_id)
    return upload_id


@pytest.fixture
def model_id(site: Site, tmp_path: Path) -> UUID:
    """A model with one version, ready to deploy."""
    found = site.submit(write_archive(tmp_path / "tiny.zip", tiny_llama()))
    site.run_all()
    assert site.model(found).state is ModelState.READY
    return found


def broken() -> dict[str, bytes]:
    """As the tiny model, but its weights are cut off, so that other files are new as well."""
    files = {**tiny_llama(seed=1), "README.md": b"# Broken"}
    weights = files["model.safetensors"]
    return {**files, "model.safetensors": weights[: len(weights) // 2]}


def test_a_further_version_becomes_the_current_one(
    site: Site, model_id: UUID, tmp_path: Path
) -> None:
    new_version(site, model_id, write_archive(tmp_path / "other.zip", tiny_llama(seed=1)))
    site.run_all()
    model = site.model(model_id)
    assert (model.name, model.current_version) == ("tiny", "0.0.2")
    first, second = model.versions.values()
    assert first.manifest_sha256 != second.manifest_sha256
    assert len(site.objects("manifests")) == 2
    assert site.objects("uploads") == []


def test_a_version_that_fails_takes_nothing_from_the_current_one(
    site: Site, model_id: UUID, tmp_path: Path
) -> None:
    before = site.residue()
    upload = new_version(site, model_id, write_archive(tmp_path / "broken.zip", broken()))
    site.run_all()
    model = site.model(model_id)
    assert (model.state, model.latest.state) == (ModelState.READY, ModelState.FAILED)
    assert model.current_version == "0.0.1"
    residue = site.residue()
    # Its archive stays for a retry.
    assert all(str(upload) in path for path in residue.pop("uploads"))
    assert residue == before


def test_cancelling_a_version_removes_its_files_only(
    site: Site, model_id: UUID, tmp_path: Path
) -> None:
    before = site.residue()
    new_version(site, model_id, write_archive(tmp_path / "broken.zip", broken()))
    site.run_all()
    site.retry(model_id)
    site.cancel(model_id)
    site.run_all()
    assert site.model(model_id).state is ModelState.READY
    residue = site.residue()
    residue.pop("uploads")
    assert residue == before


def test_deleting_the_model_removes_the_files_of_every_version(
    site: Site, model_id: UUID, tmp_path: Path
) -> None:
    new_version(site, model_id, write_archive(tmp_path / "other.zip", tiny_llama(seed=1)))
    site.run_all()
    site.delete(model_id)
    site.run_all()
    assert site.residue() == {}


def test_an_adapter_is_checked_against_its_base_model(
    site: Site, model_id: UUID, tmp_path: Path
) -> None:
    archive = write_archive(tmp_path / "lora.zip", kept("lora"))
    upload_id = site.upload(archive)
    adapter = site.models.request_import(
        ADMIN,
        ImportRequest(
            kind="adapter",
            base_model_id=model_id,
            file_name="lora.zip",
            upload_id=upload_id,
            size_bytes=archive.stat().st_size,
        ),
        complete=True,
    ).id
    site.enqueue(adapter)
    site.run_all()
    model = site.model(adapter)
    assert model.state is ModelState.READY
    assert model.latest.card["format"] == "peft"
    assert model.latest.card["adapter"]["rank"] > 0


def test_pickled_weights_come_in_where_somebody_answers_for_them(
    site: Site, model_id: UUID, tmp_path: Path
) -> None:
    files = {path: data for path, data in tiny_llama().items() if path != "model.safetensors"}
    files["pytorch_model.bin"] = (Path(__file__).parent / "pickles" / "weights.bin").read_bytes()
    new_version(site, model_id, write_archive(tmp_path / "pickled.zip", files))
    site.run_all()
    assert site.model(model_id).latest.state is ModelState.FAILED
    accepted = AcceptedRisks(("pickle",), "we have written them ourselves")
    site.models.accept_risks(ADMIN, model_id, version="0.0.2", accepted=accepted)
    site.retry(model_id)
    site.run_all()
    model = site.model(model_id)
    assert model.current_version == "0.0.2"
    assert model.latest.card["weight_format"] == "pickle"


def event(name: str, model_id: UUID, **facts: Any) -> PublicEvent:
    message = getattr(model_pb2, name)(model_id=str(model_id), **facts)
    return PublicEvent(
        position=1,
        type=name,
        time=datetime.now(UTC),
        actor="user:admin",
        partition_key=str(model_id),
        aggregate_id=str(model_id),
        aggregate_version=1,
        event_id=str(uuid4()),
        correlation_id=str(uuid4()),
        causation_id=None,
        message=message,
    )


@pytest.mark.parametrize(
    ("name", "facts", "jobs"),
    [
        ("ModelImportRequested", {"source": "upload", "version": "0.0.1"}, []),
        ("ModelImportRequested", {"source": "url", "version": "0.0.1"}, [("import", "0.0.1")]),
        ("ModelVersionRequested", {"source": "upload", "version": "0.0.2"}, []),
        ("ModelVersionRequested", {"source": "path", "version": "0.0.2"}, [("import", "0.0.2")]),
        ("ModelArchiveReceived", {"version": "0.0.2"}, [("import", "0.0.2")]),
        ("ModelImportRetried", {"version": "0.0.2"}, [("import", "0.0.2")]),
        ("ModelImportCancelled", {"version": "0.0.2"}, [("import-cleanup", "0.0.2")]),
        ("ModelDeleted", {}, [("import-cleanup", None)]),
    ],
)
def test_work_begins_when_everything_for_it_is_there(
    site: Site, name: str, facts: dict[str, Any], jobs: list[tuple[str, str | None]]
) -> None:
    model_id = uuid4()
    asked = event(name, model_id, **facts)
    for _ in range(2):
        with site.pool.connection() as connection, connection.transaction():
            handle(connection.cursor(), [asked])
    with site.pool.connection() as connection:
        rows = connection.execute(
            "SELECT kind, payload ->> 'version' AS version FROM loggia.jobs WHERE model_id = %s",
            (model_id,),
        ).fetchall()
    assert [(row["kind"], row["version"]) for row in rows] == jobs
