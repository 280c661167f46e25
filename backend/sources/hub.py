"""Model repositories of a Hugging Face hub, through the hub's own client library.

`huggingface_hub` asks for what is there; every byte, its own requests included, goes through the
guarded transport. A revision is resolved to its commit once, and everything after that names the
commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

import httpx2
from huggingface_hub import HfApi, hf_hub_url, set_client_factory
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoFile

from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import explained
from backend.sources.guarded import GuardedClient
from backend.sources.hub_files import HubFile, HubSourceFile
from backend.sources.transport import GuardedTransport, Patience
from backend.sources.weights import Offered, WeightChoice, weight_choices

PUBLIC_HUB = "https://huggingface.co"
MAIN = "main"
MOST_FILES = 10_000
MOST_MODELS = 1_000
# The largest page that a hub answers a listing with.
_ANSWER_BYTES = 32 << 20

_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}(?:/[A-Za-z0-9][\w.\-]{0,95})?")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class HubRepository:
    """A repository as it is at `commit`. `name` is its present name, after renaming too."""

    name: str
    revision: str
    commit: str
    files: list[HubFile]
    gated: bool
    private: bool
    license: str | None
    task: str | None
    library: str | None
    tags: list[str] = field(default_factory=list)
    base_model: str | None = None

    @property
    def weight_choices(self) -> list[WeightChoice]:
        """Which weights there are to choose from."""
        return weight_choices(Offered(file.path, file.size) for file in self.files)

    @property
    def total_bytes(self) -> int:
        """All files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class ListedModel:
    """A model of an organisation or collection; a name that cannot be seen has a problem."""

    name: str
    description: str
    gated: bool = False
    problem: str | None = None


