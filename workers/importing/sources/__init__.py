"""Where an import's files come from: one shape for every source, whatever lies behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backend.infra.object_store import ObjectStore
from workers.importing.archive_limits import ArchiveLimits


class SourceFile(Protocol):
    """One file that a source offers. `size` and `sha256` are promises, checked afterwards."""

    @property
    def path(self) -> str:
        """Its path inside the model, as the source says."""

    @property
    def size(self) -> int | None:
        """Its size in bytes, where the source says it."""

    @property
    def sha256(self) -> str | None:
        """Its digest, where the source says it."""

    def chunks(self, offset: int = 0) -> Iterator[bytes]:
        """The content from `offset`. Raises `FetchRefused` and `FetchFailed`."""


class Source(Protocol):
    """Files, and what the source really was: a commit, a digest, a path."""

    @property
    def resolved(self) -> dict[str, str]:
        """What was really fetched, for the history."""

    def files(self) -> Sequence[SourceFile]:
        """Every file. Raises `FetchRefused` and `FetchFailed`."""


@dataclass
class Ongoing:
    """The import that a source is read for.

    `journal` is kept by `write_journal`; `check` is called often and raises when the import must
    stop; `progress` gets a step, the bytes done, and their total where it is known. What is put
    below `staging` goes when the import ends; what is below `attempt` goes when its worker dies.
    """

    store: ObjectStore
    journal: dict[str, Any]
    write_journal: Callable[[], None]
    check: Callable[[], None]
    progress: Callable[[str, int, int | None], None]
    staging: str
    attempt: int
    limits: ArchiveLimits
