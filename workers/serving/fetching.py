"""Fetches model files in a pod, before its engine starts.

`python -m workers.serving.fetching --into=DIRECTORY MANIFEST...` makes a folder for each manifest,
named by it, complete or not at all. Pods that share the directory may do so at the same time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from backend.infra.object_store import ObjectStore
from backend.infra.settings import Settings, load_settings
from workers.serving.files import FilesUnavailable, ModelFiles

_MIB = 1024**2


def fetch(settings: Settings, into: Path, manifests: Sequence[str]) -> None:
    """Makes the folders. Raises `FilesUnavailable`."""
    files = ModelFiles(ObjectStore.from_settings(settings), into, settings.roots)
    for manifest in manifests:
        files.materialise(manifest, _Told(manifest))


class _Told:
    """Says how far it is, a line for each tenth."""

    def __init__(self, manifest: str) -> None:
        self._manifest = manifest[:12]
        self._tenths = -1

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 if not total else done * 10 // total
        if tenths > self._tenths:
            self._tenths = tenths
            print(
                f"files {self._manifest}: {done / _MIB:.1f} of {total / _MIB:.1f} MiB", flush=True
            )


def main() -> None:
    """The command. Ends with 1 where the files cannot be had, and says why."""
    parser = argparse.ArgumentParser(description=fetch.__doc__)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("manifests", nargs="+")
    given = parser.parse_args()
    try:
        fetch(load_settings(), given.into, given.manifests)
    except FilesUnavailable as error:
        sys.exit(f"{error.reason} {error.remedy}")


if __name__ == "__main__":
    main()
