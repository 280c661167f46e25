"""The archive that journeys import: a real, tiny Llama."""

from __future__ import annotations

import io
import random
import zipfile

from tests.builders.models import tiny_llama


def tiny_llama_archive(*, padding_bytes: int = 0, seed: int = 0) -> bytes:
    """A zip of the model; padding makes its import take long enough to be interrupted."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in tiny_llama(seed=seed).items():
            archive.writestr(path, data)
        if padding_bytes:
            archive.writestr("notes.txt", random.Random(seed).randbytes(padding_bytes).hex())
    return buffer.getvalue()
