"""Where a version comes from: the sources, and what each of them must say.

An origin is a JSON object with one key, the source, whose value holds that source's facts; that of
an upload is empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.domain import values
from backend.domain.addresses import check_address
from backend.domain.errors import Invalid

JSON = dict[str, Any]

UPLOAD = "upload"
SOURCES = (UPLOAD, "huggingface", "url", "path", "container_image", "manual")
DEPLOYMENT_TYPES = ("real_time", "batch", "edge")
PATH_MODES = ("reference", "copy")
MODEL_TYPES = ("llm", "embedding", "reranker", "diffusion", "speech", "vision", "other")
MAX_TEXT = 4096
MAX_DOCUMENT = 256 * 1024
MAX_FILES = 10_000


@dataclass(frozen=True)
class _Field:
    check: Callable[[str, Any], Any]
    required: bool = False
    default: Any = None


def _fail(path: str, detail: str, remedy: str) -> Invalid:
    return Invalid(f"{path}: {detail}", remedy=remedy, field=path)


def _text(most: int = MAX_TEXT) -> Callable[[str, Any], str]:
    def check(path: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise _fail(path, "a text is expected.", "Fill it in.")
        if len(value) > most:
            raise _fail(path, f"{len(value)} characters; allowed are {most}.", "Shorten it.")
        return value if most > MAX_TEXT else value.strip()

    return check


def _place(most: int = MAX_TEXT) -> Callable[[str, Any], str]:
    """An address, or what people mistake for the field of one."""

    def check(path: str, value: Any) -> str:
        text = _text(most)(path, value)
        check_address(text, field=path)
        return text

    return check


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    def check(path: str, value: Any) -> str:
        if value not in choices:
            raise _fail(path, f"'{value}' is unknown.", f"Choose one of {', '.join(choices)}.")
        return str(value)

    return check


def _texts(path: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or len(value) > MAX_FILES:
        raise _fail(path, "a list of texts is expected.", "Give a list.")
    return [_text()(path, item) for item in value]


def _json_object(path: str, value: Any) -> str:
    text = _text(MAX_DOCUMENT)(path, value)
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _fail(path, f"not JSON: {error}", "Correct the document.") from None
    if not isinstance(parsed, dict):
        raise _fail(path, "a JSON object is expected.", "Begin the document with '{'.")
    return text


def _template(path: str, value: Any) -> str:
    return values.template(_text(MAX_DOCUMENT)(path, value))


def _number(path: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise _fail(path, f"'{value}' is no usable amount.", "Give a number of 0 or more.")
    return float(value)


def _count(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise _fail(path, f"'{value}' is no usable count.", "Give a whole number of 0 or more.")
    return value


def _resources(path: str, value: Any) -> JSON:
    return _checked(path, value, _RESOURCES)


def _url_files(path: str, value: Any) -> list[JSON]:
    if not isinstance(value, list | tuple) or len(value) > MAX_FILES:
        raise _fail(path, "a list of files is expected.", f"Give at most {MAX_FILES}.")
    return [_checked(f"{path}[{n}]", item, _URL_FILE) for n, item in enumerate(value)]


def _checked(path: str, value: Any, known: Mapping[str, _Field]) -> JSON:
    if not isinstance(value, Mapping):
        raise _fail(path, "an object is expected.", "Give an object.")
    unknown = sorted(set(map(str, value)) - set(known))
    if unknown:
        raise _fail(
            path, f"unknown field {unknown[0]!r}.", f"Known are {', '.join(sorted(known))}."
        )
    found = {}
    for name, rule in known.items():
        given = value.get(name)
        if given is not None:
            found[name] = rule.check(f"{path}.{name}", given)
        elif rule.required:
            raise _fail(f"{path}.{name}", "is missing.", "Fill it in.")
        else:
            found[name] = rule.default() if callable(rule.default) else rule.default
    return found


_RESOURCES = {
    "cpu": _Field(_number, default=0.0),
    "memory_gib": _Field(_number, default=0.0),
    "gpu": _Field(_count, default=0),
    "gpu_memory_gib": _Field(_number, default=0.0),
}
_URL_FILE = {
    "path": _Field(_text(1024), required=True),
    "address": _Field(_place(), required=True),
    "size_bytes": _Field(_count),
    "sha256": _Field(_text(64)),
}
_CONNECTION = _Field(_text(64))


def _no_resources() -> JSON:
    return _resources("resources", {})


_ORIGINS: Mapping[str, Mapping[str, _Field]] = {
    "huggingface": {
        "repository": _Field(_place(200), required=True),
        "revision": _Field(_text(200), default="main"),
        "connection": _CONNECTION,
        "files": _Field(_texts, default=list),
    },
    "url": {
        "address": _Field(_place(), required=True),
        "connection": _CONNECTION,
        "files": _Field(_url_files, default=list),
    },
    "path": {
        "path": _Field(_place(), required=True),
        "mode": _Field(_one_of(*PATH_MODES), required=True),
        "template": _Field(_template),
    },
    "container_image": {
        "reference": _Field(_place(512), required=True),
        "connection": _CONNECTION,
        "deployment_type": _Field(_one_of(*DEPLOYMENT_TYPES), required=True),
        "configuration": _Field(_json_object, required=True),
        "input_schema": _Field(_json_object),
        "output_schema": _Field(_json_object),
        "minimum": _Field(_resources, default=_no_resources),
    },
    "manual": {
        "type": _Field(_one_of(*MODEL_TYPES), required=True),
        "runtime": _Field(_text(200), required=True),
        "resources": _Field(_resources, default=_no_resources),
        "weights": _Field(_place()),
    },
}


def checked(source: str, origin: Mapping[str, Any]) -> JSON:
    """The origin, complete and with every default. Raises `Invalid`, which names the field."""
    if source not in SOURCES:
        raise Invalid(
            f"'{source}' is not a source of models.",
            remedy=f"Choose one of {', '.join(SOURCES)}.",
            field="source",
        )
    if source == UPLOAD:
        if origin:
            raise Invalid("An upload has no origin.", remedy="Leave it out.", field="origin")
        return {}
    if set(origin) != {source}:
        raise Invalid(
            f"The origin must be an object with the one key '{source}'.",
            remedy="Describe the source that was chosen.",
            field="origin",
        )
    return {source: _checked(source, origin[source], _ORIGINS[source])}


def has_files(source: str, origin: Mapping[str, Any]) -> bool:
    """Whether files will be stored: not for images, nor for models without weights."""
    if source == "container_image":
        return False
    return source != "manual" or origin["manual"]["weights"] is not None
