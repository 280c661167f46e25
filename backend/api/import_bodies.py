"""What a request for an import says, one form for each source."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

import msgspec

from backend.api.wire import Body
from backend.domain.model import AcceptedRisks, ImportRequest
from backend.infra.uploads import Upload


class Consent(Body):
    """An administrator's consent to what policy blocks, for this version alone; other roles are
    refused. The reason stands in the history."""

    risks: list[Literal["pickle", "custom_code"]]
    reason: str

    def accepted(self) -> AcceptedRisks:
        """As the domain says it."""
        return AcceptedRisks(tuple(self.risks), self.reason)


class Resources(Body):
    """Memory in GiB; 0 means that nothing is asked for."""

    cpu: float = 0
    memory_gib: float = 0
    gpu: int = 0
    gpu_memory_gib: float = 0

    def facts(self) -> dict[str, Any]:
        """As an origin says it."""
        return {
            "cpu": self.cpu,
            "memory_gib": self.memory_gib,
            "gpu": self.gpu,
            "gpu_memory_gib": self.gpu_memory_gib,
        }


class _Import(Body, kw_only=True, tag_field="source"):
    """What every source has. With `modelId`, a further version of that model is imported.

    `name` left out is suggested by the source; `version` left out is the next free one.
    """

    name: str | None = None
    model_id: UUID | None = None
    version: str | None = None
    kind: Literal["base", "adapter"] = "base"
    base_model_id: UUID | None = None
    description: str = ""
    labels: list[str] = msgspec.field(default_factory=list)
    documentation_links: list[str] = msgspec.field(default_factory=list)
    accepted_risks: Consent | None = None

    def request(self, **more: Any) -> ImportRequest:
        """The request that the domain decides about."""
        return ImportRequest(
            source=str(type(self).__struct_config__.tag),
            kind=self.kind,
            base_model_id=self.base_model_id,
            name=self.name or None,
            version=self.version or None,
            labels=self.labels,
            description=self.description,
            documentation_links=self.documentation_links,
            accepted_risks=self.accepted_risks.accepted() if self.accepted_risks else None,
            **more,
        )


class UploadImport(_Import, kw_only=True, tag="upload"):
    """From an upload, which may still be under way.

    The model's name is the file's name; `name`, where given, must be the same.
    """

    upload_id: UUID

    def of(self, upload: Upload) -> ImportRequest:
        """The request for this upload."""
        return self.request(
            file_name=upload.file_name, upload_id=upload.id, size_bytes=upload.size_bytes
        )


class _Described(_Import, kw_only=True):
    """A source whose facts stand in the request."""

    def facts(self) -> dict[str, Any]:
        """The facts of the source, as the origin says them."""
        raise NotImplementedError

    def described(self, **more: Any) -> ImportRequest:
        """The request with its origin."""
        return self.request(origin={str(type(self).__struct_config__.tag): self.facts()}, **more)


class HuggingFaceImport(_Described, kw_only=True, tag="huggingface"):
    """From a repository of a hub. `files` are patterns; none takes the recommended weights."""

    repository: str
    revision: str = "main"
    connection: str | None = None
    files: list[str] = msgspec.field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """Repository, revision, connection and files."""
        return {
            "repository": self.repository,
            "revision": self.revision,
            "connection": self.connection,
            "files": self.files,
        }


class UrlImport(_Described, kw_only=True, tag="url"):
    """From the address of one archive or one file of weights."""

    address: str
    connection: str | None = None

    def facts(self) -> dict[str, Any]:
        """Address and connection."""
        return {"address": self.address, "connection": self.connection, "files": []}


class PathImport(_Described, kw_only=True, tag="path"):
    """From a directory or file of the server, below one of the configured roots."""

    path: str
    mode: Literal["reference", "copy"]
    technical_name: str | None = None
    template: str | None = None

    def facts(self) -> dict[str, Any]:
        """Path, mode and template."""
        return {"path": self.path, "mode": self.mode, "template": self.template}


class ContainerImageImport(_Described, kw_only=True, tag="container_image"):
    """An image that serves the model itself. The documents are JSON texts."""

    reference: str
    deployment_type: Literal["real_time", "batch", "edge"]
    configuration: str
    connection: str | None = None
    input_schema: str | None = None
    output_schema: str | None = None
    minimum: Resources = msgspec.field(default_factory=Resources)

    def facts(self) -> dict[str, Any]:
        """Everything that is known of the image before it is inspected."""
        return {
            "reference": self.reference,
            "connection": self.connection,
            "deployment_type": self.deployment_type,
            "configuration": self.configuration,
            "input_schema": self.input_schema,
            "output_schema": self.output_schema,
            "minimum": self.minimum.facts(),
        }


class ManualImport(_Described, kw_only=True, tag="manual"):
    """A model described by a form; its weights may lie at an address or path, or nowhere."""

    type: Literal["llm", "embedding", "reranker", "diffusion", "speech", "vision", "other"]
    runtime: str
    resources: Resources = msgspec.field(default_factory=Resources)
    weights: str | None = None

    def facts(self) -> dict[str, Any]:
        """Type, runtime, resources and weights."""
        return {
            "type": self.type,
            "runtime": self.runtime,
            "resources": self.resources.facts(),
            "weights": self.weights or None,
        }


Described = HuggingFaceImport | UrlImport | PathImport | ContainerImageImport | ManualImport
AnyImport = UploadImport | Described


def request_of(body: Described) -> ImportRequest:
    """The domain's request for any source but an upload."""
    if isinstance(body, PathImport):
        return body.described(technical_name=body.technical_name or None)
    return body.described()
