"""Rules for names, labels and links."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import urlsplit

from backend.domain.addresses import check_address
from backend.domain.errors import Invalid
from backend.domain.modelfile import parse_modelfile

MAX_NAME_LENGTH = 64
MAX_LABELS = 5
MAX_LABEL_LENGTH = 64
MAX_LINKS = 3
MAX_DESCRIPTION_LENGTH = 2000
FIRST_VERSION = "0.0.1"
# Longer endings first: .tar.gz is more than .gz.
FILE_SUFFIXES = (
    ".tar.gz", ".tar.zst", ".tgz", ".tar", ".zip", ".safetensors", ".gguf", ".onnx",
)  # fmt: skip

# Letters and digits of ASCII, Chinese characters, hyphen and underscore.
_NAME = re.compile(r"[A-Za-z0-9_\-\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def model_name(text: str, *, remedy: str | None = None, field: str = "name") -> str:
    """The name, normalised to NFC. Raises `Invalid` where it breaks the naming rule.

    Without a remedy of its own, the refusal speaks of the file that the name comes from.
    """
    name = unicodedata.normalize("NFC", text)
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise Invalid(
            f"The model name has {len(name)} characters; allowed are 1 to {MAX_NAME_LENGTH}.",
            remedy=remedy
            or (
                "Rename the file so that its name without the extension is shorter."
                if name
                else "Give the file a name before its extension."
            ),
            field=field,
        )
    if not _NAME.fullmatch(name):
        wrong = sorted({c for c in name if not _NAME.fullmatch(c)})
        shown = ", ".join("a space" if c == " " else f"'{c}'" for c in wrong)
        raise Invalid(
            f"The model name '{name}' contains {shown}.",
            remedy="Use letters, Chinese characters, digits, hyphens and underscores only"
            + ("." if remedy else "; the name comes from the file name."),
            field=field,
        )
    return name


def name_key(name: str) -> str:
    """What must be unique: names that differ in case only are the same name."""
    return unicodedata.normalize("NFC", name).casefold()


def name_from_file(file_name: str) -> str:
    """The model name that an uploaded archive or file gives. Raises `Invalid`."""
    base = file_name.replace("\\", "/").rsplit("/", 1)[-1]
    stem = _without_suffix(base)
    if stem is None:
        raise Invalid(
            f"'{base}' is not an archive or a model file that Loggia imports.",
            remedy=f"Upload a file ending in {', '.join(FILE_SUFFIXES)}.",
            field="fileName",
        )
    # Dots are common in version numbers (Qwen1.5) but no part of a model name.
    return model_name(stem.replace(".", "_"))


def suggested_name(place: str) -> str:
    """The name that a repository, an address, a path or an image suggests; may be no valid one."""
    last = place.split("?")[0].split("#")[0].rstrip("/").rsplit("/", 1)[-1]
    last = last.split("@")[0].split(":")[0]
    return (_without_suffix(last) or last).replace(".", "_")


def _without_suffix(base: str) -> str | None:
    for suffix in FILE_SUFFIXES:
        if base.lower().endswith(suffix):
            return base[: -len(suffix)]
    return None


def description(text: str) -> str:
    """The description. Raises `Invalid` where it is too long."""
    if len(text) > MAX_DESCRIPTION_LENGTH:
        raise Invalid(
            f"The description has {len(text)} characters; allowed are {MAX_DESCRIPTION_LENGTH}.",
            remedy="Shorten the description.",
            field="description",
        )
    return text


def labels(values: Sequence[str]) -> list[str]:
    """Labels without blanks around them and without repetition. Raises `Invalid`."""
    cleaned = list(dict.fromkeys(value.strip() for value in values))
    if len(cleaned) > MAX_LABELS:
        raise Invalid(
            f"{len(cleaned)} labels were given; a model has at most {MAX_LABELS}.",
            remedy=f"Remove {len(cleaned) - MAX_LABELS} of them.",
            field="labels",
        )
    for label in cleaned:
        if not 1 <= len(label) <= MAX_LABEL_LENGTH or not label.isprintable():
            raise Invalid(
                f"The label '{label[:80]}' is empty, too long or not printable.",
                remedy=f"Use 1 to {MAX_LABEL_LENGTH} printable characters.",
                field="labels",
            )
    return cleaned


def documentation_links(values: Sequence[str]) -> list[str]:
    """Absolute http(s) addresses. Raises `Invalid`."""
    links = [value.strip() for value in values]
    if len(links) > MAX_LINKS:
        raise Invalid(
            f"{len(links)} documentation links were given; a model has at most {MAX_LINKS}.",
            remedy=f"Remove {len(links) - MAX_LINKS} of them.",
            field="documentationLinks",
        )
    for link in links:
        try:
            parts = urlsplit(link)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable or len(link) > 2000:
            raise Invalid(
                f"'{link[:120]}' is not a web address.",
                remedy="Give a complete address that begins with https:// or http://.",
                field="documentationLinks",
            )
        check_address(link, field="documentationLinks")
    return links


def template(text: str) -> str:
    """The text of a deployment template for Ollama. Raises `Invalid` where it is no Modelfile."""
    if text:
        parse_modelfile(text, names_source=False)
    return text
