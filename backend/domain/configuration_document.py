"""The deploy configuration as a document: `deployconfig.json`, and the JSON Schema of it.

The document has camelCase names; the names of an engine's own arguments stay as the engine has
them. One configuration is always the same bytes: fields in the order of the schema, arguments by
name, whole numbers without a fraction.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

from backend.domain import configuration as values
from backend.domain.configuration import DeployConfiguration, Limits, Optimization, completed
from backend.domain.servable import ENGINES

FILE_NAME = "deployconfig.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FREE = "engine_arguments"
JSON = dict[str, Any]


def text_of(configuration: JSON) -> str:
    """The file that holds the configuration, given as the domain and the events have it."""
    return json.dumps(wire_of(configuration), indent=2, ensure_ascii=False) + "\n"


def wire_of(configuration: JSON) -> JSON:
    """The document of a configuration, given as the domain and the events have it."""
    document = _wire(completed(configuration), DeployConfiguration())
    arguments = document.get(_camel(_FREE), {})
    return {**document, _camel(_FREE): dict(sorted(arguments.items()))}


def read(document: JSON) -> tuple[JSON, list[str]]:
    """What the document says, under the domain's names, and the paths of fields that are unknown.

    Names may be in the form of the document or of the events. Nothing is checked.
    """
    unknown: list[str] = []
    return _known(document, DeployConfiguration(), "", unknown), unknown


def _known(document: JSON, default: Any, place: str, unknown: list[str]) -> JSON:
    names = {_camel(each.name): each.name for each in fields(default)}
    found: JSON = {}
    for key, value in document.items():
        name = names.get(key, key if key in names.values() else None)
        inner = getattr(default, name) if name else None
        if name is None:
            unknown.append(f"{place}{key}")
        elif is_dataclass(inner) and isinstance(value, dict):
            found[name] = _known(value, inner, f"{place}{key}.", unknown)
        else:
            found[name] = value
    return found


def _wire(configuration: JSON, default: Any) -> JSON:
    document: JSON = {}
    for each in fields(default):
        if each.name not in configuration:
            continue
        value, inner = configuration[each.name], getattr(default, each.name)
        if is_dataclass(inner):
            document[_camel(each.name)] = _wire(value, inner)
        elif isinstance(value, float) and value.is_integer():
            document[_camel(each.name)] = int(value)
        else:
            document[_camel(each.name)] = value
    return document


def schema() -> JSON:
    """The JSON Schema (draft 2020-12) of the document.

    What no schema of this draft can say: `scaling.minReplicas` is at most `scaling.maxReplicas`.
    """
    parts = {name: _object(part(), _MEANINGS[name]) for name, part in values.PARTS.items()}
    whole = _object(DeployConfiguration(), _MEANINGS[""])
    whole["properties"] |= {
        "schemaVersion": {"const": values.SCHEMA_VERSION, "description": "Version of this schema."},
        **parts,
        _camel(_FREE): {
            "description": "The engine's own options, by name without dashes.",
            "type": "object",
            "propertyNames": _word(values.NO_NAME),
            "additionalProperties": {
                "type": "string",
                "maxLength": values.MAX_ARGUMENT_CHARACTERS,
                "not": {"pattern": values.NO_PLAIN_TEXT},
            },
        },
    }
    parts["optimization"]["properties"]["quantization"] = {
        "description": "The name of the weights' data type; null where there is none."
    }
    parts["optimization"]["oneOf"] = [
        _quantized(method, known) for method, known in values.METHODS.items()
    ]
    parts["parameters"]["properties"]["stop"] = {
        "description": "Texts at which generation ends.",
        "type": "array",
        "maxItems": values.MAX_STOP_SEQUENCES,
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": values.MAX_STOP_CHARACTERS,
            "not": {"pattern": values.NO_TEXT},
        },
        "default": [],
    }
    parts["hardware"]["properties"]["server"] |= {
        "minLength": 1,
        "maxLength": values.MAX_NAME_CHARACTERS,
        "not": {"pattern": values.NO_PLAIN_TEXT},
    }
    parts["hardware"] |= {
        "if": _has("accelerator", {"const": "gpu"}),
        "then": _has("acceleratorCount", {"minimum": 1}),
        "else": _inside("acceleratorCount", {"const": 0}),
    }
    whole["allOf"] = [
        {
            "if": _chosen("engine", name, DeployConfiguration().engine),
            "then": _inside("optimization", _inside("method", {"enum": list(rules.methods)})),
        }
        for name, rules in ENGINES.items()
    ]
    return {
        "$schema": DIALECT,
        "$id": f"urn:loggia:deployconfig:{values.SCHEMA_VERSION}",
        "title": FILE_NAME,
        **whole,
    }


_MEANINGS = {
    "": "Everything that a revision of a deployment is. Absent fields have their defaults; "
    "scaling.minReplicas is at most scaling.maxReplicas.",
    "optimization": "How the model is transformed before it is served.",
    "parameters": "Sampling defaults of the endpoint, and how many requests a replica batches.",
    "scaling": "How many replicas serve the model; delays in seconds.",
    "hardware": "Where a replica runs and what it may use; memory in GiB.",
}


def _object(default: Any, meaning: str) -> JSON:
    return {
        "description": meaning,
        "type": "object",
        "additionalProperties": False,
        "properties": {
            _camel(each.name): _value(str(each.type), each.metadata, getattr(default, each.name))
            for each in fields(default)
        },
    }


def _value(kind: str, metadata: Any, default: Any) -> JSON:
    limits: Limits | None = metadata.get("limits")
    if limits is not None:
        number: JSON = {"type": "integer" if kind == "int" else "number"}
        span: JSON = {"minimum": limits.low, "maximum": limits.high}
        if limits.besides is None:
            return {**number, **span, "default": default}
        return {**number, "anyOf": [{"const": limits.besides}, span], "default": default}
    if "choices" in metadata:
        return {"enum": list(metadata["choices"]), "default": default}
    return {"type": "string", "default": default} if kind == "str" else {}


def _word(refused: str) -> JSON:
    return {
        "type": "string",
        "maxLength": values.MAX_NAME_CHARACTERS,
        "pattern": "^[a-z]",
        "not": {"pattern": refused},
    }


def _inside(name: str, rule: JSON) -> JSON:
    return {"properties": {name: rule}}


def _has(name: str, rule: JSON) -> JSON:
    return {"required": [name], **_inside(name, rule)}


def _chosen(name: str, value: str, default: str) -> JSON:
    """The field has this value, perhaps because it is absent."""
    return (_inside if value == default else _has)(name, {"const": value})


def _quantized(method: str, known: tuple[str, ...]) -> JSON:
    chosen = _chosen("method", method, Optimization().method)
    if method == "skip":
        return {"allOf": [chosen, _inside("quantization", {"type": "null"})]}
    named = {"enum": list(known)} if known else _word(values.NO_QUANTIZATION)
    return {"allOf": [chosen, _has("quantization", named)]}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
