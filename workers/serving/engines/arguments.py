"""Which of an engine's options a deployment may set, and options as a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import replace

from backend.domain.engine_options import Option, check_options

# Options that open files, load code, listen or connect elsewhere. A deploy configuration tunes an
# engine; it does not decide what the engine's machine may read or run.
_REACHES_OUT = re.compile(
    r"(^|_)(host|port|uds|addr|address|url|endpoint|server|ssl\w*|cert\w*|hf_token|api_key|origins|"
    r"headers|methods|middleware|plugin|plugins|cls|class|processors|path|dir|file|files|media|"
    r"domains|trust|revision|transfer|events|overrides|worker|workers|profiler\w*|config|"
    r"patterns|impl|additional|nnodes|master|rpc|log|logging|modules|chat_template|spec_model|"
    r"prompt_embeds)(_|$)"
)


def judged(options: Mapping[str, Option], reserved: Set[str]) -> dict[str, Option]:
    """The options with what a deployment may not set marked; `reserved` the worker sets itself."""
    return {
        name: replace(option, refusal=_refusal(name, reserved)) for name, option in options.items()
    }


def _refusal(name: str, reserved: Set[str]) -> str:
    if name in reserved:
        return "is set by Loggia itself."
    if _REACHES_OUT.search(name):
        return "reaches beyond the engine's own work and cannot be set by a deployment."
    return ""


def command_line(given: Mapping[str, str], options: Mapping[str, Option]) -> list[str]:
    """The options as arguments. Raises `Invalid`, which names the one that does not fit."""
    check_options(given, options)
    arguments: list[str] = []
    for name, value in sorted(given.items()):
        option = options[name]
        if option.kind == "switch":
            chosen = option.flag if value.lower() == "true" else option.negation
            arguments += [chosen] if chosen else []
        elif option.many:
            arguments += [option.flag, *value.split()]
        else:
            # One word, so that a value beginning with a dash stays a value.
            arguments.append(f"{option.flag}={value}")
    return arguments
