"""Looks before an import: what an address offers, and what a path, repository or image is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from backend.api.services import Services
from backend.api.wire import Body
from backend.contracts.container_configuration import (
    MAX_BYTES,
    check_configuration,
    schema_text,
)
from backend.readmodels import batches
from backend.readmodels.wire_names import camel_keys
from backend.sources.preview import PreviewRow


class Address(Body):
    """A manifest, list of addresses, directory index, S3 prefix, organisation or collection."""

    address: str
    connection: str | None = None


class OfferedModel(msgspec.Struct, rename="camel", frozen=True):
    """A model that can be imported, unless it has a `problem` or exists already."""

    name: str
    kind: str
    source: str
    address: str
    base_model: str | None
    file_count: int
    size_bytes: int | None
    description: str
    problem: str | None
    existing_model_id: UUID | None


class ImportPreview(msgspec.Struct, rename="camel", frozen=True):
    """What an address offers. `manifestSha256` names this list when a batch is asked for."""

    format: str
    title: str
    manifest_sha256: str
    rows: list[OfferedModel]


class PathQuestion(Body, tag_field="source", tag="path"):
    """A path of the server."""

    path: str


class RepositoryQuestion(Body, tag_field="source", tag="huggingface"):
    """A repository of a hub."""

    repository: str
    revision: str = "main"
    connection: str | None = None


class ImageQuestion(Body, tag_field="source", tag="container_image"):
    """A container image."""

    reference: str
    connection: str | None = None


class ConfigurationQuestion(Body, tag_field="source", tag="container_configuration"):
    """The text of a container image's configuration, as it is being edited."""

    text: str


class ConfigurationFileQuestion(Body, tag_field="source", tag="configuration_file"):
    """A container image's configuration at an address, such as s3://bucket/configuration.json.
    The answer's facts have its `text`."""

    address: str
    connection: str | None = None


Question = (
    PathQuestion
    | RepositoryQuestion
    | ImageQuestion
    | ConfigurationQuestion
    | ConfigurationFileQuestion
)


class Fault(msgspec.Struct, rename="camel", frozen=True):
    """What is wrong at a place of a document: a JSON pointer, '' the whole of it. Lines and
    columns count from 1; they are null where the text itself is well-formed."""

    pointer: str
    message: str
    remedy: str
    line: int | None
    column: int | None


class Inspection(msgspec.Struct, rename="camel", frozen=True):
    """What was found. With `problems` the import would fail as things are; `faults` says of a
    document where they are."""

    facts: dict[str, Any]
    problems: list[str]
    faults: list[Fault] = []


@post("/api/imports/preview", operation_id="previewImports", status_code=200)
async def preview_imports(
    data: JSONBody[Address], services: NamedDependency[Services]
) -> ImportPreview:
    """Lists the importable models at an address; fetches the list only, no model."""
    address = data.address.strip()
    found = await services.fetches.run(lambda: services.looking.preview(address, data.connection))
    names = [row.name for row in found.rows]
    existing = await services.query(lambda: batches.existing(services.pool, names))
    return ImportPreview(
        format=found.format,
        title=found.title,
        manifest_sha256=found.manifest_sha256,
        rows=[_offered(row, existing.get(row.name)) for row in found.rows],
    )


@post("/api/imports/inspect", operation_id="inspectSource", status_code=200)
async def inspect_source(
    data: JSONBody[Question], services: NamedDependency[Services]
) -> Inspection:
    """Looks at a path, a repository, an image or a configuration, without importing it."""
    return await services.fetches.run(lambda: _inspect(services, data))


def _offered(row: PreviewRow, existing: UUID | None) -> OfferedModel:
    return OfferedModel(
        name=row.name,
        kind=row.kind,
        source=row.source,
        address=row.address,
        base_model=row.base_model,
        file_count=len(row.files),
        size_bytes=row.size_bytes,
        description=row.description,
        problem=row.problem,
        existing_model_id=existing,
    )


def _inspect(services: Services, question: Question) -> Inspection:
    if isinstance(question, PathQuestion):
        place = services.looking.path(question.path)
        files = [{"path": file.path, "size_bytes": file.size} for file in place.files[:200]]
        return Inspection(
            camel_keys(
                {
                    "path": str(place.real),
                    "file_count": len(place.files),
                    "total_bytes": place.total_bytes,
                    "files": files,
                    "card": place.card,
                }
            ),
            place.problems,
        )
    if isinstance(question, RepositoryQuestion):
        found = services.looking.repository(
            question.repository, question.revision, question.connection
        )
        facts = {
            "repository": found.name,
            "revision": found.revision,
            "commit": found.commit,
            "license": found.license,
            "task": found.task,
            "gated": found.gated,
            "private": found.private,
            "base_model": found.base_model,
            "total_bytes": found.total_bytes,
            "weight_choices": [
                {**asdict(choice), "files": list(choice.files)} for choice in found.weight_choices
            ],
        }
        return Inspection(camel_keys(facts), [])
    if isinstance(question, ConfigurationQuestion):
        return _of_configuration(question.text)
    if isinstance(question, ConfigurationFileQuestion):
        text = services.looking.text(question.address, question.connection, limit_bytes=MAX_BYTES)
        return _of_configuration(text, text=text)
    image = services.looking.image(question.reference, question.connection)
    return Inspection(camel_keys(asdict(image)), [])


def _of_configuration(document: str, **facts: Any) -> Inspection:
    checked = check_configuration(document)
    faults = [
        Fault(each.path, each.message, each.remedy, each.line, each.column)
        for each in checked.problems
    ]
    problems = [fault.message for fault in faults]
    return Inspection({"ports": checked.ports, **facts}, problems, faults)


@get(
    "/schema/container-configuration.json",
    operation_id="readConfigurationSchema",
    media_type="application/schema+json",
    include_in_schema=False,
)
async def read_configuration_schema() -> Response[str]:
    """The JSON Schema of a container image's configuration, for editors and for people."""
    return Response(schema_text(), media_type="application/schema+json")


HANDLERS = [preview_imports, inspect_source, read_configuration_schema]
