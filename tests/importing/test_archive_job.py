"""Imports of every kind of archive and of single files, from the upload to the ready model."""

from __future__ import annotations

import signal
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from safetensors.numpy import save

from tests.builders.models import tensors, tiny_llama, with_spares, write_archive
from tests.importing.formats.made import gguf_model, onnx_model
from tests.importing.hostile_tar import COMPRESSED, STREAM_CASES, TAR_CASES, honest
from tests.importing.other_worker import OtherWorker
from tests.importing.workplace import Site, finished
from tests.rig.waiting import eventually

SUFFIXES = {"plain": "tar", "gzip": "tar.gz", "zstd": "tar.zst"}


def write_tar(folder: Path, files: Mapping[str, bytes], compression: str) -> Path:
    data = honest({f"m/{path}": content for path, content in files.items()}, tarfile.PAX_FORMAT)
    path = folder / f"m.{SUFFIXES[compression]}"
    path.write_bytes(COMPRESSED[compression](data))
    return path


def inodes(site: Site) -> dict[str, int]:
    """The stored files; one that is written again has another number."""
    return {
        path: local.stat().st_ino
        for path in site.objects("blobs")
        if (local := site.store.local_path(path)) is not None
    }


@pytest.mark.parametrize("compression", SUFFIXES)
def test_a_tar_becomes_the_same_model_as_a_zip(
    site: Site, tmp_path: Path, compression: str
) -> None:
    files = tiny_llama()
    zipped = site.submit(write_archive(tmp_path / "zipped.zip", files))
    site.run_one()
    tarred = site.submit(write_tar(tmp_path, files, compression))
    site.run_one()
    finished(site, tarred, files)
    assert site.model(tarred).name == "m"
    assert site.model(tarred).latest.manifest_sha256 == site.model(zipped).latest.manifest_sha256


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_progress_of_a_stream_is_that_of_the_upload(
    site: Site, tmp_path: Path, compression: str
) -> None:
    path = write_tar(tmp_path, with_spares(1), compression)
    site.submit(path)
    site.run_one()
    extract = [r for r in site.telemetry.readings if r.step == "extract"]
    assert [r.done for r in extract] == sorted(r.done for r in extract)
    assert {r.total for r in extract} == {path.stat().st_size}
    assert extract[-1].done == path.stat().st_size


@pytest.mark.parametrize("compression", SUFFIXES)
def test_a_worker_killed_in_a_tar_is_resumed_without_storing_anything_twice(
    site: Site, tmp_path: Path, other: OtherWorker, compression: str
) -> None:
    files = with_spares(4)
    model_id = site.submit(write_tar(tmp_path, files, compression))
    # It dies when the first files are stored and further ones are about to appear.
    worker = other(LOGGIA_FAILPOINTS="import.journaled=2")
    assert worker.died() == -signal.SIGKILL
    before = inodes(site)
    assert before

    eventually(site.run_one, "the lease ends and the job is taken over")
    finished(site, model_id, files)
    assert before.items() <= inodes(site).items()


@pytest.mark.parametrize("name", ["parent", "duplicate", "symlink", "truncated", "100 k entries"])
@pytest.mark.parametrize("compression", SUFFIXES)
def test_a_hostile_tar_leaves_only_the_upload(
    site: Site, tmp_path: Path, name: str, compression: str
) -> None:
    path = tmp_path / f"m.{SUFFIXES[compression]}"
    path.write_bytes(COMPRESSED[compression](TAR_CASES[name][0]))
    model_id = site.submit(path)
    site.run_one()
    assert site.model(model_id).state == "import_failed"
    assert site.last_event(model_id).step == "extract"
    assert list(site.residue()) == ["uploads"]


@pytest.mark.parametrize("name", ["gzip bomb", "zstd cut", "garbage behind gzip"])
def test_a_hostile_stream_leaves_only_the_upload(site: Site, tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.tar.gz"
    path.write_bytes(STREAM_CASES[name][0])
    model_id = site.submit(path)
    site.run_one()
    assert STREAM_CASES[name][2] in site.last_event(model_id).reason
    assert list(site.residue()) == ["uploads"]


def test_single_files_become_models(site: Site, tmp_path: Path) -> None:
    weights = save(tensors(), metadata={"config": '{"architectures": ["LlamaForCausalLM"]}'})
    gguf_folder = tmp_path / "gguf"
    gguf_folder.mkdir()
    for name, data in {
        "one.safetensors": weights,
        "two.gguf": gguf_model(gguf_folder)["tiny.gguf"],
        "three.onnx": onnx_model().SerializeToString(),
    }.items():
        (tmp_path / name).write_bytes(data)
        model_id = site.submit(tmp_path / name)
        site.run_one()
        assert site.model(model_id).state == "ready_to_deploy"
        assert site.model(model_id).latest.card["format"] == name.split(".")[1]
