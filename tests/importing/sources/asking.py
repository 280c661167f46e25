"""Imports of what lies at addresses and in directories, as a person asks for them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from backend.application.commands import CommandContext
from backend.domain.model import ImportRequest
from tests.importing.workplace import Site
from tests.sources.answering import Answer, Asked, answer, file_server

READY = ["Created", "SourceFetched", "FilesStored", "Validated"]


def request(site: Site, name: str, **origin: dict[str, Any]) -> UUID:
    """What a person asks for; the dispatcher makes the job."""
    (source,) = origin
    answered = site.models.request_import(
        CommandContext("user:admin"), ImportRequest(source=source, origin=origin, name=name)
    )
    site.enqueue(answered.id)
    return answered.id


def from_url(address: str, *files: dict[str, Any]) -> dict[str, Any]:
    return {"address": address, "files": list(files)}


def serve(contents: dict[str, bytes]) -> Answer:
    """A web server of files, with ranges."""

    def speak(asked: Asked, connection: Any) -> None:
        content = contents.get(asked.path)
        if content is None:
            connection.sendall(answer("404 Not Found"))
        else:
            file_server(content, cut_after=[])(asked, connection)

    return speak


def manifest_of(site: Site, model_id: UUID) -> list[dict[str, Any]]:
    digest = site.model(model_id).latest.manifest_sha256
    with site.store.open(f"manifests/{digest}.json") as source:
        return list(json.loads(source.read())["files"])


def refused(site: Site, model_id: UUID) -> tuple[str, str, str]:
    site.run_one()
    failure = site.last_event(model_id)
    assert site.residue() == {}
    return failure.step, failure.reason, failure.remedy
