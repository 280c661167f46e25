"""What the gallery knows of a version: card, report, steps of its import."""

from __future__ import annotations

from datetime import datetime

import msgspec
from psycopg.rows import DictRow

from backend.domain.origins import UPLOAD, has_files
from backend.readmodels.wire_names import camel_keys


class Failure(msgspec.Struct, rename="camel", frozen=True):
    """Why an import failed."""

    step: str
    reason: str
    remedy: str


class AdapterCard(msgspec.Struct, rename="camel", frozen=True):
    """What an adapter says about itself."""

    rank: int | None = None
    alpha: float | None = None
    target_modules: list[str] = []
    base_architecture: str | None = None
    method: str | None = None
    max_rank: int | None = None
    features: list[str] = []


class MemoryNeed(msgspec.Struct, rename="camel", frozen=True):
    """Bytes of memory for the weights in a type of number, and for each token of context."""

    dtype: str
    weights_bytes: int
    kv_cache_bytes_per_token: int


class ImageCard(msgspec.Struct, rename="camel", frozen=True):
    """What the registry says about a container image."""

    digest: str
    platform: str
    ports: list[str] = []


class Card(msgspec.Struct, rename="camel", frozen=True):
    """What the model's own files say about it."""

    architecture: str | None = None
    model_type: str | None = None
    task: str | None = None
    parameter_count: int | None = None
    dtype: str | None = None
    context_length: int | None = None
    vocabulary_size: int | None = None
    hidden_size: int | None = None
    layers: int | None = None
    license: str | None = None
    tokenizer: str | None = None
    chat_template: bool = False
    languages: list[str] = []
    summary: str | None = None
    weight_format: str | None = None
    total_bytes: int | None = None
    format: str | None = None
    adapter: AdapterCard | None = None
    memory: list[MemoryNeed] = []
    quantization: str | None = None
    custom_code: list[str] = []
    deploy_configuration: str | None = None
    image: ImageCard | None = None


class Check(msgspec.Struct, rename="camel", frozen=True):
    """One check of the validation: `pass`, `warn` or `fail`."""

    id: str
    title: str
    outcome: str
    evidence: str | None = None
    hint: str | None = None


class Report(msgspec.Struct, rename="camel", frozen=True):
    """The validation's checks, in the order they were made."""

    checks: list[Check]


class ImportStep(msgspec.Struct, rename="camel", frozen=True):
    """A step of the import: `pending`, `running`, `done` or `failed`, and since when."""

    step: str
    state: str
    at: datetime | None


class AcceptedRisk(msgspec.Struct, rename="camel", frozen=True):
    """What somebody allowed for a version, though policy blocks it."""

    risks: list[str]
    reason: str
    actor: str
    at: datetime


def card_of(row: DictRow) -> Card | None:
    """The version's card, once it is valid."""
    return msgspec.convert(camel_keys(row["card"]), Card) if row["card"] else None


def failure_of(row: DictRow) -> Failure | None:
    """Why the import failed, while it has."""
    return msgspec.convert(row["failure"], Failure) if row["failure"] else None


def report_of(row: DictRow) -> Report | None:
    """The version's report, once there is one."""
    return msgspec.convert(camel_keys(row["report"]), Report) if row["report"] else None


def import_steps(row: DictRow) -> list[ImportStep]:
    """Every step of a version's import, each with its state and when it came to it."""
    ends = [("validate", row["validated_at"])]
    if row["source"] == UPLOAD:
        ends = [
            ("upload", row["archive_received_at"]),
            ("extract", row["files_stored_at"]),
            *ends,
        ]
    elif row["source"] == "container_image":
        ends = [("inspect", row["files_stored_at"]), *ends]
    elif has_files(row["source"], row["origin"]):
        ends = [("fetch", row["files_stored_at"]), *ends]
    failed = row["failure"]["step"] if row["failure"] else None
    steps: list[ImportStep] = []
    running = row["state"] in {"importing", "validating"}
    for step, at in ends:
        if step == failed:
            steps.append(ImportStep(step, "failed", row["updated_at"]))
            running = False
        elif at is not None:
            steps.append(ImportStep(step, "done", at))
        else:
            steps.append(ImportStep(step, "running" if running else "pending", None))
            running = False
    return steps
