"""What a replica needs before its process can start: the engine's environment and the files.

Both may take minutes the first time, so they are made in the background while the revision that
serves is still looked after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import DomainError, Invalid, NotAllowed
from backend.domain.version import Version
from workers.serving.engine import AdapterFiles, Engine, Environment, Launch
from workers.serving.environments import (
    Abandoned,
    Abandonment,
    EngineEnvironments,
    EnvironmentFailed,
)
from workers.serving.files import FilesUnavailable, ModelFiles
from workers.serving.optimization.artefacts import Arranging, Artefact, Artefacts
from workers.serving.optimization.conversion import ConversionFailed, Conversions
from workers.serving.progress import Progress
from workers.serving.subject import Subject

# What they say holds until somebody changes something; anything else may be over in a moment.
_REFUSALS = (DomainError, EnvironmentFailed, ConversionFailed, FilesUnavailable, OSError)


@dataclass(frozen=True)
class Needs:
    """What a launcher needs on this machine; one that runs engines elsewhere may need neither."""

    environment: bool = True
    files: bool = True


@dataclass(frozen=True)
class Prepared:
    """A revision's engine, installed, and its files, in place, as far as its launcher needs them.

    `directory` is the whole model's, `adapter_directory` that of an adapter of it;
    `manifest_sha256` lists what lies in the former, and `artefact` is what was made from the model
    where its configuration asks for that. How long environment and files took is in seconds.
    """

    engine: Engine
    subject: Subject
    environment: Environment | None = None
    directory: Path | None = None
    adapter_directory: Path | None = None
    manifest_sha256: str | None = None
    artefact: Artefact | None = None
    environment_seconds: float = 0.0
    files_seconds: float = 0.0

    def here(
        self,
        *,
        replica_id: UUID,
        port: int,
        configuration: DeployConfiguration,
        gpu_memory_share: float | None = None,
    ) -> tuple[Environment, Launch]:
        """How one replica of it is to be started as a process of this machine.

        Raises `ValueError` where environment and files were not asked for.
        """
        if self.environment is None or self.directory is None:
            raise ValueError("environment and files were not prepared on this machine")
        launch = self.launch(
            replica_id=replica_id,
            port=port,
            configuration=configuration,
            directory=self.directory,
            adapter_directory=self.adapter_directory,
            gpu_memory_share=gpu_memory_share,
        )
        return self.environment, launch

    def launch(
        self,
        *,
        replica_id: UUID,
        port: int,
        configuration: DeployConfiguration,
        directory: Path,
        adapter_directory: Path | None,
        host: str = "127.0.0.1",
        gpu_memory_share: float | None = None,
    ) -> Launch:
        """What one replica of it serves, where its files lie in these directories."""
        subject = self.subject
        adapter: AdapterFiles | None = None
        total_bytes = subject.whole.total_bytes
        if adapter_directory is not None:
            adapter = AdapterFiles(subject.name, adapter_directory, subject.rank)
            total_bytes += subject.version.total_bytes
        return Launch(
            replica_id=replica_id,
            model_name=subject.base_name or subject.name,
            model_directory=directory,
            total_bytes=total_bytes,
            port=port,
            configuration=configuration,
            use=subject.use,
            runs_own_code=subject.runs_own_code,
            adapter=adapter,
            host=host,
            adapter_rank=subject.adapter_rank,
            template=subject.template,
            gpu_memory_share=gpu_memory_share,
        )


class Preparations:
    """The preparations of one deployment, one for each revision."""

    def __init__(
        self,
        engines: dict[str, Engine],
        environments: EngineEnvironments,
        files: ModelFiles,
        artefacts: Artefacts,
        conversions: Conversions,
        progress: Progress,
        installed: Callable[[Engine, str, Environment], None] = lambda *_: None,
    ) -> None:
        """`installed` is told of every environment that is used, with its accelerator."""
        self._installed = installed
        self._engines = engines
        self._environments = environments
        self._files = files
        self._artefacts = artefacts
        self._conversions = conversions
        self._progress = progress
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prepare")
        self._closed = threading.Event()
        self._directories: dict[str, Future[Path]] = {}
        self._futures: dict[int, tuple[Future[Prepared], threading.Event]] = {}

    def get(
        self,
        revision: int,
        configuration: DeployConfiguration,
        subject: Subject,
        needs: Needs,
    ) -> Prepared | None:
        """The preparation's result, or None while it is under way; the first call begins it.

        Raises `Invalid`, `NotAllowed`, `EnvironmentFailed`, `ConversionFailed`,
        `FilesUnavailable` and `OSError`, each time; and once what else went wrong, after which the
        next call begins anew.
        """
        if revision not in self._futures:
            abandoned = threading.Event()
            future = self._executor.submit(
                self._prepare, configuration, subject, needs, abandoned.is_set
            )
            self._futures[revision] = (future, abandoned)
        future, _ = self._futures[revision]
        if not future.done():
            return None
        error = future.exception()
        if error is not None and not isinstance(error, _REFUSALS):
            self.forget(revision)  # the next call tries again
        return future.result()

    def forget(self, revision: int) -> None:
        """Gives the revision's preparation up; the next `get` begins another one."""
        if (begun := self._futures.pop(revision, None)) is not None:
            begun[1].set()

    def directory(self, version: Version) -> Path | None:
        """A version's files, or None while they are brought here; the first call begins it.

        Raises `NotAllowed` and `FilesUnavailable`.
        """
        key = version.manifest_sha256 or ""
        if key not in self._directories or _has_vanished(self._directories[key]):
            self._directories[key] = self._executor.submit(
                lambda: self._bring(_manifest(version), self._closed.is_set)
            )
        future = self._directories[key]
        if not future.done():
            return None
        if future.exception() is not None:
            del self._directories[key]  # the next call tries again
        return future.result()

    def keep_only(self, revisions: set[int]) -> None:
        """Gives up the preparations of other revisions."""
        for revision in self._futures.keys() - revisions:
            self.forget(revision)

    def close(self) -> None:
        """Gives up all of them."""
        self._closed.set()
        self.keep_only(set())
        self._executor.shutdown(wait=True, cancel_futures=True)

    def engine(self, configuration: DeployConfiguration) -> Engine:
        """The engine that the configuration names. Raises `Invalid`."""
        engine = self._engines.get(configuration.engine)
        if engine is None:
            raise Invalid(
                f"engine: '{configuration.engine}' is not available.",
                remedy=f"Choose from {', '.join(self._engines)}.",
                field="engine",
            )
        return engine

    def _prepare(
        self,
        configuration: DeployConfiguration,
        subject: Subject,
        needs: Needs,
        abandoned: Abandoned,
    ) -> Prepared:
        engine = self.engine(configuration)
        environment, directory, adapter_directory = None, None, None
        begun = time.monotonic()
        if needs.environment:
            spec = engine.environment(configuration.hardware)
            environment = (
                spec
                if isinstance(spec, Environment)
                else self._environments.ensure(spec, self._progress.environment, abandoned)
            )
            self._installed(engine, configuration.hardware.accelerator, environment)
        installed = time.monotonic()
        served, artefact = self._served(engine, configuration, subject, abandoned)
        converted = time.monotonic()
        if needs.files:
            directory = self._bring(served or _manifest(subject.whole), abandoned)
            if subject.base:
                adapter_directory = self._bring(_manifest(subject.version), abandoned)
        return Prepared(
            engine,
            subject,
            environment,
            directory,
            adapter_directory,
            served,
            artefact,
            environment_seconds=round(installed - begun, 3),
            files_seconds=round(time.monotonic() - converted, 3),
        )

    def _bring(self, manifest_sha256: str, abandoned: Abandoned) -> Path:
        def report(done: int, total: int) -> None:
            if abandoned():
                raise Abandonment
            self._progress.files(done, total)

        return self._files.materialise(manifest_sha256, report)

    def _served(
        self,
        engine: Engine,
        configuration: DeployConfiguration,
        subject: Subject,
        abandoned: Abandoned,
    ) -> tuple[str | None, Artefact | None]:
        """The manifest of what the engine gets, and what was made for it.

        What has no files, such as a container image, gives none.
        """
        manifest, artefact = subject.whole.manifest_sha256, None
        if manifest is None:
            return None, None
        if configuration.optimization.converts:
            artefact = self._converted(manifest, configuration, subject, abandoned)
            manifest = artefact.manifest_sha256
        if isinstance(engine, Arranging):
            arrangement = engine.arrange(subject, configuration)
            if arrangement is not None:
                manifest = self._artefacts.arrange(
                    subject.model_id, subject.whole.number, manifest, arrangement
                )
        return manifest, artefact

    def _converted(
        self,
        manifest_sha256: str,
        configuration: DeployConfiguration,
        subject: Subject,
        abandoned: Abandoned,
    ) -> Artefact:
        return self._conversions.ensure(
            subject.model_id,
            subject.whole,
            lambda: self._bring(manifest_sha256, abandoned),
            configuration.optimization.quantization or "",
            on_gpu=configuration.hardware.accelerator == "gpu",
            environment_progress=self._progress.environment,
            progress=self._progress.optimizing,
            abandoned=abandoned,
        )


def _has_vanished(found: Future[Path]) -> bool:
    """Whether the directory was removed because nobody needed it for a while."""
    return found.done() and found.exception() is None and not found.result().is_dir()


def _manifest(version: Version) -> str:
    if version.manifest_sha256 is None:
        raise NotAllowed(
            f"Version {version.number} has no stored files.",
            remedy="Import the model with its files, then redeploy.",
        )
    return version.manifest_sha256