class Hub:
    """One hub, seen with one token or none."""

    def __init__(
        self, endpoint: str, token: str | None, client: GuardedClient, *, name: str = ""
    ) -> None:
        """`name` is the connection's, for what people are told to do."""
        self.endpoint = endpoint.rstrip("/")
        self.url = client.rules.parsed(self.endpoint)
        self._client = client
        self._token = token
        self._connection = name
        self._transport = GuardedTransport(
            client.rules,
            patience=Patience(connect_seconds=10, idle_seconds=20, total_seconds=120),
            limit_bytes=_ANSWER_BYTES,
        )
        # False, not None: the library would else look for a token of this machine's owner.
        self._api = HfApi(self.endpoint, token=token or False, library_name="loggia")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections of listings; the guarded client stays open."""
        self._transport.close()

    def account(self) -> str:
        """Whose token this is. Raises `FetchRefused` where the hub does not accept it."""
        with self._speaking("this hub"):
            return str(self._api.whoami().get("name") or "an account without a name")[:200]

    def reach(self) -> None:
        """Asks for any one model. Raises `FetchFailed` where no hub answers."""
        with self._speaking("this hub"):
            list(self._api.list_models(limit=1))

    def inspect(self, repository: str, revision: str | None = None) -> HubRepository:
        """The repository at a branch, tag or commit. Raises `FetchRefused` and `FetchFailed`."""
        name, asked = check_name(repository), (revision or MAIN).strip()
        with self._speaking(f"'{name}'", revision=asked):
            info = self._api.model_info(name, revision=asked)
            found, commit = check_name(str(info.id)), str(info.sha)
            if not _COMMIT.fullmatch(commit):
                raise _strange(self.endpoint, "a commit")
            if info.gated:
                # Its metadata is open to everybody; its files are not.
                self._api.auth_check(found)
            tree = self._api.list_repo_tree(found, recursive=True, revision=commit)
            nodes = [n for n in islice(tree, 2 * MOST_FILES) if isinstance(n, RepoFile)]
            if len(nodes) > MOST_FILES:
                raise FetchRefused(
                    "too_many_files",
                    f"'{name}' holds more than {MOST_FILES} files.",
                    "Choose a repository that holds one model.",
                )
            return _repository(info, found, asked, [_file(node) for node in nodes])

    def organisation(self, name: str) -> list[ListedModel]:
        """The models of an organisation or a person, at most `MOST_MODELS`."""
        check_name(name)
        with self._speaking(f"'{name}'"):
            models = self._api.list_models(author=name, limit=MOST_MODELS)
            found = [_listed(info) for info in models]
        if not found:
            raise FetchRefused(
                "nothing_listed",
                f"{self.url.host} shows no models of '{name}'.",
                "Check the name; private models need a connection whose token may see them.",
            )
        return found

    def collection(self, slug: str) -> tuple[str, list[ListedModel]]:
        """A collection's title and models; what is no model is left out."""
        if not re.fullmatch(r"[\w.\-]{1,96}/[\w.\-]{1,200}", slug):
            raise _bad_name(slug)
        with self._speaking(f"the collection '{slug}'"):
            collection = self._api.get_collection(slug)
            items = [item for item in collection.items if item.item_type == "model"]
            return str(collection.title)[:200], [
                _seen(str(item.item_id), str(item.note or "")) for item in items[:MOST_MODELS]
            ]

    def source_file(self, repository: HubRepository, file: HubFile) -> HubSourceFile:
        """The file as an import reads it."""
        address = hf_hub_url(
            repository.name, file.path, revision=repository.commit, endpoint=self.endpoint
        )
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        return HubSourceFile(file, address, self._client, headers, self._explained)

    @contextmanager
    def _speaking(self, what: str, *, revision: str = MAIN) -> Iterator[None]:
        """Within it the library speaks through this hub's transport, and its errors are words."""
        token = _speaker.set(self)
        try:
            yield
        except HFValidationError:
            raise _bad_name(what.strip("'")) from None
        except HfHubHTTPError as error:
            raise self._refusal(error, what, revision) from error
        except httpx2.HTTPError as error:
            raise FetchFailed(
                f"{self.url.host} broke off: {error}.", "Retry later.", retryable=True
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # The library trusts answers to have the shape that it knows.
            raise _strange(self.endpoint, type(error).__name__) from error
        finally:
            _speaker.reset(token)

    def send(self, request: httpx2.Request) -> httpx2.Response:
        """One request of the library's. Faults that pass are raised: whoever asked decides
        whether to wait, since the library would sleep as long as a server asks it to."""
        if (request.url.scheme, request.url.host, request.url.port) != (
            self.url.scheme,
            self.url.host,
            self.url.port,
        ):
            # A page that leads to another host must not take the token there.
            request.headers.pop("authorization", None)
        with explained(request.url):
            answer = self._transport.handle_request(request)
        answer.headers.pop("set-cookie", None)
        if answer.status_code == 429 or answer.status_code >= 500:
            answer.close()
            raise self._busy(answer)
        return answer

    def _busy(self, answer: httpx2.Response) -> FetchFailed:
        wait = answer.headers.get("retry-after", "")
        when = f"in {wait} seconds" if wait.isdigit() and len(wait) < 6 else "later"
        if answer.status_code == 429:
            reason = f"{self.url.host} answers no more requests for now: its rate limit is reached."
            remedy = f"Retry {when}" + (
                "." if self._token else "; a connection with a token has a higher limit."
            )
        else:
            reason = f"{self.url.host} has a fault of its own (status {answer.status_code})."
            remedy = f"Retry {when}."
        return FetchFailed(
            reason, remedy, retryable=True, status=answer.status_code, headers=answer.headers
        )

    def _explained(self, failure: FetchFailed, file: HubFile) -> Exception:
        """The download's failure in the hub's terms, where it is one of the hub's own."""
        code = failure.headers.get("x-error-code", "")
        if code == "GatedRepo":
            return self._gated("The repository")
        if failure.status in {401, 403, 404} and code != "":
            return FetchRefused(
                "file_gone",
                f"{self.url.host} does not deliver '{file.path}' any more ({code[:60]}).",
                "Look at the repository on the hub; then retry or choose another revision.",
            )
        return failure

    def _refusal(self, error: HfHubHTTPError, what: str, revision: str) -> Exception:
        status = error.response.status_code
        if isinstance(error, GatedRepoError):
            return self._gated(what)
        if isinstance(error, DisabledRepoError):
            return FetchRefused(
                "disabled",
                f"{self.url.host} has disabled {what}.",
                "Choose another repository; only the hub's operators can open it again.",
            )
        if isinstance(error, RevisionNotFoundError):
            return FetchRefused(
                "revision_missing",
                f"{what} has no revision '{revision[:100]}'.",
                f"Choose a branch, tag or commit that it has; most have '{MAIN}'.",
            )
        if isinstance(error, RepositoryNotFoundError) or status == 404:
            return FetchRefused(
                "repository_missing",
                f"{self.url.host} shows no {what.strip()}"
                f"{'' if self._token else ' to somebody without a token'}.",
                "Check the name for typing errors; a private repository needs a connection "
                "whose token may read it.",
            )
        if status in {401, 403}:
            return FetchRefused(
                "token_refused",
                f"{self.url.host} does not accept the token"
                + (f" of the connection '{self._connection}'." if self._connection else "."),
                "Make a new token with the right to read on the hub and save it in the connection.",
            )
        return FetchFailed(
            f"{self.url.host} answered {status} when asked for {what}.",
            "Check that the address is a Hugging Face hub's; else retry later.",
            status=status,
        )

    def _gated(self, what: str) -> FetchRefused:
        if self._token is None:
            return FetchRefused(
                "gated",
                f"{what} is gated: its files are given only to people who accepted its terms.",
                "Accept the terms on the repository's page, save a connection with a token of "
                "that account, and choose the connection.",
            )
        return FetchRefused(
            "gated",
            f"{what} is gated, and the account of the connection '{self._connection}' has no "
            "access to it.",
            "Ask for access on the repository's page with that account and wait for its owner's "
            "consent; the token also needs the right to read gated repositories.",
        )


# The hub that the library's calls in this context are meant for.
_speaker: ContextVar[Hub] = ContextVar("hub")


class _Transport(httpx2.BaseTransport):
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return _speaker.get().send(request)


def _client() -> httpx2.Client:
    return httpx2.Client(
        transport=_Transport(), follow_redirects=True, max_redirects=5, trust_env=False
    )


# From here on the library opens no connection that has not been judged.
set_client_factory(_client)


def check_name(text: str) -> str:
    """The name of a repository, organisation or person. Raises `FetchRefused`."""
    name = text.strip().strip("/")
    if not _NAME.fullmatch(name) or ".." in name or "--" in name or name.endswith(".git"):
        raise _bad_name(text)
    return name


def _repository(info: ModelInfo, name: str, asked: str, files: list[HubFile]) -> HubRepository:
    """What is known of a repository. Raises `TypeError` where the hub sends other things."""
    card: dict[str, Any] = dict(vars(info.card_data)) if info.card_data is not None else {}
    return HubRepository(
        name=name,
        revision=asked,
        commit=str(info.sha),
        files=files,
        gated=bool(info.gated),
        private=bool(info.private),
        license=_text(card.get("license")),
        task=_text(info.pipeline_tag),
        library=_text(info.library_name),
        tags=[str(tag)[:100] for tag in (info.tags or [])[:50]],
        base_model=_text(card.get("base_model")),
    )


def _file(node: RepoFile) -> HubFile:
    sha256 = node.lfs.sha256 if node.lfs is not None else None
    git_sha1 = None if sha256 else node.blob_id
    digest = sha256 or git_sha1 or ""
    size: Any = node.lfs.size if node.lfs is not None else node.size
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 62:
        raise ValueError("size")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{40,64}", digest):
        raise ValueError("digest")
    return HubFile(str(node.path), size, sha256, git_sha1)


def _listed(info: ModelInfo) -> ListedModel:
    words = [info.pipeline_tag, info.library_name]
    return _seen(
        str(info.id), ", ".join(str(word) for word in words if word), gated=bool(info.gated)
    )


def _seen(name: str, description: str, *, gated: bool = False) -> ListedModel:
    problem = None if _NAME.fullmatch(name) else "This is not the name of a repository."
    return ListedModel(name[:200], description[:500], gated, problem)


def _text(value: object) -> str | None:
    if isinstance(value, list):
        value = ", ".join(str(each) for each in value)
    return value[:200] if isinstance(value, str) and value else None


def _bad_name(text: str) -> FetchRefused:
    return FetchRefused(
        "name_malformed",
        f"'{text[:200]}' is not the name of a repository on a hub.",
        "Write it as on the hub's pages, such as 'organisation/model'.",
    )


def _strange(endpoint: str, what: str) -> FetchFailed:
    return FetchFailed(
        f"{endpoint} does not answer as a Hugging Face hub does ({what}).",
        "Check the address of the hub in the connection or the settings.",
    )
