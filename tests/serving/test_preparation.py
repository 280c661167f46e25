"""What becomes of a preparation that fails, or that nobody wants any more."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

import psycopg
import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.version import Version
from backend.infra.object_store import ObjectStore
from backend.infra.telemetry import TelemetryPublisher
from tests.rig.waiting import eventually
from tests.serving.doubles import EngineDouble
from workers.serving.environments import EngineEnvironments
from workers.serving.files import FilesUnavailable, ModelFiles, Report
from workers.serving.optimization.artefacts import Artefacts
from workers.serving.optimization.conversion import Conversions
from workers.serving.preparation import Needs, Preparations, Prepared
from workers.serving.progress import Progress
from workers.serving.subject import Subject

CONFIGURATION = DeployConfiguration.from_dict({})
VERSION = Version("0.0.1", "path", {}, "", None, None, manifest_sha256="5" * 64)


class Files:
    """Instead of `ModelFiles`: does what a test says."""

    def __init__(self) -> None:
        self.bring: Callable[[str, Report], Path] = lambda *_: Path("/files")

    def materialise(self, manifest_sha256: str, report: Report) -> Path:
        return self.bring(manifest_sha256, report)


class Unheard:
    """Instead of a telemetry publisher."""

    def publish(self, _: object) -> None: ...


class SlowStore:
    """Instead of an object store far away: its one file takes 20 seconds."""

    def __init__(self) -> None:
        file = {"path": "model.safetensors", "size": 400, "sha256": "5" * 64}
        self.manifest = json.dumps({"files": [file]}).encode()
        self.reading = threading.Event()
        self.left = 400

    def local_path(self, path: str) -> None:
        return None

    @contextmanager
    def open(self, path: str) -> Iterator[io.BytesIO | SlowStore]:
        yield io.BytesIO(self.manifest) if path.startswith("manifests/") else self

    def read(self, _: int) -> bytes:
        self.reading.set()
        time.sleep(0.05)
        self.left -= 1
        return b"x" if self.left else b""


def preparing(files: object, folder: Path) -> Preparations:
    publisher = cast("TelemetryPublisher", Unheard())
    return Preparations(
        {"vllm": EngineDouble()},
        EngineEnvironments(folder),
        cast("ModelFiles", files),
        cast("Artefacts", None),
        cast("Conversions", None),
        Progress(publisher, uuid4()),
    )


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def preparations(files: Files, tmp_path: Path) -> Iterator[Preparations]:
    preparations = preparing(files, tmp_path)
    yield preparations
    preparations.close()


def get(preparations: Preparations, version: Version = VERSION) -> Prepared | None:
    subject = Subject(uuid4(), "tiny", version)
    return preparations.get(1, CONFIGURATION, subject, Needs(environment=False))


def raising(error: Exception) -> Callable[[str, Report], Path]:
    def bring(_: str, report: Report) -> Path:
        raise error

    return bring


def test_what_may_be_over_in_a_moment_is_raised_once(
    preparations: Preparations, files: Files
) -> None:
    files.bring = raising(psycopg.OperationalError("the connection was lost"))
    with pytest.raises(psycopg.OperationalError):
        eventually(lambda: get(preparations), "it has failed")
    files.bring = lambda *_: Path("/files")
    prepared = eventually(lambda: get(preparations), "it was prepared")
    assert prepared is not None
    assert prepared.directory == Path("/files")


def test_a_refusal_stands_until_it_is_forgotten(preparations: Preparations, files: Files) -> None:
    files.bring = raising(FilesUnavailable("They are gone.", remedy="Bring them back."))
    with pytest.raises(FilesUnavailable):
        eventually(lambda: get(preparations), "it was refused")
    files.bring = lambda *_: Path("/files")
    with pytest.raises(FilesUnavailable):
        get(preparations)
    preparations.forget(1)
    assert eventually(lambda: get(preparations), "it was prepared")


@pytest.mark.parametrize("what", ["the model", "an adapter"])
def test_what_is_given_up_is_fetched_no_further_and_leaves_nothing(
    tmp_path: Path, what: str
) -> None:
    store = SlowStore()
    files = ModelFiles(cast("ObjectStore", store), tmp_path / "files")
    preparations = preparing(files, tmp_path)
    digest = hashlib.sha256(store.manifest).hexdigest()
    version = replace(VERSION, manifest_sha256=digest)
    if what == "the model":
        get(preparations, version)
    else:
        preparations.directory(version)
    assert store.reading.wait(10)
    begun = time.monotonic()
    preparations.close()
    assert time.monotonic() - begun < 5
    assert list((tmp_path / "files").iterdir()) == []
