"""What callers ask for in the OpenAI protocol, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

JSON = dict[str, Any]

MAX_CHOICES = 128
_MAX_STOP = 16
# What this server cannot do, with the values that ask for nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "logprobs": (False,),
    "top_logprobs": (0,), "echo": (False,), "best_of": (1,), "suffix": ("",), "seed": (),
    "tools": ([],), "functions": ([],), "min_p": (0,), "response_format": ({"type": "text"},),
}  # fmt: skip
# Numbers by name, with their bounds.
_NUMBERS: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0, 2),
    "top_p": (float, 0.01, 1),
    "top_k": (int, -1, 1_000_000),
    "max_tokens": (int, 1, 1_048_576),
    "repetition_penalty": (float, 0.01, 10),
}


class Refused(Exception):
    """The request cannot be answered; the message says why, `field` what is wrong."""

    def __init__(self, message: str, field: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.field = field
        self.status = status


@dataclass(frozen=True)
class Asked:
    """One request: `prompts` holds texts, or as its only element a conversation as JSON."""

    chat: bool
    prompts: list[str]
    sampling: JSON = field(default_factory=dict)
    choices: int = 1
    stream: bool = False
    with_usage: bool = False


def read(body: bytes, *, chat: bool, name: str) -> Asked:
    """The request in this body for the model of this name. Raises `Refused`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"The body is not valid JSON ({error}).") from error
    if not isinstance(document, dict):
        raise Refused("Send a JSON object.")
    if document.get("model") != name:
        raise Refused(f"There is no model '{document.get('model')}' here.", "model", 404)
    for key, neutral in _NEUTRAL.items():
        given = document.get(key)
        if given is not None and given not in neutral:
            raise Refused(f"This model's server does not know '{key}'. Leave it out.", key)
    options = document.get("stream_options") or {}
    return Asked(
        chat=chat,
        prompts=[_conversation(document.get("messages"))] if chat else _prompts(document),
        sampling=_sampling(document),
        choices=_whole(document, "n", 1, MAX_CHOICES) or 1,
        stream=document.get("stream") is True,
        with_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _prompts(document: JSON) -> list[str]:
    prompt = document.get("prompt")
    prompts: list[Any] = prompt if isinstance(prompt, list) else [prompt]
    if not prompts or len(prompts) > MAX_CHOICES or not all(isinstance(p, str) for p in prompts):
        raise Refused(
            f"The field 'prompt' must be a text, or a list of 1 to {MAX_CHOICES} texts.", "prompt"
        )
    return prompts


def _conversation(messages: Any) -> str:
    if not isinstance(messages, list) or not messages:
        raise Refused("The field 'messages' must be a list of messages.", "messages")
    return json.dumps([_message(message) for message in messages])


def _message(message: Any) -> JSON:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise Refused("Every message must be an object with a role and a content.", "messages")
    content = message.get("content")
    if isinstance(content, list):
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            raise Refused("This model reads text only; give parts of the type text.", "messages")
        content = "".join(part["text"] for part in content)
    if content is not None and not isinstance(content, str):
        raise Refused("A message's content must be a text.", "messages")
    return {**message, "content": content or ""}


def _sampling(document: JSON) -> JSON:
    if document.get("max_completion_tokens") is not None:
        document = {**document, "max_tokens": document["max_completion_tokens"]}
    found: JSON = {}
    for name, (kind, low, high) in _NUMBERS.items():
        value = (
            _whole(document, name, low, high) if kind is int else _number(document, name, low, high)
        )
        if value is not None:
            found[name] = value
    if document.get("ignore_eos") is True:
        found["ignore_eos"] = True
    stop = document.get("stop")
    if stop is not None:
        stop = [stop] if isinstance(stop, str) else stop
        if (
            not isinstance(stop, list)
            or len(stop) > _MAX_STOP
            or not all(isinstance(text, str) and text for text in stop)
        ):
            raise Refused(f"The field 'stop' takes up to {_MAX_STOP} texts.", "stop")
        found["stop"] = stop
    return found


def _number(document: JSON, name: str, low: float, high: float) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refused(f"The field '{name}' must be a number from {low:g} to {high:g}.", name)
    return value


def _whole(document: JSON, name: str, low: float, high: float) -> int | None:
    value = _number(document, name, low, high)
    if value is not None and not isinstance(value, int):
        raise Refused(f"The field '{name}' must be a whole number.", name)
    return value
