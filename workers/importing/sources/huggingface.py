"""The files of a `huggingface` origin: a commit of a repository, with the chosen weights."""

from __future__ import annotations

from collections.abc import Sequence

from backend.sources.hub import Hub, HubRepository
from backend.sources.hub_files import HubFile, HubSourceFile
from backend.sources.weights import Offered, selected
from workers.importing.names import listed
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
        *,
        commit: str | None = None,
    ) -> None:
        """Asks the hub. Raises `FetchRefused`, `FetchFailed` and `ImportRefused`."""
        self._hub = hub
        self._repository = hub.inspect(repository, commit or revision)
        self._chosen = _chosen(self._repository, patterns)
        self.resolved = {
            "repository": self._repository.name,
            "revision": self._repository.commit,
        }

    def files(self) -> list[HubSourceFile]:
        """What is to be stored, verified by the hub's digests while it is read."""
        return [self._hub.source_file(self._repository, file) for file in self._chosen]


def _chosen(repository: HubRepository, patterns: Sequence[str]) -> list[HubFile]:
    offered = [Offered(file.path, file.size) for file in repository.files]
    chosen = selected(offered, patterns)
    if chosen is None:
        ids = [choice.id for choice in repository.weight_choices]
        raise ImportRefused(
            "weights_missing" if patterns else "weights_not_chosen",
            f"'{repository.name}' holds no weights that fit {listed(patterns)}."
            if patterns
            else f"'{repository.name}' holds several kinds of weights, and none was chosen.",
            f"Choose one of {listed(ids, most=12)}.",
            step="fetch",
        )
    wanted = {file.path for file in chosen}
    return [file for file in repository.files if file.path in wanted]
