"""The Modelfile of Ollama (github.com/ollama/ollama, docs/modelfile.md) as a small grammar.

A line is a comment, or an instruction and its value. A value ends with its line, unless it is
quoted by three quotation marks; a mark alone may quote it within its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from backend.domain.errors import Invalid

MAX_CHARACTERS = 64 * 1024
_MAX_INSTRUCTIONS = 1000
_QUOTES = '"""'
_WORD = re.compile(r"\S+")
_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_OPENING = {"if", "range", "with", "block", "define"}
_ROLES = ("system", "user", "assistant")
_INSTRUCTIONS = (
    "FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE", "REQUIRES",
)  # fmt: skip


def _whole(text: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,18}", text) is not None


def _decimal(text: str) -> bool:
    return re.fullmatch(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})", text) is not None


def _truth(text: str) -> bool:
    return text in {"true", "false"}


def _text(text: str) -> bool:
    return bool(text)


_A_WHOLE, _A_DECIMAL = (_whole, "a whole number"), (_decimal, "a number")
_A_TRUTH, _A_TEXT = (_truth, "true or false"), (_text, "a text")
_PARAMETERS: dict[str, tuple[Callable[[str], bool], str]] = {
    "draft_num_predict": _A_WHOLE, "frequency_penalty": _A_DECIMAL, "low_vram": _A_TRUTH,
    "main_gpu": _A_WHOLE, "min_p": _A_DECIMAL, "mirostat": _A_WHOLE, "mirostat_eta": _A_DECIMAL,
    "mirostat_tau": _A_DECIMAL, "num_batch": _A_WHOLE, "num_ctx": _A_WHOLE, "num_gpu": _A_WHOLE,
    "num_keep": _A_WHOLE, "num_predict": _A_WHOLE, "num_thread": _A_WHOLE, "numa": _A_TRUTH,
    "penalize_newline": _A_TRUTH, "presence_penalty": _A_DECIMAL, "repeat_last_n": _A_WHOLE,
    "repeat_penalty": _A_DECIMAL, "seed": _A_WHOLE, "stop": _A_TEXT, "temperature": _A_DECIMAL,
    "tfs_z": _A_DECIMAL, "top_k": _A_WHOLE, "top_p": _A_DECIMAL, "typical_p": _A_DECIMAL,
    "use_mlock": _A_TRUTH, "use_mmap": _A_TRUTH, "vocab_only": _A_TRUTH,
}  # fmt: skip

_KINDS = {"a whole number": "int", "a number": "float", "true or false": "switch"}
# Of each parameter: int, float, switch or text.
PARAMETER_KINDS = {name: _KINDS.get(words, "text") for name, (_, words) in _PARAMETERS.items()}


@dataclass(frozen=True, slots=True)
class Modelfile:
    """What a Modelfile says. `stop` is the parameter that may stand more than once."""

    source: str
    parameters: dict[str, list[str]] = field(default_factory=dict)
    template: str = ""
    system: str = ""
    adapters: list[str] = field(default_factory=list)
    licenses: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)


def parse_modelfile(text: str, *, names_source: bool = True) -> Modelfile:
    """The Modelfile. Raises `Invalid`, whose text names the line and the fault.

    A deployment template needs no FROM: whoever deploys it knows the model's place.
    """
    if len(text) > MAX_CHARACTERS or "\0" in text:
        raise Invalid(
            f"The Modelfile is longer than {MAX_CHARACTERS} characters, or is not text.",
            remedy="Give the text of a Modelfile.",
            field="template",
        )
    single: dict[str, str] = {}
    found = Modelfile("")
    for line, name, value in _instructions(text):
        if name in {"FROM", "TEMPLATE", "SYSTEM", "REQUIRES"}:
            if name in single:
                raise _wrong(line, f"{name} stands a second time", f"Keep one {name}.")
            single[name] = value
            if name == "TEMPLATE":
                _check_template(line, value)
        elif name == "PARAMETER":
            key, setting = _parameter(line, value)
            if key in found.parameters and key != "stop":
                raise _wrong(line, f"the parameter {key} stands a second time", "Keep one of them.")
            found.parameters.setdefault(key, []).append(setting)
        elif name == "ADAPTER":
            found.adapters.append(value)
        elif name == "LICENSE":
            found.licenses.append(value)
        else:
            found.messages.append(_message(line, value))
    if names_source and "FROM" not in single:
        raise Invalid(
            "The Modelfile has no FROM.",
            remedy="Begin with a line such as 'FROM ./model.gguf'.",
            field="template",
        )
    return Modelfile(
        single.get("FROM", ""), found.parameters, single.get("TEMPLATE", ""),
        single.get("SYSTEM", ""), found.adapters, found.licenses, found.messages,
    )  # fmt: skip


