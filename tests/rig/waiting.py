"""Waiting for something to become true, with a deadline that only a broken product reaches."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def eventually(
    probe: Callable[[], Value], what: str, *, seconds: float = 30, every: float = 0.05
) -> Value:
    """The first true value of `probe`. Raises AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still not after {seconds:g} s: {what} (last value: {value!r})")
        time.sleep(every)
