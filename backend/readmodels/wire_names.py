"""Names on the wire: camelCase in JSON, snake_case in Python and in the events."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

# Objects whose keys are somebody else's words: an engine's options, an image's labels.
_OPAQUE = {"engine_arguments", "engineArguments", "resolved", "labels"}
_HUMP = re.compile(r"(?<!^)(?=[A-Z])")


@cache
def camel(name: str) -> str:
    """`max_tokens` as `maxTokens`."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


@cache
def snake(name: str) -> str:
    """`maxTokens` as `max_tokens`."""
    return _HUMP.sub("_", name).lower()


def camel_path(path: str) -> str:
    """A field's path, such as `parameters.max_tokens`, as it is on the wire."""
    head, _, rest = path.partition(".")
    if head in _OPAQUE:
        return f"{camel(head)}.{rest}" if rest else camel(head)
    return camel(head) + (f".{camel_path(rest)}" if rest else "")


def camel_keys(value: Any) -> Any:
    """A JSON value with its objects' keys in camelCase."""
    if isinstance(value, dict):
        return {
            camel(key): dict(each)
            if key in _OPAQUE and isinstance(each, dict)
            else camel_keys(each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [camel_keys(each) for each in value]
    return value