def _instructions(text: str) -> list[tuple[int, str, str]]:
    """Each instruction with the number of its line, its name and its value."""
    lines = text.removeprefix("\ufeff").splitlines()
    found: list[tuple[int, str, str]] = []
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].strip()
        at += 1
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        name = word.upper()
        if name not in _INSTRUCTIONS:
            raise _wrong(
                number,
                f"'{word[:40]}' is no instruction",
                f"Known are {', '.join(_INSTRUCTIONS)}; a text of several lines stands between "
                f"{_QUOTES}.",
            )
        if len(found) >= _MAX_INSTRUCTIONS:
            raise _wrong(number, f"there are more than {_MAX_INSTRUCTIONS} instructions", "Fewer.")
        value = rest.strip()
        opening = value.find(_QUOTES)
        if opening >= 0:
            head, body = value[:opening], value[opening + len(_QUOTES) :]
            parts = [body]
            while _QUOTES not in parts[-1]:
                if at >= len(lines):
                    raise _wrong(number, f"the text does not end with {_QUOTES}", "Close it.")
                parts.append(lines[at])
                at += 1
            inside, _, behind = "\n".join(parts).partition(_QUOTES)
            if behind.strip():
                raise _wrong(at, f"something follows behind {_QUOTES}", "Put it on its own line.")
            value = head + inside
        elif len(value) >= 2 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if not value.strip():
            raise _wrong(number, f"{name} has no value", "Give one, or leave the line out.")
        found.append((number, name, value))
    return found


def _parameter(line: int, value: str) -> tuple[str, str]:
    match = _WORD.match(value)
    key = match[0].lower() if match else ""
    setting = value[len(key) :].strip()
    if len(setting) >= 2 and setting[0] == setting[-1] == '"':
        setting = setting[1:-1]
    if key not in _PARAMETERS:
        raise _wrong(
            line, f"the parameter '{key[:40]}' is not known", f"Known are {', '.join(_PARAMETERS)}."
        )
    fits, words = _PARAMETERS[key]
    if not fits(setting):
        raise _wrong(line, f"the parameter {key} is '{setting[:40]}'", f"It must be {words}.")
    return key, setting


def _message(line: int, value: str) -> tuple[str, str]:
    role, _, words = value.partition(" ")
    if role.lower() not in _ROLES or not words.strip():
        raise _wrong(
            line, "MESSAGE names no role and text", f"The role is one of {', '.join(_ROLES)}."
        )
    return role.lower(), words.strip()


def _check_template(line: int, template: str) -> None:
    """Go's template language: actions are closed, and so is every block."""
    if template.count("{{") != template.count("}}"):
        raise _wrong(line, "TEMPLATE has an action that is not closed", "Close it with '}}'.")
    open_blocks: list[str] = []
    for match in _ACTION.finditer(template):
        words = match[1].split(None, 1)
        keyword = words[0] if words else ""
        if keyword in _OPENING:
            open_blocks.append(keyword)
        elif keyword == "end":
            if not open_blocks:
                raise _wrong(line, "TEMPLATE has an 'end' that closes nothing", "Leave it out.")
            open_blocks.pop()
        elif keyword == "else" and not open_blocks:
            raise _wrong(line, "TEMPLATE has an 'else' outside of any 'if'", "Leave it out.")
        elif not keyword:
            raise _wrong(line, "TEMPLATE has an empty action", "Leave out '{{ }}'.")
    if open_blocks:
        raise _wrong(line, f"TEMPLATE has a '{open_blocks[-1]}' without an end", "Add '{{ end }}'.")


def _wrong(line: int, fault: str, remedy: str) -> Invalid:
    return Invalid(f"Line {line} of the Modelfile: {fault}.", remedy=remedy, field="template")
