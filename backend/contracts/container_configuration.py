"""The configuration of a container image model: its published JSON Schema, and its checking.

Format: `container-configuration.json` beside this module, a JSON Schema of draft 2020-12.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_PROBLEMS = 50

_REPAIR_JSON = "Correct the text there; the editor marks the place."


@dataclass(frozen=True)
class Problem:
    """What is wrong at a place: `path` is a JSON pointer, '' the whole document; lines count
    from 1 and are known for faults of the text only."""

    path: str
    message: str
    remedy: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Checked:
    """The document, or None where the text is no usable JSON; without problems it is valid."""

    document: dict[str, Any] | None
    problems: list[Problem]

    @property
    def ports(self) -> list[int]:
        """Every port that the configuration expects the container to listen on."""
        document = self.document or {}
        apis = document.get("apis")
        places = [document, document.get("health"), *(apis if isinstance(apis, list) else [])]
        named = [place.get("port") for place in places if isinstance(place, dict)]
        return sorted({port for port in named if isinstance(port, int)})


def schema_text() -> str:
    """The JSON Schema as it is published."""
    return (resources.files("backend.contracts") / "container-configuration.json").read_text()


def check_configuration(text: str) -> Checked:
    """Checks the text of a configuration file and says everything that is wrong with it."""
    document, problem = _parse(text, "The configuration")
    if problem is not None:
        return Checked(None, [problem])
    problems = list(_problems(_validator(), document))
    if not isinstance(document, dict):
        return Checked(None, problems)
    if not problems:
        problems.extend(_repeated_names(document))
    return Checked(document, problems[:MAX_PROBLEMS])


def check_parameter_schema(text: str, what: str) -> Checked:
    """Checks a JSON Schema of input or output parameters; `what` names it in messages."""
    document, problem = _parse(text, what)
    if problem is not None:
        return Checked(None, [problem])
    if not isinstance(document, dict):
        problem = Problem(
            "", f"{what} is no JSON object.", 'Begin with {"type": "object", "properties": …}.'
        )
        return Checked(None, [problem])
    metaschema = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    return Checked(document, list(_problems(metaschema, document))[:MAX_PROBLEMS])


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(schema_text()))


def _parse(text: str, what: str) -> tuple[Any, Problem | None]:
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        return None, Problem(
            "",
            f"{what} is larger than {MAX_BYTES // 1024} KiB.",
            "Leave out what is no configuration, such as data.",
        )
    deepest = _depth(text)
    if deepest > MAX_DEPTH:
        return None, Problem(
            "",
            f"{what} is nested {deepest} levels deep; allowed are {MAX_DEPTH}.",
            "Make it flatter.",
        )
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant), None
    except json.JSONDecodeError as error:
        return None, Problem(
            "", f"{what} is not JSON: {error.msg}.", _REPAIR_JSON, error.lineno, error.colno
        )
    except ValueError as error:
        return None, Problem("", f"{what} is not usable: {error}", _REPAIR_JSON)


def _depth(text: str) -> int:
    """The deepest nesting, brackets inside strings not counted."""
    depth = deepest = 0
    quoted = escaped = False
    for character in text:
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name '{twice:.100}' stands twice in one object.")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON.")


def _problems(validator: Draft202012Validator, document: Any) -> Iterator[Problem]:
    errors = sorted(validator.iter_errors(document), key=lambda e: [str(p) for p in e.path])
    for error in errors[:MAX_PROBLEMS]:
        yield _problem(error)


def _problem(error: ValidationError) -> Problem:
    message, remedy = _words(error)
    return Problem(_pointer(error.absolute_path), message, remedy)


def _pointer(parts: Any) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _words(error: ValidationError) -> tuple[str, str]:
    """The message and the remedy of an error, by the rule that was broken."""
    expected: Any = error.validator_value
    value: Any = error.instance
    where = f"'{error.absolute_path[-1]}'" if error.absolute_path else "The document"
    match error.validator:
        case "required":
            missing = [name for name in expected if name not in value]
            return f"{_listed(missing)} is missing.", f"Add {_listed(missing)}."
        case "additionalProperties":
            return _unknown(error)
        case "type":
            wanted = expected if isinstance(expected, str) else " or ".join(expected)
            return (
                f"{where} is {_kind(value)}, not {_article(wanted)}.",
                f"Write {_article(wanted)}.",
            )
        case "enum":
            choices = ", ".join(json.dumps(each) for each in expected)
            close = difflib.get_close_matches(str(value), [str(e) for e in expected], 1)
            hint = f" Did you mean {json.dumps(close[0])}?" if close else ""
            return f"{where} is {_shown(value)}.", f"Choose one of {choices}.{hint}"
        case "const":
            return f"{where} is {_shown(value)}.", f"Write {json.dumps(expected)}."
        case "minimum":
            return f"{where} is {_shown(value)}, too small.", f"Write {expected} or more."
        case "exclusiveMinimum":
            return f"{where} is {_shown(value)}, too small.", f"Write more than {expected}."
        case "maximum":
            return f"{where} is {_shown(value)}, too large.", f"Write {expected} or less."
        case "pattern":
            return f"{where} is {_shown(value)}.", _PATTERNS.get(expected, f"Match {expected}.")
        case "minItems":
            return f"{where} has too few entries.", f"Add {expected} or more."
        case "maxItems" | "maxLength":
            return f"{where} is too long.", f"Shorten it to {expected} at most."
        case "not":
            return (
                f"{where} is not allowed for a secret.",
                "Remove it; the value of a secret is given when the model is deployed.",
            )
        case _:
            return f"{where}: {error.message[:300]}", "Correct it as the schema says."


_PATTERNS = {
    "^/[!-~]*$": "Begin the path with '/' and use no spaces, as in /v1/predict.",
    "^[A-Za-z_][A-Za-z0-9_]*$": "Use letters, digits and underscores, not a digit first.",
    "^[A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+$": "Write a media type, such as application/json.",
}


def _unknown(error: ValidationError) -> tuple[str, str]:
    schema: Any = error.schema
    instance: Any = error.instance
    known = list(schema.get("properties", {}))
    names = [name for name in instance if name not in known]
    close = difflib.get_close_matches(names[0], known, 1) if names else []
    remedy = (
        f"Did you mean '{close[0]}'?" if close else f"Remove it; known here are {_listed(known)}."
    )
    return f"{_listed(names)} is not known here.", remedy


def _repeated_names(document: dict[str, Any]) -> Iterator[Problem]:
    """What a schema cannot say: two variables or two interfaces that are the same one."""
    seen: dict[str, int] = {}
    for number, variable in enumerate(document.get("environment", [])):
        first = seen.setdefault(variable["name"], number)
        if first != number:
            yield Problem(
                f"/environment/{number}/name",
                f"The variable '{variable['name']}' is listed twice.",
                "Keep one of the two.",
            )
    routes: dict[tuple[Any, ...], int] = {}
    for number, api in enumerate(document["apis"]):
        route = (api.get("method", "POST"), api.get("port", document["port"]), api["path"])
        if routes.setdefault(route, number) != number:
            yield Problem(
                f"/apis/{number}/path",
                f"{route[0]} {api['path'][:200]} is listed twice.",
                "Keep one of the two.",
            )


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name[:100]}'" for name in names[:12])


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:100] + "…"


def _kind(value: Any) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return _article(names.get(type(value), "number"))


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}" if kind != "null" else "null"
