"""The import job against a real database and a real object store."""

from __future__ import annotations

import errno
import hashlib
import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.application.commands import CommandContext
from backend.domain.model import ImportRequest
from backend.infra.jobs import LeaseLost, fence
from backend.readmodels import parked
from tests.builders.models import sharded, tiny_llama, with_spares, write_archive
from tests.importing.hostile import CASES
from tests.importing.workplace import Site, at_reading
from tests.rig.waiting import eventually
from workers.importing.executor import Executor


def test_an_archive_becomes_a_ready_model_with_verified_files(site: Site, tmp_path: Path) -> None:
    files = tiny_llama()
    model_id = site.submit(write_archive(tmp_path / "tiny-llama.zip", files))

    assert site.run_one()

    assert site.event_names(model_id) == ["Created", "ArchiveReceived", "FilesStored", "Validated"]
    assert site.model(model_id).state == "ready_to_deploy"
    card = site.model(model_id).latest.card
    assert card["architecture"] == "LlamaForCausalLM"
    assert card["parameter_count"] == 361_088
    digest = site.model(model_id).latest.manifest_sha256
    with site.store.open(f"manifests/{digest}.json") as source:
        text = source.read()
    assert hashlib.sha256(text).hexdigest() == digest
    assert json.loads(text)["files"] == [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in sorted(files.items())
    ]
    for data in files.values():
        name = hashlib.sha256(data).hexdigest()
        with site.store.open(f"blobs/sha256/{name[:2]}/{name}") as source:
            assert source.read() == data
    assert site.objects("uploads") == []
    assert site.objects("staging") == []
    assert site.job(model_id)["state"] == "done"


def test_progress_is_reported_in_bytes_and_in_checks(site: Site, tmp_path: Path) -> None:
    files = tiny_llama()
    total = sum(map(len, files.values()))
    model_id = site.submit(write_archive(tmp_path / "tiny-llama.zip", files))
    site.run_one()

    extract = [r for r in site.telemetry.readings if r.step == "extract"]
    validate = [r for r in site.telemetry.readings if r.step == "validate"]
    assert all(r.model_id == model_id and r.kind == "import" for r in extract + validate)
    assert [r.done for r in extract] == sorted(r.done for r in extract)
    assert (extract[0].done, extract[-1].done) == (0, total)
    assert {r.total for r in extract} == {total}
    assert validate[-1].done == validate[-1].total


def inode(site: Site, path: str) -> int:
    local = site.store.local_path(path)
    assert local is not None
    return local.stat().st_ino


def test_shards_are_stored_once_for_two_models(site: Site, tmp_path: Path) -> None:
    files = sharded(tiny_llama())
    first = site.submit(write_archive(tmp_path / "first.zip", files))
    site.run_one()
    before = {path: inode(site, path) for path in site.objects("blobs")}
    second = site.submit(write_archive(tmp_path / "second.zip", {**files, "notes.txt": b"more"}))
    site.run_one()

    after = {path: inode(site, path) for path in site.objects("blobs")}
    assert site.model(first).state == site.model(second).state == "ready_to_deploy"
    assert len(after) == len(before) + 1
    assert {path: after[path] for path in before} == before


def test_a_failed_validation_keeps_the_report_and_the_upload_and_nothing_else(
    site: Site, tmp_path: Path
) -> None:
    files = {k: v for k, v in tiny_llama().items() if k != "tokenizer.json"}
    model_id = site.submit(write_archive(tmp_path / "broken.zip", files))
    site.run_one()

    failure = site.last_event(model_id)
    assert failure.step == "validate"
    assert failure.reason == "There is no tokenizer.json."
    assert failure.remedy == "Add tokenizer.json from the model's source."
    outcomes = {check["id"]: check["outcome"] for check in failure.report["checks"]}
    assert outcomes["tokenizer"] == "fail"
    assert outcomes["weights"] == "pass"
    assert site.objects("blobs") == site.objects("manifests") == site.objects("staging") == []
    assert len(site.objects("uploads")) == 3
    assert site.job(model_id)["state"] == "failed"


