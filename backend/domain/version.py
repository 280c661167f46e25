"""One version of a model: what was asked for, and how far it has come."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from backend.domain import origins, values
from backend.domain.errors import Invalid

JSON = dict[str, Any]

RISKS = ("pickle", "custom_code")
_MAX_REASON = 1000
_MAX_NUMBER = 64
# The grammar of semver.org, version 2.0.0.
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)


class ModelState(StrEnum):
    """Where a version stands on its way in; a model, too, can be deleted."""

    IMPORTING = "importing"
    VALIDATING = "validating"
    READY = "ready_to_deploy"
    FAILED = "import_failed"
    DELETED = "deleted"

    @property
    def words(self) -> str:
        """The state as a sentence says it."""
        return _WORDS.get(self, self.value)


_WORDS = {ModelState.READY: "ready to deploy", ModelState.FAILED: "failed to import"}


@dataclass(frozen=True)
class AcceptedRisks:
    """A person's consent to what policy blocks, with the reason they give."""

    risks: tuple[str, ...]
    reason: str

    def check(self) -> AcceptedRisks:
        """The same, tidied. Raises `Invalid`."""
        unknown = sorted(set(self.risks) - set(RISKS))
        if unknown or not self.risks:
            raise Invalid(
                f"'{unknown[0]}' is not a risk that can be accepted."
                if unknown
                else "No risk was named.",
                remedy=f"Choose from {', '.join(RISKS)}.",
                field="acceptedRisks.risks",
            )
        reason = self.reason.strip()
        if not 1 <= len(reason) <= _MAX_REASON:
            raise Invalid(
                "Accepting a risk needs a reason.",
                remedy=f"Say in 1 to {_MAX_REASON} characters why these files can be trusted.",
                field="acceptedRisks.reason",
            )
        return AcceptedRisks(tuple(risk for risk in RISKS if risk in self.risks), reason)


@dataclass(frozen=True)
class ImportRequest:
    """What somebody wants to be imported, from any source.

    The name of an upload is its file's name; other sources suggest one where `name` is None.
    `version` None is the next free one. Names, labels, description and links belong to a new
    model: a further version of an existing one has no use for them.
    """

    source: str = origins.UPLOAD
    origin: JSON = field(default_factory=dict)
    kind: str = "base"
    base_model_id: UUID | None = None
    name: str | None = None
    technical_name: str | None = None
    version: str | None = None
    file_name: str = ""
    upload_id: UUID | None = None
    size_bytes: int = 0
    labels: Sequence[str] = ()
    description: str = ""
    documentation_links: Sequence[str] = ()
    batch_id: UUID | None = None
    accepted_risks: AcceptedRisks | None = None

    def model_name(self) -> str:
        """The name of the model that this gives. Raises `Invalid`."""
        if self.source == origins.UPLOAD:
            name = values.name_from_file(self.file_name)
            if self.name is not None and values.name_key(self.name) != values.name_key(name):
                raise Invalid(
                    f"The name '{self.name[:80]}' is not that of the file, {self.file_name}.",
                    remedy="Leave the name out, or rename the file before uploading it.",
                    field="name",
                )
            return name
        if self.name is not None:
            return values.model_name(self.name, remedy="Choose another name.")
        facts = self.origin.get(self.source, {})
        place = next(
            (facts[key] for key in ("repository", "address", "path", "reference") if key in facts),
            "",
        )
        return values.model_name(values.suggested_name(str(place)), remedy="Give the model a name.")

    def source_facts(self) -> JSON:
        """What the events say of the source. Raises `Invalid`."""
        origin = origins.checked(self.source, self.origin)
        if self.source == origins.UPLOAD and self.upload_id is None:
            raise Invalid("No upload was named.", remedy="Upload the file first.", field="uploadId")
        return {
            "source": self.source,
            "origin": origin or None,
            "file_name": self.file_name,
            "upload_id": self.upload_id,
            "size_bytes": self.size_bytes,
        }


@dataclass
class Version:
    """A version as the model knows it; `resolved` and `image` say what was really fetched."""

    number: str
    source: str
    origin: JSON
    file_name: str
    upload_id: UUID | None
    base_model_id: UUID | None
    state: ModelState = ModelState.IMPORTING
    archive_received: bool = False
    resolved: dict[str, str] | None = None
    image: JSON | None = None
    manifest_sha256: str | None = None
    total_bytes: int = 0
    card: JSON = field(default_factory=dict)
    accepted_risks: list[str] = field(default_factory=list)

    @property
    def underway(self) -> bool:
        """Whether its import has neither succeeded nor failed."""
        return self.state in {ModelState.IMPORTING, ModelState.VALIDATING}

    @property
    def has_files(self) -> bool:
        """Whether files are stored for it, now or later."""
        return origins.has_files(self.source, self.origin)

    @property
    def retriable(self) -> bool:
        """Whether a failed import can start again: an upload only from a complete archive."""
        return self.source != origins.UPLOAD or self.archive_received


def checked_number(text: str) -> str:
    """A semantic version. Raises `Invalid`."""
    if len(text) > _MAX_NUMBER or not _SEMVER.fullmatch(text):
        raise Invalid(
            f"'{text[:80]}' is not a version.",
            remedy="Give three numbers with dots between them, such as 1.0.0.",
            field="version",
        )
    return text


def next_number(taken: Iterable[str]) -> str:
    """The version behind the highest one."""
    highest = max((_release(number) for number in taken), default=None)
    if highest is None:
        return values.FIRST_VERSION
    major, minor, patch = highest
    return f"{major}.{minor}.{patch + 1}"


def _release(number: str) -> tuple[int, int, int]:
    match = _SEMVER.fullmatch(number)
    if match is None:
        raise ValueError(f"{number!r} is not a version")
    return int(match[1]), int(match[2]), int(match[3])
