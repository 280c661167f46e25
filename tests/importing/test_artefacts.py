"""What is made from a version's files is kept once, found again, and goes with the model."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from backend.infra.stored_bytes import stored_bytes
from tests.builders.models import tiny_llama, write_archive
from tests.importing.workplace import Site
from workers.serving.optimization.artefacts import Arrangement, Artefacts

NAME = "ctranslate2:int8"


@pytest.fixture
def model_id(site: Site, tmp_path: Path) -> UUID:
    model_id = site.submit(write_archive(tmp_path / "tiny.zip", tiny_llama()))
    site.run_all()
    return model_id


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    folder = tmp_path / "converted"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights" * 1000)
    (folder / "deep" / "empty").write_bytes(b"")
    return folder


def test_an_artefact_is_kept_once_and_found_whole_only(
    site: Site, model_id: UUID, converted: Path
) -> None:
    artefacts = Artefacts(site.pool, site.store)
    assert artefacts.find(model_id, "0.0.1", NAME) is None
    used = stored_bytes(site.pool)
    kept = artefacts.keep(model_id, "0.0.1", NAME, converted, {"perplexity": 1.5})
    assert (kept.total_bytes, kept.reused) == (7000, False)
    assert stored_bytes(site.pool) == used + 7000
    found = artefacts.find(model_id, "0.0.1", NAME)
    assert found is not None
    assert (found.manifest_sha256, found.facts, found.reused) == (
        kept.manifest_sha256, {"perplexity": 1.5}, True,
    )  # fmt: skip
    assert artefacts.find(model_id, "0.0.2", NAME) is None
    blobs = [path for path in site.objects("blobs") if site.store.size(path) == 7000]
    site.store.delete(blobs[0])
    assert artefacts.find(model_id, "0.0.1", NAME) is None
    again = artefacts.keep(model_id, "0.0.1", NAME, converted, {})
    assert again.manifest_sha256 == kept.manifest_sha256
    assert artefacts.find(model_id, "0.0.1", NAME) is not None


def test_an_arrangement_shares_the_files_that_it_arranges(
    site: Site, model_id: UUID, converted: Path
) -> None:
    artefacts = Artefacts(site.pool, site.store)
    kept = artefacts.keep(model_id, "0.0.1", NAME, converted, {})
    blobs = set(site.objects("blobs"))
    arrangement = Arrangement("model/1/weights", {"model/config.pbtxt": b"max_batch_size: 4"})
    digest = artefacts.arrange(model_id, "0.0.1", kept.manifest_sha256, arrangement)
    assert len(set(site.objects("blobs")) - blobs) == 1
    assert artefacts.arrange(model_id, "0.0.1", kept.manifest_sha256, arrangement) == digest
    assert artefacts.manifests([model_id]) == {kept.manifest_sha256, digest}


def test_the_collector_spares_artefacts_of_a_model_and_takes_those_of_a_deleted_one(
    site: Site, model_id: UUID, converted: Path
) -> None:
    before = site.residue()
    artefacts = Artefacts(site.pool, site.store)
    artefacts.keep(model_id, "0.0.1", NAME, converted, {})
    assert site.collect() == {}
    assert artefacts.find(model_id, "0.0.1", NAME) is not None
    assert site.residue() != before
    site.delete(model_id)
    site.run_all()
    assert site.collect() == {}
    assert site.residue() == {}
