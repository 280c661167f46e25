"""The archives that journeys import: a real, tiny Llama."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Mapping

from tests.builders.models import tiny_llama


def zipped(files: Mapping[str, bytes]) -> bytes:
    """The files as a zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return buffer.getvalue()


def tiny_llama_archive(*, padding_bytes: int = 0, seed: int = 0) -> bytes:
    """A zip of the model; padding makes its import take long enough to be interrupted."""
    files = tiny_llama(seed=seed)
    if padding_bytes:
        files["notes.txt"] = random.Random(seed).randbytes(padding_bytes).hex().encode()
    return zipped(files)
