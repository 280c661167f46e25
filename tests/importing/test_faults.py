"""Workers that die or sleep in the middle of an import, as processes of their own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from tests.builders.models import tiny_llama, write_archive
from tests.importing.test_job import with_spares
from tests.importing.workplace import Site
from tests.rig.waiting import eventually

MEMBER_BYTES = 9 << 20
MEMBERS = 4
CHUNK_BYTES = 1 << 18
CHUNKS = MEMBERS * MEMBER_BYTES // CHUNK_BYTES


class WorkerProcess:
    """The executor of another process, on the same database and store."""

    def __init__(self, site: Site, log: Path, **environment: str) -> None:
        self.log = log
        self._out = log.open("w")
        settings = site.settings
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.importing.worker_process"],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("LOGGIA_")},
                "LOGGIA_DATA_DIR": str(settings.data_dir),
                "LOGGIA_POSTGRES_DSN": settings.dsn,
                "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
                "LOGGIA_JOB_LEASE_SECONDS": str(settings.job_lease_seconds),
                **environment,
            },
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )

    def says(self, words: str) -> None:
        eventually(lambda: words in self.log.read_text(), f"the worker says '{words}'")

    def paused(self) -> None:
        process = psutil.Process(self.process.pid)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, "the worker sleeps")

    def died(self) -> int:
        return self.process.wait(timeout=60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._out.close()


@pytest.fixture
def other(site: Site, tmp_path: Path) -> Iterator[type]:
    started: list[WorkerProcess] = []

    def start(**environment: str) -> WorkerProcess:
        started.append(WorkerProcess(site, tmp_path / f"worker-{len(started)}.log", **environment))
        return started[-1]

    yield start  # type: ignore[misc]
    for process in started:
        process.close()


def submit(site: Site, tmp_path: Path, files: dict[str, bytes]) -> UUID:
    return site.submit(write_archive(tmp_path / "m.zip", files, compression=zipfile.ZIP_STORED))


def finished(site: Site, model_id: UUID, files: dict[str, bytes]) -> None:
    """Everything reached its end once, and nothing else is there."""
    assert site.event_names(model_id) == ["Created", "ArchiveReceived", "FilesStored", "Validated"]
    assert site.job(model_id)["state"] == "done"
    assert set(site.collect()) <= {"half-written files"}
    expected = {hashlib.sha256(data).hexdigest() for data in files.values()}
    assert {path.rsplit("/", 1)[1] for path in site.objects("blobs")} == expected
    for path in site.objects("blobs"):
        with site.store.open(path) as source:
            assert hashlib.sha256(source.read()).hexdigest() == path.rsplit("/", 1)[1]
    assert list(site.residue()) == ["blobs", "manifests"]


@pytest.mark.parametrize("percent", [10, 50, 90])
def test_a_worker_killed_in_the_middle_is_resumed_at_the_last_whole_file(
    site: Site, tmp_path: Path, other: type[WorkerProcess], percent: int
) -> None:
    files = with_spares(MEMBERS, MEMBER_BYTES >> 20)
    model_id = submit(site, tmp_path, files)
    chunk = CHUNKS * percent // 100
    worker = other(LOGGIA_FAILPOINTS=f"import.chunk={chunk}")
    assert worker.died() == -signal.SIGKILL

    eventually(site.run_one, "the lease ends and the job is taken over")
    finished(site, model_id, files)
    resumed_at = site.telemetry.readings[0].done
    # At most the file being read, the one being written and the small ones are read again.
    assert resumed_at >= chunk * CHUNK_BYTES - 3 * MEMBER_BYTES
    if percent == 90:
        assert resumed_at >= MEMBER_BYTES


@pytest.mark.parametrize(
    "failpoint",
    [
        "import.journaled=1",
        "import.journaled=3",
        "import.files-recorded",
        "import.checked=1",
        "import.checked=12",
        "import.ended",
        "import.tidied",
    ],
)
def test_a_worker_killed_at_any_step_is_resumed(
    site: Site, tmp_path: Path, other: type[WorkerProcess], failpoint: str
) -> None:
    files = with_spares(2, 9)
    model_id = submit(site, tmp_path, files)
    worker = other(LOGGIA_FAILPOINTS=failpoint)
    assert worker.died() == -signal.SIGKILL
    eventually(site.run_one, "the lease ends and the job is taken over")
    finished(site, model_id, files)


@pytest.mark.parametrize("failpoint", ["import.ended", "import.tidied"])
def test_a_worker_killed_while_it_fails_leaves_nothing(
    site: Site, tmp_path: Path, other: type[WorkerProcess], failpoint: str
) -> None:
    model_id = submit(site, tmp_path, {**tiny_llama(), "config.json": b"{}"})
    worker = other(LOGGIA_FAILPOINTS=failpoint)
    assert worker.died() == -signal.SIGKILL
    eventually(site.run_one, "the lease ends and the job is taken over")
    assert site.event_names(model_id).count("ImportFailed") == 1
    assert site.job(model_id)["state"] == "failed"
    assert list(site.residue()) == ["uploads"]


def test_a_killed_import_that_is_cancelled_leaves_nothing(
    site: Site, tmp_path: Path, other: type[WorkerProcess]
) -> None:
    model_id = submit(site, tmp_path, with_spares(2, 9))
    worker = other(LOGGIA_FAILPOINTS="import.files-recorded")
    assert worker.died() == -signal.SIGKILL
    site.cancel(model_id)
    eventually(lambda: site.run_all() or site.job(model_id)["state"] == "cancelled", "it ends")
    assert list(site.residue()) == ["uploads"]


@pytest.mark.parametrize("at", ["extract:20", "extract:60", "validate:9", "validate:15"])
def test_a_worker_that_sleeps_past_its_lease_changes_nothing_when_it_wakes(
    site: Site, tmp_path: Path, other: type[WorkerProcess], at: str
) -> None:
    files = with_spares(2, 9)
    model_id = submit(site, tmp_path, files)
    sleeper = other(PAUSE_AT=at)
    sleeper.paused()
    eventually(site.run_one, "the lease ends and the job is taken over")
    assert site.model(model_id).state == "ready_to_deploy"
    before = {
        path: (local.stat().st_ino, local.stat().st_mtime_ns)
        for path in site.objects("blobs")
        if (local := site.store.local_path(path))
    }
    job = site.job(model_id)

    sleeper.process.send_signal(signal.SIGCONT)
    sleeper.says("job given up")
    sleeper.process.send_signal(signal.SIGTERM)
    assert sleeper.died() == 0
    after = {
        path: (local.stat().st_ino, local.stat().st_mtime_ns)
        for path in site.objects("blobs")
        if (local := site.store.local_path(path))
    }
    assert after == before
    assert site.job(model_id) == job
    finished(site, model_id, files)


def test_a_worker_that_is_told_to_stop_gives_its_job_back_at_once(
    site: Site, tmp_path: Path, other: type[WorkerProcess]
) -> None:
    files = with_spares(4, 9)
    model_id = submit(site, tmp_path, files)
    worker = other(PAUSE_AT="extract:70")
    worker.paused()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.died() == 0
    assert site.job(model_id)["state"] == "queued"
    assert site.objects("staging") == []

    assert site.run_one()
    finished(site, model_id, files)
    assert site.telemetry.readings[0].done >= MEMBER_BYTES
