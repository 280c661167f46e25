"""A worker that dies while it fetches is followed by one that goes on."""

from __future__ import annotations

import hashlib
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.builders.models import spare, tiny_llama, write_archive
from tests.importing.other_worker import OtherWorker
from tests.importing.sources.asking import READY, from_url, manifest_of, request, serve
from tests.importing.workplace import Site
from tests.rig.waiting import eventually
from tests.sources.answering import AnsweringServer, Asked, file_server

BIG = 150
# Chunks are of at most 64 KiB: the worker dies behind the first 64 MiB, before the end.
BEHIND_THE_FIRST_PART = 2000


def ranges(server: AnsweringServer, path: str) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked if asked.path == path]


def test_a_killed_fetch_goes_on_at_the_file_and_near_the_byte_where_it_was(
    site: Site, other: OtherWorker
) -> None:
    files = {**tiny_llama(), "spare.safetensors": spare(1, BIG)}
    with AnsweringServer(serve({f"/{path}": data for path, data in files.items()})) as server:
        listed = [{"path": path, "address": f"{server.url}/{path}"} for path in files]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        worker = other(LOGGIA_FAILPOINTS=f"import.fetched={BEHIND_THE_FIRST_PART}")
        assert worker.died() == -signal.SIGKILL
        eventually(site.run_one, "the lease ends and the job is taken over")
        assert site.event_names(model_id) == READY
        first, second = ranges(server, "/spare.safetensors")
    assert first is None
    assert second is not None
    assert 64 << 20 <= int(second.removeprefix("bytes=").rstrip("-")) < 65 << 20
    rows = {row["path"]: row["sha256"] for row in manifest_of(site, model_id)}
    assert rows["spare.safetensors"] == hashlib.sha256(files["spare.safetensors"]).hexdigest()
    assert list(site.residue()) == ["blobs", "manifests"]


def test_a_killed_download_of_an_archive_goes_on_behind_its_last_part(
    site: Site, tmp_path: Path, other: OtherWorker
) -> None:
    files = {**tiny_llama(), "spare.safetensors": spare(1, BIG)}
    archive = write_archive(tmp_path / "m.zip", files, compression=zipfile.ZIP_STORED).read_bytes()
    with AnsweringServer(serve({"/m.zip": archive})) as server:
        model_id = request(site, "tiny", url=from_url(f"{server.url}/m.zip"))
        worker = other(LOGGIA_FAILPOINTS=f"import.fetched={BEHIND_THE_FIRST_PART}")
        assert worker.died() == -signal.SIGKILL
        eventually(site.run_one, "the lease ends and the job is taken over")
        assert site.event_names(model_id) == READY
        first, second = ranges(server, "/m.zip")
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").rstrip("-")) >= 64 << 20
    assert list(site.residue()) == ["blobs", "manifests"]


def test_a_file_that_changed_between_two_workers_is_fetched_anew(
    site: Site, other: OtherWorker
) -> None:
    contents = {f"/{path}": data for path, data in tiny_llama().items()}
    contents["/spare.safetensors"] = spare(1, BIG)
    etag = ['"v1"']

    def speak(asked: Asked, connection: Any) -> None:
        file_server(contents[asked.path], cut_after=[], etag=etag[0])(asked, connection)

    with AnsweringServer(speak) as server:
        listed = [{"path": p[1:], "address": f"{server.url}{p}"} for p in contents]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        worker = other(LOGGIA_FAILPOINTS=f"import.fetched={BEHIND_THE_FIRST_PART}")
        assert worker.died() == -signal.SIGKILL
        etag[0], contents["/spare.safetensors"] = '"v2"', spare(2, BIG)
        eventually(site.run_one, "the lease ends and the job is taken over")
    rows = {row["path"]: row["sha256"] for row in manifest_of(site, model_id)}
    assert rows["spare.safetensors"] == hashlib.sha256(contents["/spare.safetensors"]).hexdigest()


@pytest.mark.parametrize("failpoint", ["import.fetch-recorded", "import.files-recorded"])
def test_a_worker_killed_behind_its_fetch_is_resumed(
    site: Site, other: OtherWorker, failpoint: str
) -> None:
    files = tiny_llama()
    with AnsweringServer(serve({f"/{path}": data for path, data in files.items()})) as server:
        listed = [{"path": path, "address": f"{server.url}/{path}"} for path in files]
        model_id = request(site, "tiny", url=from_url(f"{server.url}/", *listed))
        assert other(LOGGIA_FAILPOINTS=failpoint).died() == -signal.SIGKILL
        eventually(site.run_one, "the lease ends and the job is taken over")
        assert len(server.asked) == len(files)
    assert site.event_names(model_id) == READY
