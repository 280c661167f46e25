"""Prompts as tokens: plain texts, and conversations through the model's own chat template."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

JSON = dict[str, Any]
TOKENIZER = "tokenizer.json"


class Refused(Exception):
    """The request cannot be answered; the message is for its caller."""


class Prompts:
    """A model's tokenizer and chat template."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        config = read_json(folder / "tokenizer_config.json")
        self._words = {
            name: _word(config.get(name)) for name in ("bos_token", "eos_token", "pad_token")
        }
        source = _template(folder, config)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self._template = environment.from_string(source) if source else None

    def text(self, text: str) -> list[str]:
        """The tokens of a text, with what the model wants around it."""
        return list(self.tokenizer.encode(text).tokens)

    def conversation(self, messages: str) -> list[str]:
        """The tokens of a conversation, given as JSON. Raises `Refused`."""
        if self._template is None:
            raise Refused("This model has no chat template; use completions.")
        try:
            text = self._template.render(
                messages=json.loads(messages), add_generation_prompt=True, **self._words
            )
        except (TemplateError, ValueError, TypeError) as error:
            raise Refused(f"the model's chat template refuses the messages: {error}") from error
        # The template has written the special tokens itself.
        return list(self.tokenizer.encode(text, add_special_tokens=False).tokens)


def read_json(path: Path) -> JSON:
    """The object in the file; an empty one where there is no file."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}


def _template(folder: Path, config: JSON) -> str | None:
    beside = folder / "chat_template.jinja"
    if beside.exists():
        return beside.read_text()
    found = config.get("chat_template")
    if isinstance(found, list):
        named = {entry["name"]: entry["template"] for entry in found}
        found = named.get("default")
    return found if isinstance(found, str) else None


def _word(token: Any) -> str:
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)
