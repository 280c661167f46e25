"""A repository of the test hub: its files by commit, and the ids under which the Hub knows them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_LARGE = (".safetensors", ".bin", ".gguf", ".onnx", ".onnx_data", ".pt", ".pth", ".h5", ".msgpack")


@lru_cache(maxsize=4096)
def sha256_of(content: bytes) -> str:
    """The digest under which the storage keeps a large file."""
    return hashlib.sha256(content).hexdigest()


def git_blob_sha1(content: bytes) -> str:
    """The id under which git keeps a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """A model repository; `readers` are the tokens that may read what is private or gated."""

    name: str
    files: dict[str, bytes]
    private: bool = False
    gated: str | bool = False
    disabled: bool = False
    readers: set[str] = field(default_factory=set)
    card: dict[str, Any] = field(default_factory=dict)
    history: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def push(self, files: dict[str, bytes]) -> None:
        """A new commit on the branch `main`; earlier ones stay readable by their id."""
        self.history[self.commit] = self.files
        self.files = files

    def at(self, revision: str) -> dict[str, bytes] | None:
        """The files at a revision, None where there is no such revision."""
        if revision in {"main", self.commit}:
            return self.files
        return self.history.get(revision)

    @property
    def commit(self) -> str:
        """The id of the newest commit; changes with the content."""
        digest = hashlib.sha1(self.name.encode())
        for path, content in sorted(self.files.items()):
            digest.update(f"{path}\0{sha256_of(content)}".encode())
        return digest.hexdigest()


def is_large(path: str) -> bool:
    """Whether the storage keeps the file, and the repository only a pointer to it."""
    return path.endswith(_LARGE)


def node(path: str, content: bytes) -> dict[str, Any]:
    facts: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    if is_large(path):
        sha256 = sha256_of(content)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\n".encode()
        facts["oid"] = git_blob_sha1(pointer)
        facts["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
        facts["xetHash"] = hashlib.sha256(b"xet" + content).hexdigest()
    else:
        facts["oid"] = git_blob_sha1(content)
    return facts
