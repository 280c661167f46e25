"""The interfaces of container images: which of them a key opens, and under which address.

What stands in the configuration file as `POST /classify` is `POST /raw/classify` at the gateway.
Nothing else of the container can be reached: neither its health check nor its metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

PREFIX = "/raw/"
ENGINE = "container"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

Interfaces = frozenset[tuple[str, str]]


class _Api(msgspec.Struct):
    path: str
    method: str = "POST"
    port: int | None = None


class _Configuration(msgspec.Struct):
    port: int
    apis: list[_Api]


def interfaces_of(origin: Mapping[str, Any] | None) -> Interfaces:
    """Methods and paths on the container's main port; none of what is no container image."""
    image = (origin or {}).get("container_image")
    if image is None:
        return frozenset()
    try:
        configuration = msgspec.json.decode(image["configuration"], type=_Configuration)
    except (msgspec.MsgspecError, KeyError):
        return frozenset()
    return frozenset(
        (api.method, api.path)
        for api in configuration.apis
        if api.port in (None, configuration.port)
    )


def inside(path: str) -> str:
    """The container's own path for a path of the gateway's."""
    return path[len(PREFIX) - 1 :]
