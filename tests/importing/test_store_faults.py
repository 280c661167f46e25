"""Faults of the object store and of the disk: never a ready model with wrong bytes."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from backend.infra import object_store
from backend.infra.settings import Settings
from backend.infra.stored_bytes import stored_bytes
from tests.builders.models import tiny_llama, with_spares, write_archive
from tests.importing.workplace import Site, open_site
from tests.rig.s3 import S3Store, s3_store
from tests.rig.s3_faults import FaultyStore
from tests.rig.small_disk import small_file_system
from workers.importing.executor import Executor
from workers.importing.quota import Quota


@pytest.fixture
def store() -> Iterator[S3Store]:
    with s3_store() as running:
        yield running


@pytest.fixture
def faulty(store: S3Store) -> Iterator[FaultyStore]:
    with FaultyStore(store.endpoint) as proxy:
        yield proxy


@pytest.fixture
def site(
    tmp_path: Path,
    postgres: str,
    store: S3Store,
    faulty: FaultyStore,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", store.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", store.secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # The same patience as ever, only shorter.
    hasty = {"connect_timeout": 2, "read_timeout": 0.5, "retries": {"max_attempts": 1}}
    monkeypatch.setattr(object_store, "_S3_CONFIG", hasty)
    monkeypatch.setattr(object_store, "_S3_BLOCK_BYTES", 5 << 20)
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        object_store_url=f"s3://{store.bucket}/loggia",
        object_store_endpoint=faulty.endpoint,
        job_lease_seconds=5,
    )
    with open_site(settings) as opened:
        monkeypatch.setattr(Executor, "_back_off", lambda self, claim: opened.jobs.release(claim))
        yield opened


def submitted(site: Site, tmp_path: Path, files: dict[str, bytes]) -> UUID:
    return site.submit(write_archive(tmp_path / "m.zip", files, compression=zipfile.ZIP_STORED))


def content_is_right(site: Site, store: S3Store, model_id: UUID) -> None:
    """Every object has the content that its name and the manifest say."""
    assert site.model(model_id).state == "ready_to_deploy"
    digest = site.model(model_id).latest.manifest_sha256
    names = store.names()
    for name in names:
        content = store.client.get_object(Bucket=store.bucket, Key=name)["Body"].read()
        kind, found = name.removeprefix("loggia/").split("/")[0], name.rsplit("/", 1)[1]
        assert kind in {"blobs", "manifests"}
        assert hashlib.sha256(content).hexdigest() == found.removesuffix(".json")
        if kind == "manifests":
            assert found == f"{digest}.json"
            listed = {row["sha256"] for row in json.loads(content)["files"]}
    assert listed == {name.rsplit("/", 1)[1] for name in names if "/blobs/" in name}
    assert store.unfinished() == []


def first(times: int, fault: str, method: str, part: str) -> object:
    """The fault at the first so many requests with this method and part of the path."""
    left = times

    def decide(asked: str, path: str) -> str | None:
        nonlocal left
        if asked == method and part in path and left:
            left -= 1
            return fault
        return None

    return decide


PASSING = [
    ("unavailable", "PUT", "staging"),
    ("unavailable", "POST", "staging"),
    ("unavailable", "GET", "uploads"),
    ("unavailable", "PUT", "blobs"),
    ("silent", "PUT", "staging"),
    ("silent", "GET", "uploads"),
    ("cut", "GET", "uploads"),
    ("short", "GET", "uploads"),
    ("refused upload", "PUT", "staging"),
    ("wrong tag", "PUT", "staging"),
    ("cut", "GET", "blobs"),
]


@pytest.mark.parametrize(("fault", "method", "part"), PASSING)
def test_a_fault_of_the_store_that_passes_does_no_harm(
    site: Site,
    store: S3Store,
    faulty: FaultyStore,
    tmp_path: Path,
    fault: str,
    method: str,
    part: str,
) -> None:
    model_id = submitted(site, tmp_path, with_spares(1, 12))
    faulty.decide = first(2, fault, method, part)  # type: ignore[assignment]
    site.run_all()
    assert faulty.met == [fault] * 2
    state = site.model(model_id).state
    if state == "import_failed":
        failure = site.last_event(model_id)
        assert failure.reason
        assert failure.remedy
        faulty.decide = lambda *_: None
        site.retry(model_id)
        site.run_all()
    content_is_right(site, store, model_id)


@pytest.mark.parametrize("fault", ["unavailable", "silent", "refused upload"])
def test_a_fault_of_the_store_that_stays_fails_the_import_in_bounds(
    site: Site,
    store: S3Store,
    faulty: FaultyStore,
    tmp_path: Path,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workers.importing.job.MOST_ATTEMPTS", 2)
    model_id = submitted(site, tmp_path, tiny_llama())
    faulty.decide = lambda method, path: (
        fault if method in {"PUT", "POST"} and "staging" in path else None
    )
    site.run_all()
    assert site.model(model_id).state == "import_failed"
    failure = site.last_event(model_id)
    assert failure.reason
    assert failure.remedy
    assert 0 < len(faulty.met) < 100

    faulty.decide = lambda *_: None
    site.retry(model_id)
    site.run_all()
    content_is_right(site, store, model_id)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    with small_file_system(folder) as disk:
        yield disk


def test_a_disk_that_is_full_in_the_middle_fails_the_import_and_frees_its_room(
    small_disk: Path, tmp_path: Path, postgres: str
) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        postgres_dsn=postgres,
        kafka_bootstrap_servers="127.0.0.1:1",
        object_store_url=(small_disk / "objects").as_uri(),
        job_lease_seconds=30,
    )
    with open_site(settings) as site:
        small = site.submit(write_archive(tmp_path / "small.zip", tiny_llama()))
        site.run_one()
        before = os.statvfs(small_disk).f_bavail
        large = submitted(site, tmp_path, with_spares(2, 6))
        site.run_one()
        failure = site.last_event(large)
        assert "no room left" in failure.reason
        assert "Free some space" in failure.remedy
        assert site.objects("staging") == []
        # Only the upload is kept, for a retry.
        kept = sum(site.store.size(path) for path in site.objects("uploads"))
        assert kept == (tmp_path / "m.zip").stat().st_size
        site.delete(large)
        site.run_all()
        assert os.statvfs(small_disk).f_bavail >= before - 16

        other = site.submit(write_archive(tmp_path / "other.zip", {**tiny_llama(), "a.txt": b"a"}))
        site.run_one()
        assert site.model(small).state == site.model(other).state == "ready_to_deploy"


def test_an_import_above_the_quota_is_refused_and_leaves_nothing(
    site: Site, tmp_path: Path
) -> None:
    files = tiny_llama()
    size = sum(map(len, files.values()))
    place = site.place
    quota = Quota(site.pool, site.store, size + 1000)
    site.place = type(place)(**{**vars(place), "quota": quota})
    first = site.submit(write_archive(tmp_path / "first.zip", files))
    site.run_one()
    assert site.model(first).state == "ready_to_deploy"
    assert stored_bytes(site.pool) == size
    more = site.submit(write_archive(tmp_path / "more.zip", {**files, "x.txt": bytes(5000)}))
    site.run_one()
    failure = site.last_event(more)
    assert f"{size + 1000} are allowed" in failure.reason
    assert "LOGGIA_OBJECT_STORE_QUOTA_BYTES" in failure.remedy
    assert stored_bytes(site.pool) == size
    assert len(site.objects("blobs")) == len(files)
    site.delete(first)
    site.run_all()
    site.retry(more)
    site.run_all()
    assert site.model(more).state == "import_failed"
    stored = write_archive(tmp_path / "again.zip", files, compression=zipfile.ZIP_STORED)
    again = site.submit(stored)
    site.run_one()
    assert site.model(again).state == "ready_to_deploy"
