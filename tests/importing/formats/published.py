"""Models that packages on PyPI carry: real files that nobody here made."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path


class Folder:
    """ModelFiles over the files below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def sizes(self) -> dict[str, int]:
        return {
            path.relative_to(self._folder).as_posix(): path.stat().st_size
            for path in sorted(self._folder.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    def open(self, path: str):  # type: ignore[no-untyped-def]
        return (self._folder / path).open("rb")


def package_folder(name: str, folder: str) -> Path:
    """A folder of an installed distribution; nothing of it is imported."""
    return Path(str(distribution(name).locate_file(folder)))
