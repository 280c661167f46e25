"""An engine's own argument list, for whoever writes a deploy configuration."""

from __future__ import annotations

import msgspec

from backend.application.engine_facts import EngineFactsTable


class EngineOptionView(msgspec.Struct, rename="camel", frozen=True):
    """One option: its name in `engineArguments`; `kind` is switch, int, float or text.

    `choices` is empty where any value goes; of `many`, values are separated by spaces.
    """

    name: str
    kind: str
    choices: list[str]
    many: bool
    help: str


class EngineOptionList(msgspec.Struct, rename="camel", frozen=True):
    """What can be set, by name; empty while `known` is false."""

    engine: str
    accelerator: str
    known: bool
    version: str | None
    options: list[EngineOptionView]


def of(facts: EngineFactsTable, engine: str, accelerator: str, server: str) -> EngineOptionList:
    """What a deployment may set of the engine's options."""
    known = facts.find(engine, accelerator, server)
    # Of a container image, its own configuration file says what it reads.
    if known is None or not known.options:
        return EngineOptionList(engine, accelerator, False, None, [])
    options = [
        EngineOptionView(name, option.kind, list(option.choices), option.many, option.help)
        for name, option in sorted(known.options.items())
        if not option.refusal
    ]
    return EngineOptionList(engine, accelerator, True, known.version, options)
