"""Modelfiles, with which Ollama is told how to serve a model.

Format: the Modelfile reference of the Ollama project. An instruction begins a line; its value ends
with the line, or, where it begins with one or three quotation marks, with the next such mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backend.domain.errors import Invalid

MAX_LENGTH = 64 * 1024
INSTRUCTIONS = (
    "FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES",
)  # fmt: skip
_ROLES = ("system", "user", "assistant")
_WORD = re.compile(r"[ \t]*([A-Za-z]+)(?=[ \t\r\n]|\Z)[ \t]*")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]*[ \t]+\S", re.DOTALL)


@dataclass(frozen=True)
class Instruction:
    """One instruction, its name in capitals, and the number of the line where it begins."""

    name: str
    value: str
    line: int


def parse(text: str) -> list[Instruction]:
    """Every instruction in order. Raises `Invalid`, which names the line."""
    if len(text) > MAX_LENGTH or "\0" in text:
        raise Invalid(
            f"A Modelfile is a text of at most {MAX_LENGTH} characters.",
            remedy="Shorten it, or choose another file.",
            field="template",
        )
    return list(_instructions(text))


def check_template(text: str) -> str:
    """The part of a Modelfile that a person may write for a model. Raises `Invalid`."""
    for instruction in parse(text):
        if instruction.name in {"FROM", "ADAPTER"}:
            raise _wrong(
                instruction.line,
                f"{instruction.name} is written by Loggia, from the model's own files",
                "Remove this line.",
            )
    return text


def _instructions(text: str) -> Iterator[Instruction]:
    at, line = 0, 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        begin = text[at:end].strip()
        if not begin or begin.startswith("#"):
            at, line = end + 1, line + 1
            continue
        word = _WORD.match(text, at)
        name = word[1].upper() if word else ""
        if word is None or name not in INSTRUCTIONS:
            raise _wrong(
                line,
                f"'{begin.split()[0][:40]}' is not an instruction",
                f"Begin the line with one of {', '.join(INSTRUCTIONS)}; put texts of several "
                'lines between """ and """.',
            )
        value, after = _value(text, word.end(), end, line)
        _check(name, value, line)
        yield Instruction(name, value, line)
        line += text.count("\n", at, after) + 1
        at = after + 1


def _value(text: str, at: int, end: int, line: int) -> tuple[str, int]:
    """The value that begins here, and where its last line ends."""
    mark = next((mark for mark in ('"""', '"') if text.startswith(mark, at)), None)
    if mark is None:
        return text[at:end].strip(), end
    close = text.find(mark, at + len(mark))
    if close < 0:
        raise _wrong(line, f"the text that begins with {mark} has no end", f"End it with {mark}.")
    after = text.find("\n", close)
    after = len(text) if after < 0 else after
    rest = text[close + len(mark) : after].strip()
    if rest:
        raise _wrong(line, f"'{rest[:40]}' stands behind the closing {mark}", "Remove it.")
    return text[at + len(mark) : close], after


def _check(name: str, value: str, line: int) -> None:
    if not value.strip():
        raise _wrong(line, f"{name} says nothing", "Write its value, or remove the line.")
    if name == "PARAMETER" and not _PARAMETER.match(value):
        raise _wrong(line, "a parameter needs a name and a value", "Write: PARAMETER top_k 40")
    if name == "MESSAGE" and value.split()[0] not in _ROLES:
        raise _wrong(line, "a message begins with its role", f"Choose one of {', '.join(_ROLES)}.")
    if name == "TEMPLATE" and value.count("{{") != value.count("}}"):
        raise _wrong(line, "the template has a {{ without its }}", "Close every {{ with }}.")


def _wrong(line: int, detail: str, remedy: str) -> Invalid:
    return Invalid(f"Line {line} of the Modelfile: {detail}.", remedy=remedy, field="template")
