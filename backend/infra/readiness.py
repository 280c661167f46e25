"""How a role without an HTTP port tells its supervisor that it is ready.

Convention: the supervisor names a file in the environment variable LOGGIA_READY_FILE. A role calls
`announce_ready()` once, when it has everything it needs and does its work: the relay when it holds
the lock and has caught up with its own stored position, projections when every thread consumes,
workers when they claim jobs. Without a supervisor the variable is absent and the call does nothing,
so that production roles need no special case. The API and the gateway answer on `/readyz` instead.
"""

import os
from pathlib import Path

READY_FILE_VARIABLE = "LOGGIA_READY_FILE"


def announce_ready() -> None:
    """Tell the supervisor, if there is one, that this role is ready. Safe to call again."""
    path = os.environ.get(READY_FILE_VARIABLE)
    if path:
        Path(path).write_text(f"{os.getpid()}\n")


def is_announced(path: Path) -> bool:
    """Whether the role that was given this file has announced itself."""
    return path.exists()
