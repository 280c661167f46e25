"""A dry run: the import as it would go, with everything read and checked and nothing kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

import msgspec

from backend.application.commands import CommandContext
from backend.domain.errors import DomainError
from backend.domain.model import ImportRequest, Model
from backend.domain.version import Version
from backend.infra.dry_runs import conclude
from backend.infra.jobs import Claim, LeaseLost
from backend.infra.telemetry import Telemetry
from backend.sources.errors import FetchFailed, FetchRefused
from workers.importing.base_model import base_model_facts
from workers.importing.fetching import Readable
from workers.importing.inspecting import inspect_version
from workers.importing.intake import staging
from workers.importing.lease import Cancelled, Interrupted, Lease
from workers.importing.names import without_common_folder
from workers.importing.refusals import ImportRefused
from workers.importing.sources import Ongoing
from workers.importing.storing import StoredFile, StoredModel, manifest, manifest_path
from workers.importing.validation import validate
from workers.importing.validation.report import Report

if TYPE_CHECKING:
    from workers.importing.job import Workplace

_MOST_ATTEMPTS = 3


class DryRun:
    """Carries out one claim. What it fetches lies in staging, and goes with it."""

    def __init__(self, place: Workplace, claim: Claim, lease: Lease) -> None:
        self._place = place
        self._claim = claim
        self._lease = lease
        self._step = "fetch"
        self._report: dict[str, Any] | None = None
        self._card: dict[str, Any] | None = None
        self._failure: dict[str, str] | None = None

    def run(self) -> None:
        """Leaves the result in the job. Raises `LeaseLost` and `Interrupted`."""
        self._discard()
        try:
            result = self._result()
        except (LeaseLost, Interrupted):
            raise
        except Cancelled:
            self._place.jobs.finish(self._claim, state="cancelled")
            return
        except Exception as error:
            if self._claim.attempt < _MOST_ATTEMPTS:
                raise
            fault = f"The dry run broke off: {type(error).__name__}: {error}"[:500]
            failure = self._failed(self._step, fault, "Look at the import worker's log.")
            result = {"report": None, "card": None, "failure": failure, "events": []}
        finally:
            self._discard()
        conclude(self._place.jobs, self._claim, result)

    def _result(self) -> dict[str, Any]:
        payload = self._claim.payload
        request = msgspec.convert(payload["request"], ImportRequest)
        model_id = UUID(payload["model_id"]) if payload["model_id"] else None
        events: list[dict[str, Any]] = []
        try:
            events = self._place.models.rehearse(
                CommandContext(payload["actor"], UUID(payload["correlation_id"])),
                request,
                model_id,
                complete=request.upload_id is not None,
                carry_out=self._carry_out,
            )
        except DomainError as refusal:
            # Somebody has taken the name, or deleted the base model, since it was asked for.
            self._failure = self._failed("request", refusal.detail, refusal.remedy)
        return {
            "report": self._report,
            "card": self._card,
            "failure": self._failure,
            "events": events,
        }

    def _carry_out(self, model: Model) -> None:
        version = model.latest
        try:
            if version.has_files:
                self._with_files(model, version)
            else:
                self._without_files(model, version)
        except ImportRefused as refusal:
            self._fail(model, refusal.step, refusal.reason, refusal.remedy)
        except (FetchRefused, FetchFailed) as refusal:
            self._fail(model, self._step, refusal.reason, refusal.remedy)

    def _with_files(self, model: Model, version: Version) -> None:
        place = self._place
        self._step = "fetch" if version.upload_id is None else "extract"
        ongoing = Ongoing(
            store=place.store,
            journal={},
            write_journal=self._lease.check,
            check=self._lease.check,
            progress=self._progress,
            staging=staging(self._claim),
            attempt=self._claim.attempt,
            limits=place.limits,
        )
        with place.sources.open(version, ongoing) as opened:
            source = opened()
            files = self._read(source)
            if source.resolved is not None:
                model.record_source_fetched(
                    version.number,
                    resolved=source.resolved,
                    file_count=len(files),
                    total_bytes=sum(file.size for file in files),
                )
            _, digest = manifest(files)
            model.record_files_stored(
                version.number,
                manifest_uri=place.store.uri(manifest_path(digest)),
                manifest_sha256=digest,
                file_count=len(files),
                total_bytes=sum(file.size for file in files),
            )
            self._step = "validate"
            base = None
            if version.base_model_id is not None:
                base = base_model_facts(
                    place.events, place.store, place.sources.roots, version.base_model_id
                )
            result = validate(
                _StagedModel(self._place, self._folder, files),
                kind=model.kind,
                base=base,
                accepted_risks=frozenset(version.accepted_risks),
                origin=version.origin,
                leftovers=list(source.leftovers[:100]),
                on_check=lambda _: self._lease.check(),
            )
        self._conclude(model, version, result.report, result.card)

    def _read(self, source: Readable) -> list[StoredFile]:
        """Reads and hashes every file once; those of a directory of the server stay there."""
        found: list[StoredFile] = []
        spending = self._place.quota.begin(journaled=False)
        done = 0
        for entry in source.entries():
            location = source.location(entry.path)
            watched = self._watched(entry.chunks(), source, done)
            if location is not None:
                digest, size = _digested(watched, lambda _: None)
            else:
                digest, size = self._stage(watched)
            file = StoredFile(entry.path, digest, size, location)
            source.check(file)
            if location is None:
                spending.add([file])
            found.append(file)
            done += size
        final = without_common_folder([file.path for file in found])
        return [StoredFile(final[f.path], f.sha256, f.size, f.location) for f in found]

    def _watched(self, chunks: Iterable[bytes], source: Readable, done: int) -> Iterable[bytes]:
        for chunk in chunks:
            self._lease.check()
            yield chunk
            done += len(chunk)
            consumed = source.consumed
            self._progress(source.step, done if consumed is None else consumed, source.total_bytes)

    def _stage(self, chunks: Iterable[bytes]) -> tuple[str, int]:
        staged = self._place.store.stage(staging(self._claim))
        try:
            digest, size = _digested(chunks, staged.write)
        except BaseException:
            staged.discard()
            raise
        staged.commit(f"{self._folder}/{digest}")
        return digest, size

    def _without_files(self, model: Model, version: Version) -> None:
        self._step = "validate"
        with self._place.fetching(self._lease.check) as client:
            result = inspect_version(
                version, self._place.connections, client, on_check=lambda _: self._lease.check()
            )
        if result.image is not None:
            model.record_image_inspected(
                version.number,
                reference=result.image.reference,
                digest=result.image.digest,
                platform=result.image.platform,
                size_bytes=result.image.size_bytes,
                ports=[str(port) for port in result.image.ports],
                labels=result.image.labels,
            )
        self._conclude(model, version, result.report, result.card)

    def _conclude(
        self, model: Model, version: Version, report: Report, card: dict[str, Any] | None
    ) -> None:
        self._report, self._card = report.to_dict(), card
        if card is not None:
            model.record_validated(version.number, report=self._report, card=card)
        else:
            first = report.failures[0]
            self._fail(model, "validate", first.evidence, first.hint)

    def _fail(self, model: Model, step: str, reason: str, remedy: str) -> None:
        self._failure = self._failed(step, reason, remedy)
        model.record_import_failed(
            model.latest.number, step=step, reason=reason, remedy=remedy, report=self._report
        )

    @staticmethod
    def _failed(step: str, reason: str, remedy: str) -> dict[str, str]:
        return {"step": step, "reason": reason, "remedy": remedy}

    def _progress(self, step: str, done: int, total: int | None) -> None:
        self._place.telemetry.publish(
            Telemetry(self._claim.model_id, "import", step, done, total, "bytes", "")
        )

    @property
    def _folder(self) -> str:
        return f"{staging(self._claim)}/files"

    def _discard(self) -> None:
        self._place.store.delete_tree(staging(self._claim))


class _StagedModel:
    """The files of a dry run, as validation reads them."""

    def __init__(self, place: Workplace, folder: str, files: list[StoredFile]) -> None:
        self._store = place.store
        self._folder = folder
        self._files = {file.path: file for file in files}
        # Referenced files are read where they lie, as those of an import are.
        self._elsewhere = StoredModel(place.store, files, place.sources.roots)
        self.sizes = self._elsewhere.sizes

    def open(self, path: str) -> BinaryIO:
        """The file, seekable."""
        file = self._files[path]
        if file.location is not None:
            return self._elsewhere.open(path)
        return self._store.open(f"{self._folder}/{file.sha256}")


def _digested(chunks: Iterable[bytes], keep: Callable[[bytes], object]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        keep(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
