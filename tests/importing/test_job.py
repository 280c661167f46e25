"""The import job against a real database and a real object store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.builders.models import sharded, tiny_llama, write_archive
from tests.importing.workplace import Site


def blobs(site: Site) -> set[str]:
    return {path.rsplit("/", 1)[1] for path in site.objects("blobs")}


def test_an_archive_becomes_a_ready_model_with_verified_files(site: Site, tmp_path: Path) -> None:
    files = tiny_llama()
    model_id = site.submit(write_archive(tmp_path / "tiny-llama.zip", files))

    assert site.run_one()

    assert site.event_names(model_id) == ["Created", "ArchiveReceived", "FilesStored", "Validated"]
    assert site.model(model_id).state == "ready_to_deploy"
    card = site.model(model_id).card
    assert card["architecture"] == "LlamaForCausalLM"
    assert card["parameter_count"] == 361_088
    digest = site.model(model_id).manifest_sha256
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


def test_shards_are_stored_once_for_two_models(site: Site, tmp_path: Path) -> None:
    files = sharded(tiny_llama())
    first = site.submit(write_archive(tmp_path / "first.zip", files))
    site.run_one()
    before = {path: site.store.local_path(path).stat().st_ino for path in site.objects("blobs")}
    second = site.submit(write_archive(tmp_path / "second.zip", {**files, "notes.txt": b"more"}))
    site.run_one()

    after = {path: site.store.local_path(path).stat().st_ino for path in site.objects("blobs")}
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
    from backend.application.commands import CommandContext

    site.models.retry_import(CommandContext("user:admin"), model_id)
    site.enqueue(model_id)
    site.run_one()

    assert site.model(model_id).state == "ready_to_deploy"
    assert site.objects("uploads") == []
