"""A model that an address offers, and the rule for what may be one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.domain.addresses import bare, check_address
from backend.domain.errors import Invalid
from backend.domain.values import (
    FILE_SUFFIXES,
    MAX_DESCRIPTION_LENGTH,
    model_name,
    name_key,
    suggested_name,
)
from backend.sources.plain import is_plain, plain

MOST_ROWS = 10_000
MOST_FILES = 10_000
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KINDS = {"base", "adapter"}
_MOST_BYTES = 1 << 50


class RowProblem(Exception):
    """What is wrong with one row, in words for a person."""


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """A file of a model; what is promised of it is checked when it is fetched."""

    path: str
    address: str
    size_bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One importable model. With a `problem` it cannot be imported, and the others can.

    `files` is empty where `address` is one archive, one file or a directory of files.
    """

    name: str
    address: str
    source: str = "url"
    kind: str = "base"
    base_model: str | None = None
    files: tuple[OfferedFile, ...] = ()
    size_bytes: int | None = None
    description: str = ""
    problem: str | None = None

    def origin(self, connection: str | None) -> dict[str, Any]:
        """Where a version that comes from this row comes from."""
        if self.source == "huggingface":
            repository = {"repository": self.address, "connection": connection}
            return {"huggingface": {**repository, "revision": "main", "files": []}}
        files = [
            {
                "path": file.path,
                "address": file.address,
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
            }
            for file in self.files
        ]
        return {"url": {"address": self.address, "connection": connection, "files": files}}


def checked(rows: Iterable[PreviewRow]) -> list[PreviewRow]:
    """The rows with what is wrong with each: its name, a name that stands there twice, or an
    address that carries a secret, of which the row keeps the harmless part."""
    found: list[PreviewRow] = []
    seen: set[str] = set()
    for row in rows:
        secret = _secret_problem(row)
        if secret is not None:
            row = replace(row, address=bare(row.address), files=())
        problem = row.problem or secret or name_problem(row.name)
        if problem is None and name_key(row.name) in seen:
            problem = f"The name '{row.name}' stands in the list more than once."
        if problem is None:
            seen.add(name_key(row.name))
        found.append(
            replace(
                row,
                name=plain(row.name),
                address=plain(row.address, len(row.address)),
                problem=problem and plain(problem),
            )
        )
    return found


def name_problem(name: str) -> str | None:
    """Why a model cannot have this name, or None."""
    try:
        model_name(name, remedy="Give the row another name.")
    except Invalid as refusal:
        return str(refusal)
    return None


def _secret_problem(row: PreviewRow) -> str | None:
    try:
        for address in (row.address, *(file.address for file in row.files)):
            check_address(address, field="address")
    except Invalid as refusal:
        return f"{refusal} {refusal.remedy}"
    return None


def usable_name(place: str) -> str:
    """A name made from an address: what no model name may hold becomes a hyphen."""
    return re.sub(r"[^A-Za-z0-9_\-\u3400-\u4dbf\u4e00-\u9fff]+", "-", suggested_name(place))[:64]


def is_model_file(name: str) -> bool:
    """Whether a file is a model by itself: an archive or a single file of weights."""
    return name.lower().endswith(FILE_SUFFIXES)


def is_model_folder(names: Sequence[str]) -> bool:
    """Whether a directory with these files is a model's own, not a list of models."""
    present = {name.rsplit("/", 1)[-1] for name in names}
    return bool(
        present
        & {
            "config.json",
            "model_index.json",
            "adapter_config.json",
            "modules.json",
            "config.pbtxt",
            "Modelfile",
        }
    )


def kind_of(value: Any) -> str:
    """The row's kind. Raises `RowProblem`."""
    kind = "base" if value is None or value == "" else str(value).lower()
    if kind not in _KINDS:
        raise RowProblem(f"The kind '{kind[:40]}' is unknown; a model is base or adapter.")
    return kind


def size_of(value: Any) -> int | None:
    """A size in bytes. Raises `RowProblem`."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    if type(value) is not int or not 0 <= value < _MOST_BYTES:
        raise RowProblem(f"'{str(value)[:40]}' is not a size in bytes.")
    return value


def digest_of(value: Any) -> str | None:
    """A SHA-256 in hexadecimal digits. Raises `RowProblem`."""
    if value is None or value == "":
        return None
    text = str(value).lower().removeprefix("sha256:")
    if not _DIGEST.fullmatch(text):
        raise RowProblem(f"'{str(value)[:80]}' is not a SHA-256 of 64 hexadecimal digits.")
    return text


def text_of(value: Any, what: str, most: int = MAX_DESCRIPTION_LENGTH) -> str:
    """A text. Raises `RowProblem`."""
    if value is None:
        return ""
    text = str(value)
    if isinstance(value, dict | list) or len(text) > most:
        raise RowProblem(f"The {what} is not a text of at most {most} characters.")
    if not is_plain(text):
        raise RowProblem(f"The {what} holds characters that no text has, such as NUL.")
    return text.strip()
