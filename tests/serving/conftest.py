"""A model that is ready to deploy, the deploy worker as a process, and a look at the outcome."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import msgspec
import psutil
import pytest

from backend.application.commands import CommandContext, CommandRunner
from backend.application.deployments import Deployments
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain import terms
from backend.domain.deployment import Deployment
from backend.domain.model import ImportRequest
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings
from backend.infra.uploads import Uploads
from tests.rig.waiting import eventually
from workers.serving.launcher import LocalProcesses

ADA = "user:ada"
REPOSITORY = Path(__file__).parents[2]
JSON = dict[str, Any]


@pytest.fixture
def pool(settings: Settings) -> Iterator[Pool]:
    with open_pool(settings) as pool:
        yield pool


@pytest.fixture
def serving_settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a cache in which the double's environment is complete."""
    folder = tmp_path / "cache" / "engines" / "double-1"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    stamp = {"name": "double", "version": "1", "options": {}}
    (folder / "loggia.json").write_bytes(msgspec.json.encode(stamp))
    return settings.model_copy(update={"cache_dir": tmp_path / "cache"})


class Gallery:
    """What administrators do, and what the event store says happened."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self.store = EventStore(settings)
        runner = CommandRunner(self.store, settings.secret_key)
        self.models = Models(runner)
        self.deployments = Deployments(runner)
        self.launcher = LocalProcesses(settings.data)

    def import_model(self, files: Mapping[str, bytes], name: str = "tiny") -> UUID:
        """A model with these files in the object store, ready to deploy."""
        upload_id = uuid4()
        Uploads(self.pool).create(
            upload_id, owner=ADA, file_name=f"{name}.zip", size_bytes=1, expiry_hours=1
        )
        model_id = self.models.request_import(
            CommandContext(ADA),
            ImportRequest(file_name=f"{name}.zip", upload_id=upload_id, size_bytes=1),
            complete=True,
        ).id
        self._finish_import(model_id, "0.0.1", files)
        return model_id

    def import_version(self, model_id: UUID, version: str, files: Mapping[str, bytes]) -> None:
        """A further version of the model, which is the current one from then on."""
        origin = {"path": {"path": "/models/tiny", "mode": "copy"}}
        self.models.request_version(
            CommandContext(ADA),
            model_id,
            ImportRequest(source="path", origin=origin, version=version),
        )
        self._finish_import(model_id, version, files)

    def _finish_import(self, model_id: UUID, version: str, files: Mapping[str, bytes]) -> None:
        objects = ObjectStore.from_settings(self.settings)
        listed = []
        for path, content in sorted(files.items()):
            digest = hashlib.sha256(content).hexdigest()
            objects.put(f"blobs/sha256/{digest[:2]}/{digest}", [content])
            listed.append({"path": path, "size": len(content), "sha256": digest})
        manifest = json.dumps({"files": listed}).encode()
        digest = hashlib.sha256(manifest).hexdigest()
        objects.put(f"manifests/{digest}.json", [manifest])
        worker = CommandContext("worker:import")
        self.models.record_files_stored(
            worker,
            model_id,
            version,
            manifest_uri=objects.uri(f"manifests/{digest}.json"),
            manifest_sha256=digest,
            file_count=len(files),
            total_bytes=sum(map(len, files.values())),
            fence=lambda _: None,
        )
        self.models.record_validated(
            worker, model_id, version, report={"checks": []}, card={}, fence=lambda _: None
        )

    def deploy(
        self, model_id: UUID, arguments: Mapping[str, str] | None = None, **parts: Any
    ) -> int:
        """Asks for a revision with these engine arguments; returns its number."""
        accepted = self.deployments.request(
            CommandContext(ADA),
            model_id,
            configuration={"engine_arguments": dict(arguments or {}), **parts},
            terms_version=terms.VERSION,
            terms_accepted=True,
        )
        return int(accepted.result["revision"])

    def stop(self, model_id: UUID) -> None:
        self.deployments.stop(CommandContext(ADA), model_id, reason="done")

    def deployment(self, model_id: UUID) -> Deployment:
        return self.store.load(Deployment, Deployment.create_id(model_id))

    def events(self, model_id: UUID) -> list[tuple[str, JSON]]:
        """The deployment's events, as (type, facts)."""
        found = EventFeed(self.store, self.settings.dsn).read(0, 10_000)
        return [
            (event.type, event.data)
            for event in found
            if event.aggregate_id == str(Deployment.create_id(model_id))
        ]

    def recorded(self, model_id: UUID, kind: str) -> list[JSON]:
        return [facts for name, facts in self.events(model_id) if name == kind]

    def await_state(self, model_id: UUID, state: str, *, seconds: float = 40) -> Deployment:
        def reached() -> Deployment | None:
            deployment = self.deployment(model_id)
            return deployment if deployment.state == state else None

        found = eventually(reached, f"the deployment is {state}", seconds=seconds)
        assert found is not None
        return found

    def await_recorded(
        self, model_id: UUID, kind: str, count: int = 1, *, seconds: float = 40
    ) -> list[JSON]:
        def enough() -> list[JSON]:
            found = self.recorded(model_id, kind)
            return found if len(found) >= count else []

        return eventually(enough, f"{count} x {kind}", seconds=seconds)

    def endpoint(self, model_id: UUID) -> str:
        """Where the newest ready replica listens."""
        return str(self.recorded(model_id, "ReplicaReady")[-1]["endpoint"])

    def ask(self, endpoint: str, *, model: str = "tiny", max_tokens: int = 1) -> JSON:
        answer = httpx.post(
            f"{endpoint}/v1/completions",
            json={"model": model, "prompt": "Hello", "max_tokens": max_tokens, "temperature": 0},
            timeout=60,
            trust_env=False,
        )
        answer.raise_for_status()
        found: JSON = answer.json()
        return found

    def engines(self) -> list[psutil.Process]:
        """Every engine process that this test's worker started and that still runs."""
        found = []
        for record in self.launcher.records():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(record.pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def served_files(self, model_id: UUID) -> dict[str, bytes]:
        """The files of the directory that the newest ready replica's engine was given."""
        replica_id = self.recorded(model_id, "ReplicaReady")[-1]["replica_id"]
        record = next(r for r in self.launcher.records() if str(r.replica_id) == replica_id)
        arguments = psutil.Process(record.pid).cmdline()
        folder = next(a.partition("=")[2] for a in arguments if a.startswith("--directory="))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}

    def close(self) -> None:
        for record in list(self.launcher.records()):
            self.launcher.stop(record.replica_id, seconds=2)
        self.store.close()


