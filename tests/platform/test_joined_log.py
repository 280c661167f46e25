"""The one log: readable, prefixed, harmless to terminals, kept in a file."""

import io
import json
from pathlib import Path

import pytest

from backend.embedded.joined_log import JoinedLog


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_colour_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def written(folder: Path, line: str, stream: io.StringIO | None = None) -> tuple[str, str]:
    """What the terminal and the file show of a child's line, without the time."""
    stream = stream or io.StringIO()
    log = JoinedLog(folder / "loggia.log", width=8, stream=stream)
    log.child("relay", line)
    log.close()
    shown = "".join(each.partition(" ")[2] for each in stream.getvalue().splitlines(keepends=True))
    return shown, (folder / "loggia.log").read_text()


def test_a_structured_line_becomes_a_sentence_with_its_facts(tmp_path: Path) -> None:
    line = json.dumps(
        {
            "event": "caught up",
            "level": "info",
            "timestamp": "2026-01-01T00:00:00Z",
            "role": "relay",
            "position": 12,
            "topic": "loggia.events.v1",
            "why": "a new start",
            "partitions": [0, 1],
        }
    )
    shown, kept = written(tmp_path, line)
    assert shown == (
        'relay    | caught up  position=12  topic=loggia.events.v1  why="a new start"'
        "  partitions=[0,1]\n"
    )
    assert "relay    | info    caught up" in kept


def test_a_traceback_stands_below_its_line(tmp_path: Path) -> None:
    line = json.dumps({"event": "failed", "level": "error", "exception": "Traceback\n  boom"})
    shown, kept = written(tmp_path, line)
    assert shown.splitlines() == [
        "relay    | failed",
        "relay    |   Traceback",
        "relay    |     boom",
    ]
    assert kept.count("error") == 3


@pytest.mark.parametrize("line", ["{not json", '{"no": "event"}', "plain text", "100 % of %s"])
def test_any_other_line_is_shown_as_it_is(tmp_path: Path, line: str) -> None:
    shown, kept = written(tmp_path, line)
    assert shown == f"relay    | {line}\n"
    assert line in kept


@pytest.mark.parametrize(
    "line",
    [
        "a\x1b[2J\x1b]0;title\x07b",
        json.dumps({"event": "a\x1b[31mb\x9b\u202e"}),
        "a\x00\x08\x7fb",
    ],
)
def test_control_characters_of_strangers_are_dropped(tmp_path: Path, line: str) -> None:
    shown, kept = written(tmp_path, line)
    assert shown == "relay    | ab\n"
    assert kept.endswith("ab\n")


def test_colours_are_for_terminals_only(tmp_path: Path) -> None:
    terminal = Terminal()
    log = JoinedLog(tmp_path / "loggia.log", width=8, stream=terminal)
    log.child("relay", json.dumps({"event": "late", "level": "warning"}))
    log.close()
    assert "\x1b[33mlate\x1b[0m" in terminal.getvalue()
    assert "\x1b" not in (tmp_path / "loggia.log").read_text()


def test_a_password_shown_to_the_person_is_in_no_file(tmp_path: Path) -> None:
    stream = io.StringIO()
    log = JoinedLog(tmp_path / "loggia.log", width=8, stream=stream)
    log.say("ready")
    log.show("First password  hunter2hunter2")
    log.close()
    assert "hunter2" in stream.getvalue()
    assert "hunter2" not in (tmp_path / "loggia.log").read_text()
