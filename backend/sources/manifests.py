"""Lists of models as documents: JSON, YAML, CSV, or addresses line by line.

The schema is in docs/importing.md. A row that is wrong says so and spoils no other.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from backend.sources.errors import FetchRefused
from backend.sources.rows import (
    MOST_FILES,
    MOST_ROWS,
    OfferedFile,
    PreviewRow,
    RowProblem,
    digest_of,
    kind_of,
    size_of,
    text_of,
    usable_name,
)

# Turns what a manifest says into a whole address; raises `FetchRefused`.
Resolve = Callable[[str], str]

_YAML_BYTES = 4 << 20
_YAML_DEPTH = 32
_PATH_CHARACTERS = 1024


def from_json(data: bytes, resolve: Resolve) -> tuple[str, list[PreviewRow]]:
    """A JSON manifest's title and rows. Raises `FetchRefused`."""
    try:
        document = json.loads(data)
    except RecursionError:
        raise _unreadable("JSON", "it nests too deeply") from None
    except ValueError as error:
        raise _unreadable("JSON", str(error)) from None
    return _from_document(document, resolve)


def from_yaml(data: bytes, resolve: Resolve) -> tuple[str, list[PreviewRow]]:
    """A YAML manifest's title and rows. Raises `FetchRefused`; anchors can be no bombs here."""
    if len(data) > _YAML_BYTES:
        raise _unreadable("YAML", f"it has more than {_YAML_BYTES} bytes; use JSON instead")
    try:
        _refuse_aliases(data)
        document = yaml.load(data, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        raise _unreadable("YAML", " ".join(str(error).split())[:300]) from None
    return _from_document(document, resolve)


def from_csv(data: bytes, resolve: Resolve) -> tuple[str, list[PreviewRow]]:
    """A CSV manifest's rows; the first line names the columns. Raises `FetchRefused`."""
    text = _text(data)
    # The library's own guess takes quadratic time.
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    lines = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    try:
        if not {"address", "url"} & {_key(name) for name in lines.fieldnames or ()}:
            raise _unreadable("CSV", "its first line names no column 'address'")
        return "", _rows(lines, resolve)
    except csv.Error as error:
        raise _unreadable("CSV", f"line {lines.line_num}: {error}") from None


def from_lines(data: bytes, resolve: Resolve) -> tuple[str, list[PreviewRow]]:
    """Addresses, one a line; empty lines and those that begin with # do not count."""
    lines = (line.strip() for line in _text(data).splitlines())
    return "", _rows(
        ({"address": line} for line in lines if line and not line.startswith("#")), resolve
    )


def _from_document(document: Any, resolve: Resolve) -> tuple[str, list[PreviewRow]]:
    title, models = "", document
    if isinstance(document, Mapping):
        title, models = str(document.get("title") or "")[:200], document.get("models")
    if not isinstance(models, list):
        raise FetchRefused(
            "manifest_unreadable",
            "The manifest holds no list of models.",
            "Put the models into a list under the key 'models'; docs/importing.md shows one.",
        )
    return title, _rows(models, resolve)


def _rows(models: Iterable[Any], resolve: Resolve) -> list[PreviewRow]:
    rows: list[PreviewRow] = []
    for number, model in enumerate(models, start=1):
        if number > MOST_ROWS:
            raise FetchRefused(
                "too_many_rows",
                f"The manifest lists more than {MOST_ROWS} models.",
                "Split it into several manifests.",
            )
        rows.append(_row(model, number, resolve))
    return rows


def _row(model: Any, number: int, resolve: Resolve) -> PreviewRow:
    if isinstance(model, str):
        model = {"address": model}
    if not isinstance(model, Mapping):
        return PreviewRow(f"row-{number}", "", problem="This row is not an object.")
    fields = {_key(name): value for name, value in model.items() if name is not None}
    said = fields.get("address") or fields.get("url")
    name = str(fields.get("name") or "").strip()[:200]
    row = PreviewRow(name or usable_name(str(said or "")) or f"row-{number}", str(said or "")[:500])
    try:
        return _filled(row, fields, resolve)
    except (RowProblem, FetchRefused) as error:
        return PreviewRow(row.name, row.address, problem=str(error))


def _filled(row: PreviewRow, fields: Mapping[str, Any], resolve: Resolve) -> PreviewRow:
    files = tuple(_files(fields.get("files"), resolve))
    said = text_of(fields.get("address") or fields.get("url"), "address", 4096)
    if not said and not files:
        raise RowProblem("The row has neither an address nor files.")
    address = resolve(said) if said else files[0].address.rsplit("/", 1)[0] + "/"
    size, digest = size_of(fields.get("sizebytes")), digest_of(fields.get("sha256"))
    if not files and (size is not None or digest is not None):
        files = (OfferedFile(_last(address), address, size, digest),)
    if size is None and files and all(file.size_bytes is not None for file in files):
        size = sum(file.size_bytes or 0 for file in files)
    kind = kind_of(fields.get("kind"))
    base = text_of(fields.get("basemodel"), "base model", 64) or None
    if kind == "adapter" and base is None:
        raise RowProblem("An adapter's row names its base model as 'base_model'.")
    return PreviewRow(
        row.name,
        address,
        kind=kind,
        base_model=base,
        files=files,
        size_bytes=size,
        description=text_of(fields.get("description"), "description"),
    )


def _files(value: Any, resolve: Resolve) -> Iterable[OfferedFile]:
    if value is None or value == "":
        return
    if not isinstance(value, list) or len(value) > MOST_FILES:
        raise RowProblem(f"'files' is not a list of at most {MOST_FILES} files.")
    paths: set[str] = set()
    for entry in value:
        given = {"address": entry} if isinstance(entry, str) else entry
        if not isinstance(given, Mapping):
            raise RowProblem("A file is neither an address nor an object.")
        fields = {_key(name): item for name, item in given.items()}
        said = text_of(fields.get("address") or fields.get("url"), "file's address", 4096)
        if not said:
            raise RowProblem("A file has no address.")
        address = resolve(said)
        path = text_of(fields.get("path"), "file's path", _PATH_CHARACTERS) or _last(address)
        if path in paths:
            raise RowProblem(f"The file '{path[:100]}' is listed twice.")
        paths.add(path)
        yield OfferedFile(
            path, address, size_of(fields.get("sizebytes")), digest_of(fields.get("sha256"))
        )


def _key(name: Any) -> str:
    """Field names in snake_case, camelCase and with blanks are the same names."""
    return "".join(c for c in str(name).strip().lower() if c.isalnum())


def _last(address: str) -> str:
    return address.split("?")[0].split("#")[0].rstrip("/").rsplit("/", 1)[-1]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable("text", "it is not encoded as UTF-8") from None


def _refuse_aliases(data: bytes) -> None:
    """Looks at the events only, where an alias has not yet multiplied anything."""
    depth = 0
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not accepted; write the values out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _YAML_DEPTH:
                raise yaml.YAMLError("it nests too deeply")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _unreadable(what: str, fault: str) -> FetchRefused:
    return FetchRefused(
        "manifest_unreadable",
        f"The manifest cannot be read as {what}: {fault}.",
        "Correct the document; docs/importing.md describes manifests.",
    )
