"""Why something was not fetched, in words for a person."""

from __future__ import annotations

from collections.abc import Mapping

from backend.domain.addresses import bare


class FetchRefused(Exception):
    """Loggia will not fetch this. `code` is stable; `remedy` says what to do."""

    def __init__(self, code: str, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.remedy = remedy


class FetchFailed(Exception):
    """The other side did not deliver. `retryable`: another attempt may succeed.

    `status`, `headers` and `body` are the answer's, where one came; of the body the beginning.
    """

    def __init__(
        self,
        reason: str,
        remedy: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.retryable = retryable
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.body = body


class ContentChanged(FetchFailed):
    """What lies at the address is no longer what was begun with."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{bare(address)} changed while it was being read.",
            "Retry the import; give the file a digest in the manifest to pin its content.",
        )
