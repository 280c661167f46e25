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

from backend.application.adapters import Adapters
from backend.application.api_keys import ApiKeys
from backend.application.commands import CommandContext, CommandRunner
from backend.application.deployments import Deployments
from backend.application.engine_facts import EngineFactsTable
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.domain import terms
from backend.domain.configuration import Hardware
from backend.domain.deployment import Deployment
from backend.domain.model import AcceptedRisks, ImportRequest, Model
from backend.infra.object_store import ObjectStore
from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings
from backend.infra.uploads import Uploads
from tests.builders.models import tiny_llama
from tests.rig.ports import free_port
from tests.rig.waiting import eventually
from tests.serving.doubles import PROBE
from workers.serving.engines.vllm import Vllm
from workers.serving.environments import EngineEnvironments
from workers.serving.launchers.local import LocalProcesses

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
    digest = hashlib.sha256(PROBE.encode()).hexdigest()
    stamp = {"name": "double", "version": "1", "options": {}, "probe_sha256": digest}
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
        self._runner = runner
        self.deployments = Deployments(runner)
        self.adapters = Adapters(runner)
        self.keys = ApiKeys(runner)
        self.launcher = LocalProcesses(settings.data)

    def import_model(
        self,
        files: Mapping[str, bytes],
        name: str = "tiny",
        *,
        card: JSON | None = None,
        base: UUID | None = None,
        risks: tuple[str, ...] = (),
    ) -> UUID:
        """A model with these files in the object store, ready to deploy; an adapter of a base."""
        upload_id = uuid4()
        Uploads(self.pool).create(
            upload_id, owner=ADA, file_name=f"{name}.zip", size_bytes=1, expiry_hours=1
        )
        model_id = self.models.request_import(
            CommandContext(ADA),
            ImportRequest(
                file_name=f"{name}.zip",
                upload_id=upload_id,
                size_bytes=1,
                kind="base" if base is None else "adapter",
                base_model_id=base,
                accepted_risks=AcceptedRisks(risks, "read and trusted") if risks else None,
            ),
            complete=True,
        ).id
        self._finish_import(model_id, "0.0.1", files, card or {})
        return model_id

    def import_version(
        self, model_id: UUID, version: str, files: Mapping[str, bytes], card: JSON | None = None
    ) -> None:
        """A further version of the model, which is the current one from then on."""
        origin = {"path": {"path": "/models/tiny", "mode": "copy"}}
        self.models.request_version(
            CommandContext(ADA),
            model_id,
            ImportRequest(
                source="path",
                origin=origin,
                version=version,
                kind=self.store.load(Model, model_id).kind,
            ),
        )
        self._finish_import(model_id, version, files, card or {})

    def _finish_import(
        self, model_id: UUID, version: str, files: Mapping[str, bytes], card: JSON
    ) -> None:
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
            worker, model_id, version, report={"checks": []}, card=card, fence=lambda _: None
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

    def knows_engines(self) -> None:
        """From now on only what the installed engines say of themselves is accepted."""
        self.deployments = Deployments(self._runner, EngineFactsTable(self.pool))

    def key(self, model_id: UUID) -> str:
        """An API key for the model."""
        return str(self.keys.create(CommandContext(ADA), model_id, name="test").secret)

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

    def served_files(self, model_id: UUID, option: str = "directory") -> dict[str, bytes]:
        """The files of the directory that the newest ready replica's engine was given."""
        (folder,) = (a for a in self.command_line(model_id) if a.startswith(f"--{option}="))
        return {path.name: path.read_bytes() for path in Path(folder.partition("=")[2]).iterdir()}

    def command_line(self, model_id: UUID) -> list[str]:
        """What the newest ready replica's engine was started with."""
        replica_id = self.recorded(model_id, "ReplicaReady")[-1]["replica_id"]
        record = next(r for r in self.launcher.records() if str(r.replica_id) == replica_id)
        return psutil.Process(record.pid).cmdline()

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
        self.gateway: subprocess.Popen[bytes] | None = None

    def start(
        self,
        *,
        die_at: str | None = None,
        supervised: bool = False,
        clock: int = 0,
        silent: Path | None = None,
    ) -> None:
        """Starts it with the engine double, its clock moved by so many seconds.

        `supervised` as `loggia up` would; `silent` lists replicas that are out of reach.
        """
        environment = {**self.environment, **({"LOGGIA_RUN_ID": "test"} if supervised else {})}
        arguments = [f"--clock={clock}", *([f"--die-at={die_at}"] if die_at else [])]
        arguments += [f"--silent={silent}"] if silent else []
        self.process = self._run(["tests.serving.worker_process", *arguments], environment)

    def start_roles(self) -> None:
        """Starts the real roles, with Kafka between them: the relay and the deploy worker."""
        self.relay = self._run(["backend.cli", "relay"], self.environment)
        self.start_real()

    def start_real(self) -> None:
        """Starts the real deploy worker."""
        self.process = self._run(["backend.cli", "work", "deploy"], self.environment)

    def start_gateway(self) -> str:
        """Starts the real gateway; returns where OpenAI clients point, once it is ready."""
        port = free_port()
        self.gateway = self._run(
            ["backend.cli", "gateway"], {**self.environment, "LOGGIA_GATEWAY_PORT": str(port)}
        )

        def ready() -> bool:
            try:
                url = f"http://127.0.0.1:{port}/readyz"
                return httpx.get(url, trust_env=False).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        eventually(ready, "the gateway is ready", seconds=40)
        return f"http://127.0.0.1:{port}/v1"

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
        for process in (self.process, self.relay, self.gateway):
            if process is not None:
                process.kill()
                process.wait(timeout=10)
        self.process = self.relay = self.gateway = None

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


# Real engines, in the environments that the user's cache keeps.


@pytest.fixture
def real_settings(settings: Settings) -> Settings:
    cache = Path(os.environ.get("LOGGIA_CACHE_DIR", "~/.cache/loggia")).expanduser()
    return settings.model_copy(
        update={
            "cache_dir": cache,
            "engine_pip_arguments": os.environ.get("LOGGIA_ENGINE_PIP_ARGUMENTS", ""),
        }
    )


@pytest.fixture
def real_gallery(real_settings: Settings, pool: Pool) -> Iterator[Gallery]:
    gallery = Gallery(real_settings, pool)
    yield gallery
    gallery.close()


@pytest.fixture
def real_worker(real_settings: Settings, real_gallery: Gallery, tmp_path: Path) -> Iterator[Worker]:
    environments = EngineEnvironments(
        real_settings.cache, pip_arguments=real_settings.engine_pip_arguments
    )
    environments.ensure(Vllm().environment(Hardware()), print, lambda: False)
    worker = Worker(real_settings, tmp_path / "worker.log")
    worker.start_roles()
    yield worker
    worker.kill()
    print(worker.log.read_text())


@pytest.fixture
def llama(real_gallery: Gallery) -> UUID:
    return real_gallery.import_model(tiny_llama())
