"""What becomes of a preparation that fails, or that nobody wants any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from uuid import uuid4

import psycopg
import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.version import Version
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


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def preparations(files: Files, tmp_path: Path) -> Iterator[Preparations]:
    publisher = cast("TelemetryPublisher", Unheard())
    preparations = Preparations(
        {"vllm": EngineDouble()},
        EngineEnvironments(tmp_path),
        cast("ModelFiles", files),
        cast("Artefacts", None),
        cast("Conversions", None),
        Progress(publisher, uuid4()),
    )
    yield preparations
    preparations.close()


def get(preparations: Preparations) -> Prepared | None:
    subject = Subject(uuid4(), "tiny", VERSION)
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
