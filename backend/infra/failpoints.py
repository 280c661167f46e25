"""Places where a test kills the process, to prove that a crash there loses nothing.

`LOGGIA_FAILPOINTS=relay.sent=3,consumer.committed` kills the process with SIGKILL when it comes to
`relay.sent` for the third time or to `consumer.committed` for the first. Unset, a failpoint costs
one look into an empty dictionary.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "LOGGIA_FAILPOINTS"


def parse(text: str) -> dict[str, int]:
    """How often each named failpoint is passed before it strikes, counting from 1."""
    pairs = (item.partition("=") for item in text.split(",") if item)
    return {name.strip(): int(count or 1) for name, _, count in pairs}


_left = parse(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Dies here, when it is this failpoint's turn."""
    if name not in _left:
        return
    _left[name] -= 1
    if _left[name] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
