"""Names inside an archive: what may become a path of a model, and which names collide."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from workers.importing.refusals import ImportRefused

MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 1024

_DRIVE = re.compile(r"[A-Za-z]:")
_PLAIN = re.compile(r"(?:[A-Za-z0-9_\-][A-Za-z0-9_.\-]*/)*[A-Za-z0-9_\-][A-Za-z0-9_.\-]*")
_REPACK = "Pack the model's folder again with a current zip program and upload that archive."


def shown(name: str) -> str:
    """The name as a message may carry it: short, printable, quoted."""
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name[:120])
    return f"'{text}{'…' if len(name) > 120 else ''}'"


def member_path(name: str, *, max_depth: int) -> str:
    """The relative path that a member's name stands for, in NFC and without '.' parts.

    Raises `ImportRefused` where the name could lead outside the model's folder, hides something
    or is not portable.
    """
    if _PLAIN.fullmatch(name) and len(name) <= MAX_COMPONENT_BYTES:
        parts = name.split("/")
    else:
        parts = _parts(name)
    if len(parts) > max_depth:
        raise ImportRefused(
            "path_too_deep",
            f"{shown(name)} lies {len(parts)} folders deep; allowed are {max_depth}.",
            "Put the model's files at the top of the archive.",
        )
    return "/".join(parts)


def _parts(name: str) -> list[str]:
    if "\0" in name:
        raise ImportRefused(
            "name_with_nul", f"The name {shown(name)} contains a NUL character.", _REPACK
        )
    if "\\" in name:
        raise ImportRefused(
            "path_escape",
            f"The name {shown(name)} contains a backslash, which some systems read as a folder.",
            _REPACK,
        )
    if name.startswith("/") or _DRIVE.match(name):
        raise ImportRefused(
            "path_escape",
            f"{shown(name)} is an absolute path; only paths inside the archive are accepted.",
            _REPACK,
        )
    if not all(c.isprintable() or unicodedata.category(c) == "Zs" for c in name):
        raise ImportRefused(
            "name_not_printable",
            f"The name {shown(name)} contains control or invisible characters.",
            "Rename the file and pack the model again.",
        )
    normal = unicodedata.normalize("NFC", name)
    parts = [part for part in normal.split("/") if part != "."]
    if ".." in parts:
        raise ImportRefused(
            "path_escape", f"{shown(name)} leads out of the archive's folder.", _REPACK
        )
    if not parts or any(not part.strip() for part in parts):
        raise ImportRefused("name_empty", f"The name {shown(name)} has an empty part.", _REPACK)
    if len(normal.encode()) > MAX_PATH_BYTES or any(
        len(part.encode()) > MAX_COMPONENT_BYTES for part in parts
    ):
        raise ImportRefused(
            "name_too_long",
            f"The name {shown(name)} is too long: a path has at most {MAX_PATH_BYTES} bytes "
            f"and each part of it {MAX_COMPONENT_BYTES}.",
            "Shorten the name and pack the model again.",
        )
    return parts


class NameRegister:
    """Remembers paths and refuses one that a person or a file system could take for another."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._folders: dict[str, str] = {}

    def add(self, path: str) -> None:
        """Takes the path of a file. Raises `ImportRefused` where it collides."""
        key = _collision_key(path)
        earlier = self._files.get(key)
        if earlier == path:
            raise ImportRefused(
                "duplicate_name",
                f"The archive holds {shown(path)} twice.",
                "Keep one of them and pack the model again.",
            )
        if earlier is not None:
            raise ImportRefused(
                "name_collision",
                f"{shown(earlier)} and {shown(path)} differ only in case or in how a letter "
                "is encoded.",
                "Rename one of them and pack the model again.",
            )
        if key in self._folders:
            raise self._file_and_folder(path)
        self._files[key] = path
        cut = key.rfind("/")
        while cut > 0 and key[:cut] not in self._folders:
            if key[:cut] in self._files:
                raise self._file_and_folder(self._files[key[:cut]])
            self._folders[key[:cut]] = path
            cut = key.rfind("/", 0, cut)

    @staticmethod
    def _file_and_folder(path: str) -> ImportRefused:
        return ImportRefused(
            "name_collision",
            f"{shown(path)} is a file and a folder at once.",
            "Rename one of them and pack the model again.",
        )


def _collision_key(path: str) -> str:
    if path.isascii():
        return path.lower()
    # Compatibility forms too: 'ﬁ' and 'fi', full-width and plain letters look alike.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def without_common_folder(paths: Sequence[str]) -> dict[str, str]:
    """Each path mapped to itself less the one folder that all of them lie in, if there is one."""
    tops = {path.split("/", 1)[0] for path in paths}
    if len(tops) == 1 and all("/" in path for path in paths):
        return {path: path.split("/", 1)[1] for path in paths}
    return {path: path for path in paths}


_LEFT_BEHIND = {".ds_store", "thumbs.db", "desktop.ini"}


def is_leftover(path: str) -> bool:
    """Whether an operating system, not the author, put this file into the archive."""
    parts = path.lower().split("/")
    return parts[0] == "__macosx" or parts[-1] in _LEFT_BEHIND or parts[-1].startswith("._")


def listed(names: Iterable[str], *, most: int = 3) -> str:
    """'a', 'b', 'c' and 4 more."""
    every = list(names)
    text = ", ".join(shown(name) for name in every[:most])
    return text if len(every) <= most else f"{text} and {len(every) - most} more"
