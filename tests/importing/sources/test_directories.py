"""Imports from directories of the server, against real files and a real database."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders.models import tiny_llama, write_folder
from tests.importing.sources.asking import READY, manifest_of, refused, request
from tests.importing.workplace import Site


def test_a_directory_is_copied(site: Site, roots: Path) -> None:
    files = tiny_llama()
    write_folder(roots / "tiny", files)
    model_id = request(site, "tiny", path={"path": "tiny", "mode": "copy"})
    site.run_one()
    assert site.event_names(model_id) == READY
    assert len(site.objects("blobs")) == len(files)
    assert all("location" not in row for row in manifest_of(site, model_id))


def test_a_directory_stays_where_it_is_when_it_is_referenced(site: Site, roots: Path) -> None:
    files = tiny_llama()
    folder = write_folder(roots / "tiny model", files)
    model_id = request(site, "tiny", path={"path": str(folder), "mode": "reference"})
    site.run_one()
    assert site.event_names(model_id) == READY
    assert site.objects("blobs") == []
    rows = {row["path"]: row for row in manifest_of(site, model_id)}
    assert rows == {
        path: {
            "path": path,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "location": (folder / path).as_uri(),
        }
        for path, data in files.items()
    }
    site.delete(model_id)
    site.run_all()
    assert (folder / "config.json").exists()
    assert site.residue() == {}


def _leaves_it(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to("/etc")


def _holds_a_link_out(folder: Path) -> None:
    write_folder(folder, tiny_llama())
    (folder / "passwd.json").symlink_to("/etc/passwd")


def _holds_a_pipe(folder: Path) -> None:
    write_folder(folder, tiny_llama())
    os.mkfifo(folder / "pipe")


def _is_gone(folder: Path) -> None:
    folder.rmdir()


@pytest.mark.parametrize(
    ("path", "make", "words"),
    [
        ("m", _is_gone, "does not exist"),
        ("m", _leaves_it, "does not lie below a directory"),
        ("m", _holds_a_link_out, "passwd.json is a link that leads out"),
        ("m", _holds_a_pipe, "pipe is not a regular file"),
        ("m", lambda _: None, "holds no files"),
        ("m", lambda folder: write_folder(folder, {"a.txt": b"x"}), "holds neither a config.json"),
        ("/etc", lambda _: None, "does not lie below a directory"),
        ("../roots2", lambda _: None, "does not lie below a directory"),
        ("m/../../..", lambda _: None, "does not lie below a directory"),
    ],
)
def test_a_path_that_will_not_do_is_refused_with_its_reason(
    site: Site, roots: Path, path: str, make: Callable[[Path], Any], words: str
) -> None:
    (roots / "m").mkdir()
    make(roots / "m")
    step, reason, remedy = refused(
        site, request(site, "m", path={"path": path, "mode": "reference"})
    )
    assert step == "fetch"
    assert words in reason
    assert remedy


def test_links_to_files_inside_the_roots_are_followed(site: Site, roots: Path) -> None:
    blobs = write_folder(roots / "blobs", tiny_llama())
    (roots / "snapshot").mkdir()
    for path in blobs.iterdir():
        (roots / "snapshot" / path.name).symlink_to(f"../blobs/{path.name}")
    model_id = request(site, "tiny", path={"path": "snapshot", "mode": "copy"})
    site.run_one()
    assert site.model(model_id).state == "ready_to_deploy"


def test_a_folder_swapped_for_a_link_is_not_followed(
    site: Site, roots: Path, tmp_path: Path
) -> None:
    folder = write_folder(roots / "tiny", tiny_llama())
    secret = write_folder(tmp_path / "secret", tiny_llama())

    def swap(reading: Any) -> None:
        if reading.step == "fetch" and folder.is_dir() and not folder.is_symlink():
            folder.rename(roots / "moved")
            folder.symlink_to(secret)

    site.telemetry.watch = swap
    model_id = request(site, "tiny", path={"path": "tiny", "mode": "copy"})
    _, reason, _ = refused(site, model_id)
    assert "cannot be read" in reason
