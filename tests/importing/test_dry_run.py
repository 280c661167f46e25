"""Dry runs as jobs: whatever happens to their worker, they end and leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from backend.domain.model import ImportRequest
from backend.infra.dry_runs import KIND, DryRuns
from tests.builders.models import tiny_llama, write_archive
from tests.importing.workplace import Site
from workers.importing.dry_run import DryRun


def ask(site: Site, archive: Path) -> UUID:
    request = ImportRequest(
        file_name=archive.name,
        upload_id=site.upload(archive),
        size_bytes=archive.stat().st_size,
    )
    return DryRuns(site.pool).ask(
        "user:admin",
        {
            "request": msgspec.to_builtins(request),
            "model_id": None,
            "correlation_id": str(uuid4()),
        },
    )


def result(site: Site, dry_run: UUID) -> dict[str, Any] | None:
    found = DryRuns(site.pool).find(dry_run)
    assert found is not None
    return found.result


def left_behind(site: Site) -> list[str]:
    return [p for folder in ("blobs", "manifests", "staging") for p in site.store.list(folder)]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_archive(tmp_path / "tiny.zip", tiny_llama())


def test_a_dry_run_leaves_its_result_and_the_upload(site: Site, archive: Path) -> None:
    before = site.events.recorder.max_notification_id()
    dry_run = ask(site, archive)
    assert result(site, dry_run) is None
    assert site.run_one()
    found = result(site, dry_run)
    assert found is not None
    assert found["failure"] is None
    assert found["card"]["architecture"] == "LlamaForCausalLM"
    assert left_behind(site) == []
    assert site.events.recorder.max_notification_id() == before
    assert {reading.model_id for reading in site.telemetry.readings} == {dry_run}


def test_who_takes_over_begins_anew_and_tidies_up(site: Site, archive: Path) -> None:
    dry_run = ask(site, archive)
    claim = site.jobs.claim(KIND, "killed")
    assert claim is not None
    site.store.put(f"staging/{dry_run}/files/{'a' * 64}", [b"half a file"])
    with site.pool.connection() as connection:
        connection.execute("UPDATE loggia.jobs SET lease_until = now() - interval '1 second'")
    assert site.run_one()
    found = result(site, dry_run)
    assert found is not None
    assert found["failure"] is None
    assert left_behind(site) == []


def test_a_fault_that_stays_ends_the_dry_run(
    site: Site, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by a test")

    monkeypatch.setattr(DryRun, "_with_files", broken)
    monkeypatch.setattr("workers.importing.executor._MOST_BACKOFF_SECONDS", 0)
    dry_run = ask(site, archive)
    for _ in range(3):
        assert site.run_one()
    found = result(site, dry_run)
    assert found is not None
    assert found["failure"]["reason"] == "The dry run broke off: ZeroDivisionError: by a test"
    assert found["failure"]["remedy"] == "Look at the import worker's log."
    assert left_behind(site) == []


def test_a_name_that_was_taken_meanwhile_is_told(site: Site, archive: Path) -> None:
    dry_run = ask(site, archive)
    site.request(archive)
    assert site.run_one()
    found = result(site, dry_run)
    assert found is not None
    assert found["failure"]["reason"] == "There is a model named 'tiny' already."
    assert found["events"] == []


def test_imports_go_first(site: Site, archive: Path, tmp_path: Path) -> None:
    dry_run = ask(site, archive)
    other = write_archive(tmp_path / "other.zip", tiny_llama())
    model_id = site.submit(other)
    assert site.run_one()
    assert result(site, dry_run) is None
    assert site.model(model_id).current_version == "0.0.1"
