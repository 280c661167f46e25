"""Workers that die or sleep in the middle of an import, as processes of their own."""

from __future__ import annotations

import signal
import zipfile
from pathlib import Path
from uuid import UUID

import pytest

from tests.builders.models import tiny_llama, with_spares, write_archive
from tests.importing.other_worker import OtherWorker
from tests.importing.workplace import Site, finished
from tests.rig.waiting import eventually

MEMBER_BYTES = 9 << 20
MEMBERS = 4
CHUNK_BYTES = 1 << 18
CHUNKS = MEMBERS * MEMBER_BYTES // CHUNK_BYTES


def submit(site: Site, tmp_path: Path, files: dict[str, bytes]) -> UUID:
    return site.submit(write_archive(tmp_path / "m.zip", files, compression=zipfile.ZIP_STORED))


@pytest.mark.parametrize("percent", [10, 50, 90])
def test_a_worker_killed_in_the_middle_is_resumed_at_the_last_whole_file(
    site: Site, tmp_path: Path, other: OtherWorker, percent: int
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
    site: Site, tmp_path: Path, other: OtherWorker, failpoint: str
) -> None:
    files = with_spares(2, 9)
    model_id = submit(site, tmp_path, files)
    worker = other(LOGGIA_FAILPOINTS=failpoint)
    assert worker.died() == -signal.SIGKILL
    eventually(site.run_one, "the lease ends and the job is taken over")
    finished(site, model_id, files)


@pytest.mark.parametrize("failpoint", ["import.ended", "import.tidied"])
def test_a_worker_killed_while_it_fails_leaves_nothing(
    site: Site, tmp_path: Path, other: OtherWorker, failpoint: str
) -> None:
    model_id = submit(site, tmp_path, {**tiny_llama(), "config.json": b"{}"})
    worker = other(LOGGIA_FAILPOINTS=failpoint)
    assert worker.died() == -signal.SIGKILL
    eventually(site.run_one, "the lease ends and the job is taken over")
    assert site.event_names(model_id).count("ImportFailed") == 1
    assert site.job(model_id)["state"] == "failed"
    assert list(site.residue()) == ["uploads"]


def test_a_killed_import_that_is_cancelled_leaves_nothing(
    site: Site, tmp_path: Path, other: OtherWorker
) -> None:
    model_id = submit(site, tmp_path, with_spares(2, 9))
    worker = other(LOGGIA_FAILPOINTS="import.files-recorded")
    assert worker.died() == -signal.SIGKILL
    site.cancel(model_id)

    def ended() -> bool:
        site.run_all()
        return site.job(model_id)["state"] == "cancelled"

    eventually(ended, "it ends")
    assert list(site.residue()) == ["uploads"]


@pytest.mark.parametrize("at", ["extract:20", "extract:60", "validate:9", "validate:15"])
def test_a_worker_that_sleeps_past_its_lease_changes_nothing_when_it_wakes(
    site: Site, tmp_path: Path, other: OtherWorker, at: str
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
    site: Site, tmp_path: Path, other: OtherWorker
) -> None:
    files = with_spares(5, 9)
    model_id = submit(site, tmp_path, files)
    # 35 MiB are read, at most 16 MiB of them ahead of what is written: two files are stored.
    worker = other(PAUSE_AT="extract:140")
    worker.paused()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.send_signal(signal.SIGCONT)
    assert worker.died() == 0
    assert site.job(model_id)["state"] == "queued"
    assert site.objects("staging") == []

    assert site.run_one()
    finished(site, model_id, files)
    assert site.telemetry.readings[0].done >= MEMBER_BYTES