def test_a_retry_needs_no_second_upload(site: Site, tmp_path: Path) -> None:
    model_id = site.submit(write_archive(tmp_path / "tiny.zip", tiny_llama()))
    kept = site.place
    small = type(kept.limits)(max_entries=1)
    site.place = type(kept)(**{**vars(kept), "limits": small})
    site.run_one()
    assert site.model(model_id).state == "import_failed"

    site.place = kept
    site.retry(model_id)
    site.run_one()

    assert site.model(model_id).state == "ready_to_deploy"
    assert site.objects("uploads") == []


@pytest.mark.parametrize(("step", "reading"), [("extract", 3), ("extract", 60), ("validate", 9)])
def test_a_cancelled_import_leaves_only_the_upload_and_can_be_retried(
    site: Site, tmp_path: Path, step: str, reading: int
) -> None:
    model_id = site.submit(
        write_archive(tmp_path / "m.zip", with_spares(2), compression=zipfile.ZIP_STORED)
    )

    def cancel() -> None:
        site.cancel(model_id)
        before = site.job(model_id)["lease_until"]
        eventually(lambda: site.job(model_id)["lease_until"] != before, "the worker has heard")

    site.telemetry.watch = at_reading(step, reading, cancel)
    site.run_all()
    assert site.event_names(model_id)[-1] == "ImportCancelled"
    assert site.job(model_id)["state"] == "cancelled"
    assert list(site.residue()) == ["uploads"]

    site.telemetry.watch = lambda _: None
    site.retry(model_id)
    site.run_all()
    assert site.model(model_id).state == "ready_to_deploy"
    assert list(site.residue()) == ["blobs", "manifests"]


def test_a_cancellation_that_the_job_has_not_heard_of_still_counts(
    site: Site, tmp_path: Path
) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    site.telemetry.watch = at_reading(
        "validate",
        14,
        lambda: site.models.cancel_import(CommandContext("user:admin"), model_id),
    )
    site.run_one()
    assert site.event_names(model_id)[-1] == "ImportCancelled"
    assert list(site.residue()) == ["uploads"]


def test_a_queued_import_that_is_cancelled_never_begins(site: Site, tmp_path: Path) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    site.cancel(model_id)
    site.run_all()
    assert site.telemetry.readings == []
    assert site.job(model_id)["state"] == "cancelled"


def test_cancelling_an_unfinished_upload_removes_its_bytes(site: Site, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "m.zip", tiny_llama())
    upload_id = site.upload(archive, parts=4)
    with site.pool.connection() as connection:
        connection.execute("UPDATE loggia.uploads SET completed_at = NULL")
    model_id = site.models.request_import(
        CommandContext("user:admin"),
        ImportRequest(file_name="m.zip", upload_id=upload_id, size_bytes=archive.stat().st_size),
    ).id
    site.models.cancel_import(CommandContext("user:admin"), model_id)
    site.ask_to_stop(model_id)
    site.run_all()
    assert site.residue() == {}
    assert site.uploads.get(upload_id) is None


def test_a_deleted_model_takes_its_files_along_but_not_those_of_others(
    site: Site, tmp_path: Path
) -> None:
    files = tiny_llama()
    first = site.submit(write_archive(tmp_path / "first.zip", files))
    second = site.submit(write_archive(tmp_path / "second.zip", {**files, "notes.txt": b"more"}))
    site.run_all()
    site.delete(second)
    site.run_all()
    assert len(site.objects("blobs")) == len(files)
    assert len(site.objects("manifests")) == 1
    site.delete(first)
    site.run_all()
    assert site.residue() == {}


