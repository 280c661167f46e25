"""What nobody should leave behind in an object store."""

from __future__ import annotations

from uuid import uuid4

from tests.importing.workplace import Site


def litter(site: Site) -> dict[str, str]:
    """One orphan of each kind; by path, under what it is found."""
    digest = "ab" * 32
    paths = {
        f"blobs/sha256/ab/{digest}": "files that nothing refers to",
        "blobs/sha256/zz/stray": "files that nothing refers to",
        f"manifests/{digest}.json": "manifests that nothing refers to",
        f"batches/{digest}": "lists of batches that nothing refers to",
        f"uploads/{uuid4()}/{0:020d}": "bytes of uploads that are over",
        f"uploads/{uuid4()}/staging/{'c' * 32}": "bytes of uploads that are over",
        f"staging/{'d' * 32}": "half-written files",
        f"staging/{uuid4()}/1/{'e' * 32}": "half-written files",
    }
    for path in paths:
        site.store.put(path, [b"12345"])
    return paths
