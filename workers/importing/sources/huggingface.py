"""A model of a Hugging Face hub as an import reads it: one commit, chosen weights, safe names."""

from __future__ import annotations

from collections.abc import Sequence

from backend.sources.hub import Hub, HubRepository
from backend.sources.hub_files import HubSourceFile
from backend.sources.weights import Offered, selected
from workers.importing.archive_limits import ArchiveLimits
from workers.importing.names import NameRegister, is_leftover, listed, member_path
from workers.importing.refusals import ImportRefused


class HuggingFaceSource:
    """The files of a repository at a commit.

    `patterns` choose among several kinds of weights: ids of weight choices, or shell patterns over
    paths. `commit` is what an earlier attempt of the same import resolved the revision to.
    """

    def __init__(
        self,
        hub: Hub,
        repository: str,
        revision: str,
        patterns: Sequence[str],
        limits: ArchiveLimits,
        *,
        commit: str | None = None,
    ) -> None:
        """Asks the hub. Raises `FetchRefused`, `FetchFailed` and `ImportRefused`."""
        self._hub = hub
        self.repository = hub.inspect(repository, commit or revision)
        self.resolved = {
            "repository": self.repository.name,
            "revision": self.repository.commit,
        }
        self.leftovers: list[str] = []
        self._chosen = self._checked(_chosen(self.repository, patterns), limits)

    def files(self) -> list[HubSourceFile]:
        """What is to be stored, verified by the hub's digests while it is read."""
        return list(self._chosen)

    def _checked(self, chosen: Sequence[Offered], limits: ArchiveLimits) -> list[HubSourceFile]:
        by_path = {file.path: file for file in self.repository.files}
        names = NameRegister()
        kept = []
        for each in chosen:
            path = member_path(each.path, max_depth=limits.max_depth)
            if is_leftover(path):
                self.leftovers.append(path)
                continue
            names.add(path)
            file = self._hub.source_file(self.repository, by_path[each.path])
            file.path = path
            kept.append(file)
        _refuse_too_much(kept, limits)
        return kept


def _chosen(repository: HubRepository, patterns: Sequence[str]) -> list[Offered]:
    offered = [Offered(file.path, file.size) for file in repository.files]
    chosen = selected(offered, patterns)
    if chosen is None:
        ids = [choice.id for choice in repository.weight_choices]
        raise ImportRefused(
            "weights_not_chosen" if not patterns else "weights_missing",
            f"'{repository.name}' holds several kinds of weights, and none was chosen."
            if not patterns
            else f"'{repository.name}' holds no weights that fit {listed(patterns)}.",
            f"Choose one of {listed(ids, most=12)}.",
            step="fetch",
        )
    if not chosen:
        raise ImportRefused(
            "empty",
            f"'{repository.name}' holds no files at this revision.",
            "Choose another revision or repository.",
            step="fetch",
        )
    return chosen


def _refuse_too_much(files: Sequence[HubSourceFile], limits: ArchiveLimits) -> None:
    total = sum(file.size or 0 for file in files)
    if len(files) > limits.max_entries:
        raise ImportRefused(
            "too_many_entries",
            f"The repository holds {len(files)} files; allowed are {limits.max_entries}.",
            "Choose a repository that holds one model, or ask the operator to raise "
            "LOGGIA_IMPORT_MAX_ENTRIES.",
            step="fetch",
        )
    if total > limits.max_total_bytes:
        raise ImportRefused(
            "too_large",
            f"The chosen files have {total} bytes; allowed are {limits.max_total_bytes}.",
            "Choose smaller weights, or ask the operator to raise LOGGIA_IMPORT_MAX_BYTES.",
            step="fetch",
        )
