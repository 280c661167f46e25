"""References to container images, such as `ghcr.io/acme/server:1.2@sha256:…`.

Grammar: the OCI distribution specification 1.1 (names, tags), the OCI image specification
(digests), and Docker's rules for what may be left out: host, `library/` and the tag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.sources.errors import FetchRefused

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"
_DOCKER_HUB_NAMES = {DOCKER_HUB, "index.docker.io", _DOCKER_HUB_API, "registry.hub.docker.com"}

_HOST = re.compile(
    r"(?:(?:[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?"
    r"|\[[0-9a-f:]+\])(?::[0-9]{1,5})?",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_EXAMPLE = "Write it as in registry.example.org/team/server:1.0."


@dataclass(frozen=True)
class ImageReference:
    """A complete reference. With a digest the tag is only a remark."""

    host: str
    name: str
    tag: str | None
    digest: str | None

    @property
    def api_host(self) -> str:
        """The host that answers for the registry."""
        return _DOCKER_HUB_API if self.host == DOCKER_HUB else self.host

    @property
    def wanted(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or ""

    def pinned(self, digest: str) -> str:
        """The reference of exactly this content, whatever happens to the tag."""
        return f"{self.host}/{self.name}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.name}{tag}{'@' + self.digest if self.digest else ''}"


def parse_reference(text: str) -> ImageReference:
    """The reference with what was left out. Raises `FetchRefused`."""
    rest = text.strip()
    if len(rest) > 1000:
        raise _refused(text, "it is too long")
    for scheme in ("http://", "https://", "docker://", "oci://"):
        if rest.lower().startswith(scheme):
            raise _refused(text, f"it begins with '{scheme}'", "Leave that part out. " + _EXAMPLE)
    rest, at, digest = rest.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _refused(
            text,
            "its digest is not one",
            "A digest is 'sha256:' and 64 hexadecimal digits in lower case.",
        )
    head, slash, tail = rest.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head.lower() != head):
        host, rest = head.lower(), tail
    else:
        host = DOCKER_HUB
    if not _HOST.fullmatch(host) or not 0 < int((re.findall(r":(\d+)$", host) or [1])[0]) < 65536:
        raise _refused(text, f"'{host[:100]}' is no host name")
    name, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _refused(text, f"'{tag[:100]}' is no tag")
    if host in _DOCKER_HUB_NAMES:
        host = DOCKER_HUB
        name = name if "/" in name else f"library/{name}"
    if not _NAME.fullmatch(name) or len(name) > 255:
        remedy = "Names of images are in lower case. " if name.lower() != name else ""
        raise _refused(text, f"'{name[:100]}' is no name of an image", remedy + _EXAMPLE)
    return ImageReference(host, name, tag or (None if digest else "latest"), digest if at else None)


def _refused(text: str, why: str, remedy: str = _EXAMPLE) -> FetchRefused:
    return FetchRefused(
        "reference_malformed",
        f"'{text.strip()[:200]}' is not a reference to an image: {why}.",
        remedy,
    )