@pytest.fixture
def gallery(serving_settings: Settings, pool: Pool) -> Iterator[Gallery]:
    gallery = Gallery(serving_settings, pool)
    yield gallery
    gallery.close()


@pytest.fixture
def model_id(gallery: Gallery) -> UUID:
    """A model for the engine double, which looks at no file."""
    return gallery.import_model({"config.json": b"{}", "model.safetensors": b"weights"})


class Worker:
    """The deploy worker's process."""

    def __init__(self, settings: Settings, log: Path) -> None:
        assert settings.postgres_dsn is not None
        self.log = log
        self.environment = {
            **{name: value for name, value in os.environ.items() if "LOGGIA" not in name},
            "LOGGIA_DATA_DIR": str(settings.data),
            "LOGGIA_CACHE_DIR": str(settings.cache),
            "LOGGIA_POSTGRES_DSN": settings.postgres_dsn.get_secret_value(),
            "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.relay: subprocess.Popen[bytes] | None = None

    def start(self, *, die_at: str | None = None, supervised: bool = False) -> None:
        """Starts it with the engine double; `supervised` as `loggia up` would."""
        environment = {**self.environment, **({"LOGGIA_RUN_ID": "test"} if supervised else {})}
        arguments = [f"--die-at={die_at}"] if die_at else []
        self.process = self._run(["tests.serving.worker_process", *arguments], environment)

    def start_roles(self) -> None:
        """Starts the real roles, with Kafka between them: the relay and the deploy worker."""
        self.relay = self._run(["backend.cli", "relay"], self.environment)
        self.process = self._run(["backend.cli", "work", "deploy"], self.environment)

    def _run(self, module: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def await_death(self, *, seconds: float = 40) -> None:
        assert self.process is not None
        status = self.process.wait(timeout=seconds)
        assert status == -signal.SIGKILL, self.log.read_text()
        self.process = None

    def kill(self) -> None:
        for process in (self.process, self.relay):
            if process is not None:
                process.kill()
                process.wait(timeout=10)
        self.process = self.relay = None

    def terminate(self, *, seconds: float = 15) -> int:
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(timeout=seconds)
        self.process = None
        return status


@pytest.fixture
def worker(serving_settings: Settings, tmp_path: Path, gallery: Gallery) -> Iterator[Worker]:
    worker = Worker(serving_settings, tmp_path / "worker.log")
    yield worker
    worker.kill()
    print(worker.log.read_text() if worker.log.exists() else "no worker ran")
