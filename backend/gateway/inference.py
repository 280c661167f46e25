"""The KServe v2 inference protocol: which of its paths a key opens, and how answers are passed on.

https://github.com/kserve/open-inference-protocol, with Triton's extensions of it that are about
one model. What is about the server (loading, shared memory, tracing, logging, every model's
statistics) is nobody's who holds a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

PREFIX = "/v2"
_MODEL = re.compile(
    r"/v2/models/(?!stats\Z)(?P<name>[^/]+)(?:/versions/[0-9]+)?"
    r"(?:/(?P<verb>ready|config|stats|infer|generate|generate_stream))?"
)
_SERVER = re.compile(r"/v2(/health/(live|ready))?")
_POSTED = frozenset({"infer", "generate", "generate_stream"})
# Binary tensors are told by their header; answers may be compressed.
_FORWARDED = (
    "Content-Type", "Content-Encoding", "Accept-Encoding", "Inference-Header-Content-Length",
)  # fmt: skip
# What the gateway's HTTP server undoes while it reads a body.
_UNDONE = frozenset({"gzip", "deflate", "br", "zstd"})
_RETURNED = ("Content-Type", "Content-Encoding", "Inference-Header-Content-Length")


def method_of(path: str) -> str | None:
    """The method that a path of the protocol answers; None where there is no such path."""
    if found := _MODEL.fullmatch(path):
        return "POST" if found["verb"] in _POSTED else "GET"
    return "GET" if _SERVER.fullmatch(path) else None


def other_model(path: str, name: str) -> str | None:
    """The model that a path of the protocol is about, where it is another one than this."""
    found = _MODEL.fullmatch(path)
    named = unquote(found["name"]) if found else name
    return None if named == name else named


def forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Of a request, the headers that its body needs; one that was compressed is so no more."""
    found = {name: headers[name] for name in _FORWARDED if name in headers}
    if found.get("Content-Encoding", "").lower() in _UNDONE:
        del found["Content-Encoding"]
    return found


def returned(headers: Mapping[str, str]) -> dict[str, str]:
    """Of an answer, the headers that its body needs."""
    return {name: headers[name] for name in _RETURNED if name in headers}
