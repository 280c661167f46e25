"""What is made on the Ollama server, and under which name callers ask for it."""

from __future__ import annotations

import msgspec

Value = str | int | float | bool | list[str]


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model, as Ollama's `POST /api/create` takes it (docs/api.md of its repository).

    `name` is what callers say, `made` what the server calls it. `files` are paths by the names
    that the server is told; without them `source` is a model that the server has or can pull.
    """

    name: str
    made: str
    files: dict[str, str] = {}
    source: str = ""
    template: str = ""
    system: str = ""
    parameters: dict[str, Value] = {}
    adapters: dict[str, str] = {}
    licenses: list[str] = []
    messages: list[tuple[str, str]] = []
    embeds: bool = False
