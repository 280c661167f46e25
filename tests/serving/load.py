"""Clients of the gateway that ask without a pause, each the next thing after an answer."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import httpx

from tests.rig.waiting import eventually

_PATIENCE_SECONDS = 600


class Clients:
    """So many of them, each in a thread of its own; `outcomes` has one word for every request.

    `answered`, `cut short` for a stream that ended with an error event, the status of a refusal, or
    what broke.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        path: str = "/completions",
        body: Mapping[str, Any] | None = None,
        stream: bool = False,
    ) -> None:
        self._url = url + path
        self._headers = {"Authorization": f"Bearer {key}"}
        self._body = dict(body or {"model": "tiny", "prompt": "Hello", "max_tokens": 3})
        if stream:
            self._body["stream"] = True
        self._wanted = 0
        self._threads: list[threading.Thread] = []
        self.outcomes: list[str] = []

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        self.be(0)

    @property
    def failures(self) -> list[str]:
        """Every request that was not answered."""
        return [outcome for outcome in self.outcomes if outcome != "answered"]

    def be(self, count: int) -> None:
        """So many ask from now on; those that are too many finish their request first."""
        self._wanted = count
        for thread in self._threads[count:]:
            thread.join(timeout=_PATIENCE_SECONDS)
        del self._threads[count:]
        while len(self._threads) < count:
            thread = threading.Thread(target=self._ask, args=(len(self._threads),), daemon=True)
            self._threads.append(thread)
            thread.start()

    def wait_for_more(self, count: int = 5, *, seconds: float = 30) -> None:
        """Until so many more have been answered."""
        target = self.outcomes.count("answered") + count
        eventually(
            lambda: self.outcomes.count("answered") >= target, "the load goes on", seconds=seconds
        )

    def _ask(self, number: int) -> None:
        with httpx.Client(
            timeout=_PATIENCE_SECONDS, trust_env=False, headers=self._headers
        ) as client:
            while number < self._wanted:
                try:
                    answer = client.post(self._url, json=self._body)
                except httpx.HTTPError as error:
                    self.outcomes.append(type(error).__name__)
                    continue
                self.outcomes.append(_outcome(answer))


def _outcome(answer: httpx.Response) -> str:
    if answer.status_code != httpx.codes.OK:
        return str(answer.status_code)
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return "answered"
    if answer.text.endswith("data: [DONE]\n\n"):
        return "answered"
    last = answer.text.rstrip().rpartition("data: ")[2]
    return "cut short" if last.startswith('{"error":') else "silence"
