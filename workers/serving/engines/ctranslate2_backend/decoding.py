"""Tokens become text: piece by piece, up to the first stop sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Text:
    """The text of one answer while its tokens come.

    What may be the beginning of a stop sequence is held until it is known not to be one.
    """

    def __init__(self, step: Callable[[int], str | None], stop: Sequence[str]) -> None:
        """`step` takes a token and gives the text that is certain now, or nothing yet."""
        self._step = step
        self._stop = stop
        self._held = ""
        self.stopped = False

    def take(self, token: int) -> str:
        """What can be shown after this token."""
        if self.stopped:
            return ""
        self._held += self._step(token) or ""
        ends = [at for text in self._stop if (at := self._held.find(text)) >= 0]
        if ends:
            shown, self._held, self.stopped = self._held[: min(ends)], "", True
            return shown
        kept = max((_overlap(self._held, text) for text in self._stop), default=0)
        shown = self._held[: len(self._held) - kept]
        self._held = self._held[len(shown) :]
        return shown

    def rest(self) -> str:
        """What was held when the tokens ended."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of the text that begins the stop sequence."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
