"""One readable log of many processes: a line each, prefixed with who says it.

Roles log JSON objects, one a line, with `event` and, where they have them, `level` and further
fields; PostgreSQL and the broker log plain text. Both become `TIME  ROLE  | message  field=value`,
on the terminal (coloured if it is one) and in a rotating file without colours.
"""

import logging
import os
import re
import sys
from datetime import datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import msgspec

_ESCAPE_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_CONTROL_CHARACTERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_LEVEL_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31m"}
_ROLE_COLOURS = [f"\x1b[{number}m" for number in (36, 32, 35, 34, 96, 92, 95, 94)]
#: Fields of a structured line that the prefix tells already, or that only machines read.
_SILENT_FIELDS = {"event", "level", "timestamp", "logger", "role", "exception", "stack"}
_ROTATE_BYTES = 10_000_000
_ROTATIONS_KEPT = 3


def plain(text: str) -> str:
    """The text without anything that could move a cursor, colour a terminal or break a line.

    What a process logs may quote a stranger's file name, so nothing of it is passed on as control.
    """
    return _CONTROL_CHARACTERS.sub("", _ESCAPE_SEQUENCES.sub("", text)).rstrip()


class JoinedLog:
    """Where every process's lines meet. `width` is that of the longest role name."""

    def __init__(self, file: Path, *, width: int, stream: TextIO | None = None) -> None:
        self._stream: TextIO | None = stream or sys.stdout
        self._width = width
        self._colours: dict[str, str] = {}
        self._coloured = _wants_colour(self._stream)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = RotatingFileHandler(
            file, maxBytes=_ROTATE_BYTES, backupCount=_ROTATIONS_KEPT, delay=True
        )

    def child(self, role: str, line: str) -> None:
        """A line that a role printed."""
        level, message, details = _parse(line)
        self._write(role, level, plain(message), [plain(each) for each in details])

    def say(self, message: str, *, level: str = "info") -> None:
        """A line of the supervisor's own."""
        self._write("loggia", level, message, [])

    def show(self, text: str) -> None:
        """Text for the person at the terminal that belongs in no file, such as a password."""
        self._print(text)

    def close(self) -> None:
        self._file.close()

    def _write(self, role: str, level: str, message: str, details: list[str]) -> None:
        if not message and not details:
            return
        # Local time: this is for the person at the terminal.
        now = datetime.now().astimezone()
        for line in [message, *(f"  {each}" for each in details)]:
            prefix = f"{role:<{self._width}}"
            self._keep(f"{now:%Y-%m-%d %H:%M:%S.%f} {prefix} | {level:<7} {line}")
            if not self._coloured:
                self._print(f"{now:%H:%M:%S} {prefix} | {line}")
                continue
            colour = self._colour_of(role)
            accent = _LEVEL_COLOURS.get(level, "")
            self._print(
                f"{_DIM}{now:%H:%M:%S}{_RESET} {colour}{prefix} |{_RESET} {accent}{line}{_RESET}"
            )

    def _colour_of(self, role: str) -> str:
        return self._colours.setdefault(
            role, _ROLE_COLOURS[len(self._colours) % len(_ROLE_COLOURS)]
        )

    def _keep(self, line: str) -> None:
        self._file.emit(logging.makeLogRecord({"msg": line}))

    def _print(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever read this has gone (a closed pipe or terminal); the file goes on.
            self._stream = None


def _wants_colour(stream: TextIO | None) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or bool(stream and stream.isatty())


def _parse(line: str) -> tuple[str, str, list[str]]:
    """Level, message and the lines below it (a traceback) of what a process printed."""
    if line.startswith("{"):
        try:
            fields = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeError):
            fields = {}
        if "event" in fields:
            level = str(fields.get("level", "info")).lower()
            extra = "".join(
                f"  {name}={_brief(value)}"
                for name, value in fields.items()
                if name not in _SILENT_FIELDS and value is not None
            )
            return level, f"{fields['event']}{extra}", str(fields.get("exception", "")).splitlines()
    return _guess_level(line), line, []


def _guess_level(line: str) -> str:
    start = plain(line)[:60].upper()
    if any(word in start for word in ("FATAL", "PANIC", "ERROR", "TRACEBACK")):
        return "error"
    return "warning" if "WARN" in start else "info"


def _brief(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f'"{text}"' if isinstance(value, str) and " " in text else text
