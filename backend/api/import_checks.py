"""What can be said against an import at once, before anything is written or fetched."""

from __future__ import annotations

from collections.abc import Callable

from backend.api.import_bodies import (
    ContainerImageImport,
    Described,
    HuggingFaceImport,
    ManualImport,
    PathImport,
    UrlImport,
)
from backend.api.looking import Looking
from backend.api.problems import ApiError, FieldError
from backend.contracts.container_configuration import (
    Checked,
    check_configuration,
    check_parameter_schema,
)
from backend.domain.addresses import check_address
from backend.sources.errors import FetchRefused

_MOST_NAMED = 20


def check_at_once(looking: Looking, wanted: Described) -> None:
    """Looks at connection, path, address and documents. Blocks.

    Raises `Invalid` and `ApiError`, which name the field.
    """
    match wanted:
        case HuggingFaceImport():
            looking.named(wanted.connection, "huggingface")
        case UrlImport():
            check_address(wanted.address, field="address")
            looking.named(wanted.connection, "http", "s3")
            _at("address", lambda: looking.address(wanted.address))
        case PathImport():
            _at("path", lambda: _check_path(looking, wanted.path, "path"))
        case ContainerImageImport():
            looking.named(wanted.connection, "registry")
            _at("reference", lambda: looking.reference(wanted.reference))
            _check_documents(wanted)
        case ManualImport(weights=str(place)) if "://" in place:
            check_address(place, field="weights")
            _at("weights", lambda: looking.address(place))
        case ManualImport(weights=str(place)) if place:
            _at("weights", lambda: _check_path(looking, place, "weights"))


def _check_path(looking: Looking, path: str, field: str) -> None:
    problems = looking.path(path).problems
    if not problems:
        return
    more = f" {len(problems) - 1} more problems were found." if len(problems) > 1 else ""
    raise ApiError(
        422,
        "path_unusable",
        f"{problems[0]}{more}",
        remedy="Correct the directory, or choose another one.",
        errors=[FieldError(field, problem) for problem in problems[:_MOST_NAMED]],
    )


def _check_documents(wanted: ContainerImageImport) -> None:
    _refuse("configuration", check_configuration(wanted.configuration))
    for field, text, what in (
        ("inputSchema", wanted.input_schema, "The input parameters"),
        ("outputSchema", wanted.output_schema, "The output parameters"),
    ):
        if text:
            _refuse(field, check_parameter_schema(text, what))


def _refuse(field: str, checked: Checked) -> None:
    """Each problem under the document's field, with its JSON pointer behind it."""
    if not checked.problems:
        return
    first = checked.problems[0]
    place = f"{first.path}: " if first.path else ""
    raise ApiError(
        422,
        "document_invalid",
        f"{place}{first.message}",
        remedy=first.remedy,
        errors=[
            FieldError(f"{field}{problem.path}", problem.message)
            for problem in checked.problems[:_MOST_NAMED]
        ],
    )


def _at(field: str, look: Callable[[], object]) -> None:
    try:
        look()
    except FetchRefused as refusal:
        raise ApiError(
            422, refusal.code, refusal.reason, remedy=refusal.remedy, field=field
        ) from refusal
