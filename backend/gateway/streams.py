"""Server-sent events on their way from an engine to a client."""

from __future__ import annotations

import re

import msgspec

# An event that is still incomplete after so many bytes is passed on in parts.
_LONGEST_EVENT = 1024**2
_ENDS = (b"\n\n", b"\r\n\r\n")
_EVENT = re.compile(rb".*?(?:\r?\n\r?\n|\Z)", re.DOTALL)
# The event that an engine adds for its report has no choices.
_NO_CHOICES = re.compile(rb'"choices": ?\[\]')


class Usage(msgspec.Struct):
    """Tokens, as the engine counts them."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Reported(msgspec.Struct):
    usage: Usage | None = None


_reported = msgspec.json.Decoder(_Reported)


def usage_in(document: bytes) -> Usage | None:
    """The usage that an answer reports, or None."""
    try:
        return _reported.decode(document).usage
    except msgspec.DecodeError:
        return None


class EventStream:
    """Passes complete events on at once, and holds only the beginning of an incomplete one.

    So a stream that breaks can be ended with an error event that the client can read. With
    `hides_usage`, the event that an engine adds for nothing but its report is not passed on.
    """

    __slots__ = ("_held", "_hides_usage", "_last", "_reporting", "chunks")

    def __init__(self, *, hides_usage: bool = False) -> None:
        self._hides_usage = hides_usage
        self._held = b""
        self._last = b""
        self._reporting = b""
        self.chunks = 0

    def feed(self, piece: bytes) -> bytes:
        """What can go to the client now that this piece has come."""
        if self._held:
            piece = self._held + piece
            self._held = b""
        if not piece.endswith(_ENDS):
            end = max(
                (at + len(mark) for mark in _ENDS if (at := piece.rfind(mark)) >= 0), default=0
            )
            if len(piece) - end < _LONGEST_EVENT:
                self._held = piece[end:]
                piece = piece[:end]
        if piece:
            self._last = piece
            if b'"usage"' in piece:
                self._reporting = piece
                if self._hides_usage and _NO_CHOICES.search(piece):
                    piece = b"".join(e for e in _EVENT.findall(piece) if not _is_report(e))
            self.chunks += piece.count(b"data: {")
        return piece

    def rest(self) -> bytes:
        """What was held when the engine ended the stream as it should."""
        held, self._held = self._held, b""
        return held

    @property
    def complete(self) -> bool:
        """Whether the engine has said that this is all."""
        return b"[DONE]" in self._last

    @property
    def usage(self) -> Usage | None:
        """The last usage that an event reported."""
        for line in reversed(self._reporting.splitlines()):
            if line.startswith(b"data: {"):
                usage = usage_in(line[len(b"data: ") :])
                if usage is not None:
                    return usage
        return None


def _is_report(event: bytes) -> bool:
    return (
        event.startswith(b"data: {")
        and _NO_CHOICES.search(event) is not None
        and usage_in(event[len(b"data: ") :]) is not None
    )
