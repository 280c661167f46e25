"""Random histories of imports, cancellations, deletions, retries and kills: what remains after a
collection is exactly what the models that remain refer to."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from backend.domain.errors import NotAllowed
from backend.domain.version import ModelState
from backend.infra.uploads import part_path
from tests.builders.models import spare, tiny_llama, write_archive
from tests.importing.litter import litter
from tests.importing.other_worker import WorkerProcess
from tests.importing.workplace import Site, at_reading
from tests.rig.waiting import eventually
from workers.importing.collector import Found

STEPS = 25
KILLED_AT = (
    "import.chunk", "import.journaled", "import.files-recorded", "import.checked",
    "import.ended", "import.tidied",
)  # fmt: skip


class History:
    """Does what people, workers and crashes do, in an order that the seed decides."""

    def __init__(self, site: Site, folder: Path, seed: int) -> None:
        self._site = site
        self._folder = folder
        self._chance = random.Random(seed)
        self._models: list[UUID] = []
        self.told: list[str] = []
        model = tiny_llama()
        # Contents that models share, wholly or in part, and one that is refused.
        self._contents = [
            model,
            {**model, "spare.safetensors": spare(1, 2)},
            {**model, "spare.safetensors": spare(2, 2), "notes.txt": b"notes"},
            {**model, "tokenizer.json": b"{}", "spare.safetensors": spare(1, 2)},
        ]

    def go_on(self) -> None:
        """One step."""
        step: Callable[[], object] = self._chance.choice(
            [
                self._submit, self._submit, self._submit, self._work, self._work, self._work,
                self._cancel, self._cancel_meanwhile, self._delete, self._retry, self._abandon,
                self._kill, self._kill, self._litter, self._collect,
            ]
        )  # fmt: skip
        self.told.append(step.__name__)
        step()

    def end(self) -> dict[str, Found]:
        """Lets everything come to its end, and collects."""
        self._expire_leases()
        self._site.telemetry.watch = lambda _: None
        self._site.run_all()
        return self._site.collect()

    def _archive(self) -> Path:
        return write_archive(
            self._folder / f"m-{uuid4().hex[:8]}.zip",
            self._chance.choice(self._contents),
            compression=self._chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
        )

    def _submit(self) -> None:
        self._models.append(self._site.submit(self._archive()))

    def _abandon(self) -> None:
        """An upload whose last byte never comes."""
        archive = self._archive()
        self._models.append(self._site.request(archive, complete=False))
        upload_id = self._site.model(self._models[-1]).latest.upload_id
        with self._site.pool.connection() as connection:
            connection.execute(
                "UPDATE loggia.uploads SET completed_at = NULL WHERE id = %s", (upload_id,)
            )

    def _work(self) -> None:
        self._expire_leases()
        self._site.run_one()

    def _cancel(self) -> None:
        self._with_a_model(self._site.cancel)

    def _cancel_meanwhile(self) -> None:
        """While a worker is at it, as often as not with another model."""
        self._site.telemetry.watch = at_reading(
            self._chance.choice(["extract", "validate"]), self._chance.randint(1, 12), self._cancel
        )
        self._work()
        self._site.telemetry.watch = lambda _: None

    def _delete(self) -> None:
        self._with_a_model(self._site.delete)

    def _retry(self) -> None:
        self._with_a_model(self._site.retry)

    def _with_a_model(self, act: Callable[[UUID], object]) -> None:
        if self._models:
            try:
                act(self._chance.choice(self._models))
            except NotAllowed:
                return

    def _kill(self) -> None:
        """A worker with two jobs at once that dies at some place."""
        place = f"{self._chance.choice(KILLED_AT)}={self._chance.randint(1, 8)}"
        self.told.append(place)
        self._expire_leases()
        worker = WorkerProcess(
            self._site, self._folder / f"{uuid4().hex}.log", LOGGIA_FAILPOINTS=place
        )
        eventually(
            lambda: worker.process.poll() is not None or not self._underway(),
            "the worker is dead or has nothing to do",
            seconds=60,
        )
        worker.close()

    def _underway(self) -> bool:
        with self._site.pool.connection() as connection:
            row = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM loggia.jobs WHERE state IN ('queued', 'running')) "
                "AS any"
            ).fetchone()
        return bool(row and row["any"])

    def _expire_leases(self) -> None:
        """Whoever holds one is dead."""
        with self._site.pool.connection() as connection:
            connection.execute("UPDATE loggia.jobs SET lease_until = now() - interval '1 second'")

    def _litter(self) -> None:
        litter(self._site)

    def _collect(self) -> None:
        self._site.collect()

    def referenced(self) -> dict[str, list[str]]:
        """What must be in the store, by the models' own account."""
        site = self._site
        wanted: dict[str, set[str]] = {"blobs": set(), "manifests": set(), "uploads": set()}
        for model in map(site.model, self._models):
            for version in [] if model.deleted else model.versions.values():
                if version.state is ModelState.READY:
                    path = f"manifests/{version.manifest_sha256}.json"
                    wanted["manifests"].add(path)
                    with site.store.open(path) as source:
                        digests = [row["sha256"] for row in json.load(source)["files"]]
                    wanted["blobs"] |= {f"blobs/sha256/{d[:2]}/{d}" for d in digests}
                upload = site.uploads.get(version.upload_id) if version.upload_id else None
                if upload is not None:
                    assert version.state is not ModelState.READY
                    wanted["uploads"] |= {
                        part_path(upload.id, part.offset) for part in upload.parts
                    }
        return {folder: sorted(paths) for folder, paths in wanted.items() if paths}

    def rows_are_right(self) -> None:
        """Every name belongs to a model that is there, every upload to a version of one."""
        there = {model.id: model for model in map(self._site.model, self._models)}
        alive = {model.id for model in there.values() if not model.deleted}
        with self._site.pool.connection() as connection:
            named = connection.execute("SELECT model_id FROM loggia.model_names").fetchall()
            uploads = connection.execute("SELECT model_id FROM loggia.uploads").fetchall()
            jobs = connection.execute("SELECT * FROM loggia.jobs").fetchall()
        assert {row["model_id"] for row in named} == alive
        assert {row["model_id"] for row in uploads} <= alive
        for job in jobs:
            assert job["state"] not in {"queued", "running", "parked"}
            model = there[job["model_id"]]
            ready = not model.deleted and model.latest.state is ModelState.READY
            assert ready or not job["journal"].get("files"), job


@pytest.mark.parametrize("number", range(5))
def test_exactly_what_is_referred_to_remains(
    site: Site, tmp_path: Path, seed: int, number: int
) -> None:
    history = History(site, tmp_path, seed + number)
    for _ in range(STEPS):
        history.go_on()
    found = history.end()
    print(history.told, found)
    assert not [group for group in found.values() if group.lost]
    assert site.residue() == history.referenced()
    history.rows_are_right()
    assert site.collect() == {}
