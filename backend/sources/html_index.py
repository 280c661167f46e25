"""Directory listings as web servers write them: a page of links to what lies below its address."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

import httpx2
from selectolax.lexbor import LexborHTMLParser

from backend.domain.addresses import bare
from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import Document, GuardedClient
from backend.sources.rows import (
    MOST_FILES,
    MOST_ROWS,
    OfferedFile,
    PreviewRow,
    is_model_file,
    is_model_folder,
    usable_name,
)

PAGE_BYTES = 4 << 20
_MOST_FOLDERS = 500
_MOST_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Link:
    """What a listing names: a file, or a folder, whose address ends with a slash."""

    name: str
    address: str

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.address.endswith("/")


def links(page: Document, rules: AddressRules) -> list[Link]:
    """The entries directly below the page, in its order; links to elsewhere are none.

    A column's sort link, the parent and a foreign host are elsewhere.
    """
    base = httpx2.URL(page.address).copy_with(query=None, fragment=None)
    folder = base.path[: base.path.rfind("/") + 1]
    found: dict[str, Link] = {}
    for node in LexborHTMLParser(page.body).css("a[href]"):
        href = (node.attributes.get("href") or "").strip()
        if not href or href.startswith(("?", "#")):
            continue
        try:
            target = base.join(href)
            if target.query:
                continue
            target = rules.parsed(str(target.copy_with(fragment=None)))
        except (httpx2.InvalidURL, FetchRefused):
            continue
        same = (target.scheme, target.host, target.port) == (base.scheme, base.host, base.port)
        rest = target.path.removeprefix(folder)
        if same and target.path.startswith(folder) and rest and "/" not in rest.rstrip("/"):
            name = unquote(rest.rstrip("/"))
            if name not in {"", ".", ".."} and "/" not in name:
                found.setdefault(rest, Link(name, str(target)))
        if len(found) > MOST_ROWS:
            raise FetchRefused(
                "too_many_rows",
                f"The page lists more than {MOST_ROWS} entries.",
                "Give the address of a directory with fewer entries.",
            )
    return list(found.values())


def rows(page: Document, rules: AddressRules) -> list[PreviewRow]:
    """The models of a listing: folders, archives and single files of weights.

    A listing that is a model's own directory is one row.
    """
    entries = links(page, rules)
    if is_model_folder([entry.name for entry in entries]):
        return [PreviewRow(usable_name(page.address), page.address)]
    return [
        PreviewRow(usable_name(entry.name), entry.address)
        for entry in entries
        if entry.is_folder or is_model_file(entry.name)
    ]


def directory(
    address: str, client: GuardedClient, headers: dict[str, str] | None = None
) -> list[OfferedFile]:
    """Every file below a listing. Raises `FetchRefused` and `FetchFailed`."""
    files: list[OfferedFile] = []
    waiting = [("", address)]
    pages = 0
    while waiting:
        prefix, folder = waiting.pop()
        pages += 1
        if pages > _MOST_FOLDERS or prefix.count("/") > _MOST_DEPTH:
            raise FetchRefused(
                "too_many_folders",
                f"{bare(address)} holds more than {_MOST_FOLDERS} folders, or more than "
                f"{_MOST_DEPTH} in each other.",
                "Give the address of one model's directory.",
            )
        page = client.document(folder, limit_bytes=PAGE_BYTES, headers=headers)
        for entry in links(page, client.rules):
            path = f"{prefix}{entry.name}"
            if entry.is_folder:
                waiting.append((f"{path}/", entry.address))
            else:
                files.append(OfferedFile(path, entry.address))
        if len(files) > MOST_FILES:
            raise FetchRefused(
                "too_many_files",
                f"{bare(address)} holds more than {MOST_FILES} files.",
                "Give the address of one model's directory.",
            )
    if not files:
        raise FetchFailed(
            f"{bare(address)} lists no files.",
            "Give the address of a directory that lists a model.",
        )
    return sorted(files, key=lambda file: file.path)
