"""The command `loggia` as a person runs it, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any LOGGIA_* variable and without colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOGGIA_")}
    return {**kept, "NO_COLOR": "1", "COLUMNS": "200", **more}


def loggia(
    *arguments: str,
    environment: dict[str, str] | None = None,
    typed: str = "",
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. `typed` is its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "backend.cli", *arguments],
        env=clean_environment(**(environment or {})),
        cwd=Path(__file__).resolve().parents[2],
        input=typed,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


class CommandLine:
    """A person at a terminal, signed in to one platform."""

    def __init__(self, folder: Path, url: str, username: str, password: str) -> None:
        self.environment = {"XDG_CONFIG_HOME": str(folder)}
        self.said_at_login = self.run("login", url, "--username", username, typed=f"{password}\n")

    def run(self, *arguments: str, typed: str = "", seconds: float = 120) -> str:
        """What a command that must succeed prints."""
        ended = self.attempt(*arguments, typed=typed, seconds=seconds)
        assert ended.returncode == 0, f"loggia {' '.join(arguments)}:\n{ended.stderr}"
        return ended.stdout

    def json(self, *arguments: str, seconds: float = 120) -> Any:
        return json.loads(self.run(*arguments, "--json", seconds=seconds))

    def refusal(self, *arguments: str) -> str:
        """What a command that must fail says on standard error."""
        ended = self.attempt(*arguments)
        assert ended.returncode == 1, f"loggia {' '.join(arguments)}: {ended.stdout}"
        assert ended.stdout == ""
        assert "Traceback" not in ended.stderr
        return ended.stderr

    def attempt(
        self, *arguments: str, typed: str = "", seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return loggia(*arguments, environment=self.environment, typed=typed, seconds=seconds)
