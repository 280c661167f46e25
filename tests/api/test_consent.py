"""Pickles and code of a model's own come in only where an administrator answers for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.api.services import Services
from backend.domain.model import Model
from backend.infra.settings import Settings
from tests.api import worker
from tests.api.client import ApiClient
from tests.api.sources import CONFIGURATION, image_body, reaching
from tests.builders.models import tiny_llama, write_folder
from tests.rig.web import Web

CONSENT = {"risks": ["pickle"], "reason": "Made in this house."}
REFUSED = "Your role, operator, may not accept the risks of pickles or custom code."
REMEDY = "Ask an administrator to import it, or to retry the failed import with consent."


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return reaching(settings, tmp_path)


@pytest.fixture
def operator(client_as: Callable[[str], ApiClient]) -> ApiClient:
    return client_as("operator")


def accepted(services: Services, model_id: str) -> list[str]:
    return services.store.load(Model, UUID(model_id)).latest.accepted_risks


def refused(answer: Any) -> None:
    assert answer.status_code == 403, answer.text
    problem = answer.json()
    assert (problem["detail"], problem["remedy"]) == (REFUSED, REMEDY)
    assert problem["errors"] == [{"field": "acceptedRisks", "message": REFUSED}]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        {"source": "upload", "uploadId": str(uuid4())},
        {"source": "huggingface", "repository": "acme/tiny"},
        {"source": "url", "address": "https://example.org/m.zip"},
        {"source": "path", "path": "/somewhere", "mode": "copy"},
        image_body("registry.example/m:1", json.dumps(CONFIGURATION)),
        {"source": "manual", "name": "m", "type": "llm", "runtime": "x"},
    ],
    ids=lambda body: str(body["source"]),
)
def test_an_operator_imports_from_no_source_with_consent(
    operator: ApiClient, services: Services, body: dict[str, Any], dry_run: bool
) -> None:
    before = services.store.recorder.max_notification_id()
    url = "/api/imports" + ("?dryRun=true" if dry_run else "")
    refused(operator.command("POST", url, {**body, "acceptedRisks": CONSENT}))
    assert services.store.recorder.max_notification_id() == before


def test_an_operator_imports_no_batch_with_consent(
    operator: ApiClient, admin: ApiClient, services: Services
) -> None:
    with Web() as web:
        address = web.add("/list", b"/one.zip\n")
        seen = operator.post("/api/imports/preview", json={"address": address}).json()
        body = {
            "address": address,
            "manifestSha256": seen["manifestSha256"],
            "names": ["one"],
            "acceptedRisks": CONSENT,
        }
        before = services.store.recorder.max_notification_id()
        refused(operator.command("POST", "/api/imports/batch", body))
        assert services.store.recorder.max_notification_id() == before
        assert admin.command("POST", "/api/imports/batch", body).status_code == 202


def test_an_operator_retries_without_consent_and_an_administrator_with_it(
    operator: ApiClient, admin: ApiClient, services: Services
) -> None:
    model_id = operator.import_model("tiny")
    url = f"/api/models/{model_id}/import/retry"
    worker.fail_import(services, model_id)
    refused(operator.command("POST", url, {"acceptedRisks": CONSENT}))
    assert operator.command("POST", url).status_code == 202
    assert accepted(services, model_id) == []
    worker.fail_import(services, model_id)
    assert admin.command("POST", url, {"acceptedRisks": CONSENT}).status_code == 202
    assert accepted(services, model_id) == ["pickle"]


def test_an_administrator_imports_with_consent(
    admin: ApiClient, settings: Settings, services: Services
) -> None:
    folder = write_folder(Path(settings.import_roots) / "tiny", tiny_llama())
    body = {"source": "path", "path": str(folder), "mode": "copy", "acceptedRisks": CONSENT}
    answer = admin.command("POST", "/api/imports", body)
    assert answer.status_code == 202, answer.text
    assert accepted(services, answer.json()["id"]) == ["pickle"]
