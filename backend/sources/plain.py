"""Texts that somebody else wrote, as messages, events and tables may hold them."""

from __future__ import annotations

MOST_CHARACTERS = 1000


def plain(text: str, most: int = MOST_CHARACTERS) -> str:
    """The text, shortened, without NUL and lone surrogates, which databases refuse."""
    return text[:most].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def is_plain(text: str) -> bool:
    """Whether a database takes the text as it is."""
    return text == plain(text, len(text))