def test_a_failed_import_does_not_take_another_models_files(site: Site, tmp_path: Path) -> None:
    files = tiny_llama()
    good = site.submit(write_archive(tmp_path / "good.zip", files))
    bad = site.submit(write_archive(tmp_path / "bad.zip", {**files, "tokenizer.json": b"{}"}))
    site.run_all()
    assert site.model(good).state == "ready_to_deploy"
    assert site.model(bad).state == "import_failed"
    assert len(site.objects("blobs")) == len(files)


def test_two_failed_imports_of_the_same_files_leave_nothing(site: Site, tmp_path: Path) -> None:
    files = {**tiny_llama(), "tokenizer.json": b"{}"}
    for name in ("one.zip", "two.zip"):
        site.submit(write_archive(tmp_path / name, files))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: site.run_one(), range(2)))
    assert list(site.residue()) == ["uploads"]


def test_a_file_that_vanishes_before_it_is_published_is_stored_again(
    site: Site, tmp_path: Path
) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    gone: list[str] = []

    original = site.place.residue.nothing_removed

    @contextmanager
    def removed_just_before() -> Iterator[None]:
        if not gone:
            gone.append(site.objects("blobs")[0])
            site.store.delete(gone[0])
        with original():
            yield

    site.place.residue.nothing_removed = removed_just_before  # type: ignore[method-assign]
    site.run_one()
    assert site.model(model_id).state == "ready_to_deploy"
    assert gone[0] in site.objects("blobs")


def test_a_hostile_archive_leaves_nothing_and_says_what_it_is(site: Site, tmp_path: Path) -> None:
    for name in ("parent", "ratio 1000", "checksum", "truncated", "not a zip", "hidden ratio"):
        archive = tmp_path / f"{name.replace(' ', '-')}.zip"
        data, _, words = CASES[name]
        archive.write_bytes(data)
        model_id = site.submit(archive)
        site.run_one()
        failure = site.last_event(model_id)
        assert failure.step == "extract"
        assert words in failure.reason
        assert failure.remedy
        site.delete(model_id)
        site.run_all()
    assert site.residue() == {}


def test_a_full_disk_fails_the_import_cleanly(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    original = type(site.store.stage()).write

    def full(staged: object, chunk: bytes) -> int:
        if len(chunk) > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(staged, chunk)  # type: ignore[arg-type]

    staged = site.store.stage()
    monkeypatch.setattr(type(staged), "write", full)
    staged.discard()
    for left in site.objects("staging"):
        site.store.delete(left)
    site.run_one()
    failure = site.last_event(model_id)
    assert "no room left" in failure.reason
    assert list(site.residue()) == ["uploads"]


def test_a_fault_that_stays_is_parked_for_the_administrator(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    monkeypatch.setattr(
        type(site.store), "stage", lambda *_: (_ for _ in ()).throw(OSError(5, "disk on fire"))
    )
    monkeypatch.setattr(Executor, "_back_off", lambda self, claim: site.jobs.release(claim))
    site.run_all()
    assert site.job(model_id)["state"] == "parked"
    assert "disk on fire" in parked.read(site.pool).jobs[0].error
    assert "disk on fire" in site.last_event(model_id).reason


def test_a_worker_without_its_claim_writes_nothing(site: Site, tmp_path: Path) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    first = site.jobs.claim("import", "first")
    assert first is not None
    with site.pool.connection() as connection:
        connection.execute("UPDATE loggia.jobs SET lease_until = now() - interval '1 second'")
    second = site.jobs.claim("import", "second")
    assert second is not None
    assert second.attempt == first.attempt + 1

    with pytest.raises(LeaseLost):
        site.models.record_import_failed(
            CommandContext("worker:import"),
            model_id,
            "0.0.1",
            step="extract",
            reason="stale",
            remedy="none",
            fence=fence(first),
        )
    with pytest.raises(LeaseLost):
        site.jobs.write_journal(first, {"files": {}})
    assert site.event_names(model_id) == ["Created", "ArchiveReceived"]
