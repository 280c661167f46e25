"""Checks what people ask an engine for beyond the form, and turns it into command-line options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from difflib import get_close_matches

from backend.domain.errors import Invalid
from workers.serving.engine import Option

# Options that open files, load code, listen or connect elsewhere. A deploy configuration tunes an
# engine; it does not decide what the engine's machine may read or run.
_REACHES_OUT = re.compile(
    r"(^|_)(host|port|uds|addr|address|url|endpoint|server|ssl\w*|cert\w*|hf_token|api_key|origins|"
    r"headers|methods|middleware|plugin|plugins|cls|class|processors|path|dir|file|files|media|"
    r"domains|trust|revision|transfer|events|overrides|worker|workers|profiler\w*|config|"
    r"patterns|impl|additional|nnodes|master|rpc|log|logging|modules|chat_template|spec_model|"
    r"prompt_embeds)(_|$)"
)
_SWITCHES = {"true": True, "false": False}


def command_line(
    given: Mapping[str, str], options: Mapping[str, Option], reserved: Set[str]
) -> list[str]:
    """The options as arguments. Raises `Invalid`, which names the one that does not fit.

    `reserved` are those that the worker sets itself.
    """
    arguments: list[str] = []
    for name, value in sorted(given.items()):
        option = options.get(name)
        if option is None:
            near = get_close_matches(name, options, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "Remove it."
            raise _invalid(name, "the engine has no such option.", hint)
        if name in reserved:
            raise _invalid(name, "is set by Loggia itself.", "Remove it.")
        if _REACHES_OUT.search(name):
            raise _invalid(
                name,
                "reaches beyond the engine's own work and cannot be set by a deployment.",
                "Remove it.",
            )
        arguments += _one(name, value, option)
    return arguments


def _one(name: str, value: str, option: Option) -> list[str]:
    if option.kind == "switch":
        if value.lower() not in _SWITCHES:
            raise _invalid(name, f"'{value}' is neither true nor false.", "Give true or false.")
        if _SWITCHES[value.lower()]:
            return [option.flag]
        return [option.negation] if option.negation else []
    values = value.split() if option.many else [value]
    for each in values:
        if option.choices and each not in option.choices:
            raise _invalid(
                name, f"'{each}' is not a choice.", f"Choose from {', '.join(option.choices)}."
            )
        if option.kind in {"int", "float"}:
            _number(name, each, option.kind)
    # One word, so that a value beginning with a dash stays a value.
    return [option.flag, *values] if option.many else [f"{option.flag}={value}"]


def _number(name: str, value: str, kind: str) -> None:
    try:
        int(value) if kind == "int" else float(value)
    except ValueError:
        words = "a whole number" if kind == "int" else "a number"
        raise _invalid(name, f"'{value}' is not {words}.", f"Give {words}.") from None


def _invalid(name: str, detail: str, remedy: str) -> Invalid:
    path = f"engine_arguments.{name}"
    return Invalid(f"{path}: {detail}", remedy=remedy, field=path)
