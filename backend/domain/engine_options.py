"""The options of an engine that a deployment may set beyond the form, and the check of them.

The engine itself says what it has; see the deploy worker's environments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from backend.domain.errors import Invalid

if TYPE_CHECKING:
    from backend.domain.configuration import DeployConfiguration

_SWITCH_VALUES = {"true", "false"}
# How many batches of a converted model Triton runs at the same time, each with weights of its own.
INSTANCES = "instances"
_MAX_INSTANCES = 16


@dataclass(frozen=True)
class Option:
    """One command-line option of an engine, as the engine itself describes it.

    `flag` is the form that sets it; `negation` the form that unsets a switch, where there is one.
    `kind` is switch, int, float or text; `many` says that values are separated by spaces.
    `refusal` says why a deployment may not set it; empty where it may.
    """

    flag: str
    kind: str = "text"
    negation: str | None = None
    choices: tuple[str, ...] = ()
    many: bool = False
    help: str = ""
    refusal: str = ""


@dataclass(frozen=True)
class Quantization:
    """A method of quantization that an engine reports.

    `on_load` says that it takes plain weights, and quantizes them on the way to the engine or while
    they are loaded; the others read what was quantized before. `refusal` says why this hardware
    cannot; empty where it can.
    """

    on_load: bool
    refusal: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether plain weights can be quantized with it here."""
        return self.on_load and not self.refusal


# Those that Loggia gives Triton itself.
TRITON_OPTIONS: Mapping[str, Option] = {INSTANCES: Option("--instances", kind="int")}


def check_options(given: Mapping[str, str], options: Mapping[str, Option]) -> None:
    """Raises `Invalid`, which names the first option that does not fit and what would."""
    for name, value in sorted(given.items()):
        option = options.get(name)
        if option is None:
            near = get_close_matches(name, options, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else "Remove it."
            raise _invalid(name, "the engine has no such option.", hint)
        if option.refusal:
            raise _invalid(name, option.refusal, "Remove it.")
        _check_value(name, value, option)


def check_arguments(configuration: DeployConfiguration) -> None:
    """Raises `Invalid` for an argument that the engine's every release refuses here.

    What a release has or lacks is checked by `check_options`.
    """
    given = configuration.engine_arguments
    if configuration.engine == "vllm":
        if configuration.optimization.quantization is not None and "quantization" in given:
            raise _invalid(
                "quantization",
                "the optimization says how to quantize.",
                "Remove it here, or choose 'skip' as the optimization.",
            )
    elif configuration.engine == "triton" and INSTANCES in given:
        check_options({INSTANCES: given[INSTANCES]}, TRITON_OPTIONS)
        count = int(given[INSTANCES])
        if not 1 <= count <= _MAX_INSTANCES:
            raise _invalid(
                INSTANCES,
                f"{count} is out of range.",
                f"Choose a value from 1 to {_MAX_INSTANCES}.",
            )


def check_quantization(wanted: str, methods: Mapping[str, Quantization]) -> None:
    """Raises `Invalid` for what the engine cannot quantize to here, and names what it can.

    Nothing is refused where the engine has told of no method.
    """
    method = methods.get(wanted)
    if not methods or (method is not None and method.is_usable):
        return
    if method is None:
        why = f"the engine that is installed does not know '{wanted}'."
    else:
        why = method.refusal or f"'{wanted}' is read from models that were quantized with it."
    usable = [name for name, each in methods.items() if each.is_usable]
    field = "optimization.quantization"
    remedy = f"Choose from {', '.join(usable)}." if usable else "Choose 'skip'."
    raise Invalid(f"{field}: {why}", remedy=remedy, field=field)


def _check_value(name: str, value: str, option: Option) -> None:
    if option.kind == "switch":
        if value.lower() not in _SWITCH_VALUES:
            raise _invalid(name, f"'{value}' is neither true nor false.", "Give true or false.")
        return
    for each in value.split() if option.many else [value]:
        if option.choices and each not in option.choices:
            raise _invalid(
                name, f"'{each}' is not a choice.", f"Choose from {', '.join(option.choices)}."
            )
        if option.kind in {"int", "float"}:
            _check_number(name, each, option.kind)


def _check_number(name: str, value: str, kind: str) -> None:
    try:
        int(value) if kind == "int" else float(value)
    except ValueError:
        words = "a whole number" if kind == "int" else "a number"
        raise _invalid(name, f"'{value}' is not {words}.", f"Give {words}.") from None


def _invalid(name: str, detail: str, remedy: str) -> Invalid:
    path = f"engine_arguments.{name}"
    return Invalid(f"{path}: {detail}", remedy=remedy, field=path)
