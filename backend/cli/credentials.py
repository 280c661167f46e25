"""Which platform the client talks to, and as whom.

LOGGIA_URL and LOGGIA_TOKEN win; else what `loggia login` stored in the user's configuration folder,
in a file that only its owner can read.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import typer


@dataclass(frozen=True, slots=True)
class Credentials:
    """An address and a personal access token."""

    url: str
    token: str


def configuration_folder() -> Path:
    """Where the client keeps what it must remember."""
    return Path(typer.get_app_dir("loggia"))


def stored() -> Credentials | None:
    """What the environment or an earlier login says, or None."""
    url, token = os.environ.get("LOGGIA_URL"), os.environ.get("LOGGIA_TOKEN")
    if url and token:
        return Credentials(url.rstrip("/"), token)
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = Credentials(**json.loads(_file().read_text()))
        return Credentials(url.rstrip("/") if url else found.url, token or found.token)
    return None


def store(credentials: Credentials) -> Path:
    """Remember credentials; returns the file."""
    file = _file()
    file.parent.mkdir(parents=True, exist_ok=True)
    staged = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(asdict(credentials), stream)
    staged.replace(file)
    return file


def _file() -> Path:
    return configuration_folder() / "credentials.json"
