"""The collector finds exactly what nothing refers to, and hurts nobody."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from backend.application.commands import CommandContext
from backend.infra.settings import Settings
from tests.builders.models import tiny_llama, with_spares, write_archive
from tests.importing.litter import litter
from tests.importing.workplace import Site, at_reading, open_site
from tests.rig.s3 import S3Store, s3_store
from workers.importing.residue import CLEANUP


@pytest.fixture
def s3_site(tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with s3_store() as store:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        settings = Settings(
            _env_file=None,
            data_dir=tmp_path / "data",
            postgres_dsn=postgres,
            kafka_bootstrap_servers="127.0.0.1:1",
            object_store_url=f"s3://{store.bucket}/loggia",
            object_store_endpoint=store.endpoint,
            job_lease_seconds=5,
        )
        with open_site(settings) as site:
            site.bucket = store  # type: ignore[attr-defined]
            yield site


def test_a_store_without_orphans_has_nothing_to_collect(site: Site, tmp_path: Path) -> None:
    ready = site.submit(write_archive(tmp_path / "ready.zip", tiny_llama()))
    failed = site.submit(write_archive(tmp_path / "failed.zip", {"a.txt": b"no model"}))
    deleted = site.submit(write_archive(tmp_path / "deleted.zip", {**tiny_llama(), "b": b"b"}))
    site.run_all()
    site.delete(deleted)
    site.run_all()
    site.request(write_archive(tmp_path / "unfinished.zip", tiny_llama()), complete=False)
    before = site.residue()
    assert site.collect() == {}
    assert site.residue() == before
    assert site.model(ready).state == "ready_to_deploy"
    site.retry(failed)
    site.run_all()
    assert site.last_event(failed).reason != "The uploaded archive is no longer stored."


def test_orphans_are_named_first_and_then_removed_and_nothing_else(
    site: Site, tmp_path: Path
) -> None:
    site.submit(write_archive(tmp_path / "ready.zip", tiny_llama()))
    site.run_all()
    before = site.residue()
    littered = litter(site)

    named = site.collect(remove=False)
    assert set(named) == set(littered.values())
    for path, what in littered.items():
        listed = "/".join(path.split("/")[:2]) if path.startswith("uploads") else path
        assert listed in named[what].names
        assert not named[what].removed
    assert sum(found.size_bytes for found in named.values()) == 5 * len(littered)

    removed = site.collect()
    assert {what: found.names for what, found in removed.items()} == {
        what: found.names for what, found in named.items()
    }
    assert all(found.removed for found in removed.values())
    assert site.residue() == before
    assert site.collect() == {}


def test_what_is_young_is_left_alone(site: Site) -> None:
    littered = litter(site)
    assert site.collect(grace_seconds=3600) == {}
    old = next(iter(littered))
    file = site.store.local_path(old)
    assert file is not None
    os.utime(file, (0, 0))
    assert [found.names for found in site.collect(grace_seconds=3600).values()] == [[old]]


def test_the_same_in_a_remote_store(s3_site: Site, tmp_path: Path) -> None:
    site, store = s3_site, s3_site.bucket  # type: ignore[attr-defined]
    assert isinstance(store, S3Store)
    site.submit(write_archive(tmp_path / "ready.zip", tiny_llama()))
    site.run_all()
    before = store.names()
    littered = litter(site)
    store.client.create_multipart_upload(Bucket=store.bucket, Key=f"loggia/staging/{'f' * 32}")
    found = site.collect()
    assert set(found) == {*littered.values(), "unfinished writes"}
    assert store.names() == before
    assert store.unfinished() == []
    assert site.collect() == {}


@pytest.mark.parametrize(("step", "reading"), [("extract", 2), ("extract", 90), ("validate", 5)])
def test_a_running_import_is_not_hurt(site: Site, tmp_path: Path, step: str, reading: int) -> None:
    model_id = site.submit(
        write_archive(tmp_path / "m.zip", with_spares(2), compression=zipfile.ZIP_STORED)
    )
    site.telemetry.watch = at_reading(step, reading, site.collect)
    site.run_all()
    assert site.model(model_id).state == "ready_to_deploy"
    assert site.collect() == {}


def test_an_orphan_that_an_import_needs_again_meanwhile_stays_whole(
    site: Site, tmp_path: Path
) -> None:
    files = tiny_llama()
    archive = write_archive(tmp_path / "m.zip", files)
    first = site.submit(archive, name="first.zip")
    site.run_all()
    with site.pool.connection() as connection:
        connection.execute("UPDATE loggia.jobs SET journal = '{}'")
    site.models.delete(CommandContext("user:admin"), first)
    second = site.submit(archive, name="second.zip")
    site.telemetry.watch = at_reading("validate", 1, site.collect)
    site.run_all()
    assert site.model(second).state == "ready_to_deploy"
    assert site.collect() == {}
    assert len(site.objects("blobs")) == len(files)


def test_the_files_of_a_model_whose_job_is_lost_are_known_by_its_events(
    site: Site, tmp_path: Path
) -> None:
    kept = site.submit(write_archive(tmp_path / "kept.zip", tiny_llama()))
    gone = site.submit(write_archive(tmp_path / "gone.zip", {**tiny_llama(), "notes.txt": b"x"}))
    site.run_all()
    before = site.residue()
    with site.pool.connection() as connection:
        connection.execute("DELETE FROM loggia.jobs")
    assert site.collect() == {}
    assert site.residue() == before
    site.models.delete(CommandContext("user:admin"), gone)
    assert {what: found.count for what, found in site.collect().items()} == {
        "files that nothing refers to": 1,
        "manifests that nothing refers to": 1,
    }
    digest = site.model(kept).latest.manifest_sha256
    assert site.objects("manifests") == [f"manifests/{digest}.json"]


def test_what_is_needed_and_gone_is_told_and_not_removed(site: Site, tmp_path: Path) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    site.run_all()
    digest = site.model(model_id).latest.manifest_sha256
    with site.store.open(f"manifests/{digest}.json") as source:
        first, second = json.load(source)["files"][:2]
    gone = f"blobs/sha256/{first['sha256'][:2]}/{first['sha256']}"
    site.store.delete(gone)
    altered = f"blobs/sha256/{second['sha256'][:2]}/{second['sha256']}"
    site.store.put(altered, [b"short"])
    found = site.collect()
    assert {what: group.names for what, group in found.items()} == {
        "files that are needed and gone": [gone],
        "files of a wrong size": [altered],
    }
    assert all(group.lost and not group.removed for group in found.values())


def test_an_upload_without_its_bytes_is_given_up(site: Site, tmp_path: Path) -> None:
    model_id = site.request(write_archive(tmp_path / "m.zip", tiny_llama()), complete=False)
    upload_id = site.model(model_id).latest.upload_id
    assert upload_id is not None
    site.store.delete(site.objects("uploads")[0])
    found = site.collect()
    assert [group.names for group in found.values()] == [[str(upload_id)]]
    assert site.uploads.get(upload_id) is None
    assert site.objects("uploads") == []
    assert "Bytes of the upload are gone" in site.last_event(model_id).reason


def test_rows_of_what_is_gone_are_removed(site: Site, tmp_path: Path) -> None:
    model_id = site.submit(write_archive(tmp_path / "m.zip", tiny_llama()))
    site.run_all()
    journal = site.job(model_id)["journal"]
    site.delete(model_id)
    site.run_all()
    with site.pool.connection() as connection:
        connection.execute(
            "UPDATE loggia.jobs SET journal = %s WHERE kind <> %s", (json.dumps(journal), CLEANUP)
        )
        connection.execute(
            "INSERT INTO loggia.model_names VALUES ('m', %s), ('never', %s)", (model_id, uuid4())
        )
        connection.execute(
            "INSERT INTO loggia.connections VALUES (%s, 'hub', 'http', 'http://a', NULL, 'x')",
            (uuid4(),),
        )
    found = site.collect()
    assert {what: sorted(group.names) for what, group in found.items()} == {
        "journals of imports that are over": [str(site.job(model_id)["id"])],
        "names of models that are deleted": ["m", "never"],
        "connections that were removed": ["hub"],
    }
    assert site.collect() == {}
