"""The `deployconfig.json` of an exported model: with it the deploy wizard comes up filled in."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import Invalid
from workers.importing.names import listed
from workers.importing.validation.files import ModelFiles, Unreadable, read_json
from workers.importing.validation.report import Outcome, Report, plain

NAME = "deployconfig.json"
_MOST_BYTES = 64 << 10
JSON = dict[str, Any]

_TITLE = "Deploy configuration can be used"


def check_deploy_configuration(files: ModelFiles, report: Report) -> str | None:
    """The configuration as JSON text with the fields that are known; None without a usable one.

    It says how the model may be deployed, so nothing in it speaks against the model itself.
    """
    if NAME not in files.sizes:
        return None
    try:
        document = read_json(files, NAME, limit=_MOST_BYTES)
        unknown: list[str] = []
        known = _known(document, DeployConfiguration(), "", unknown)
        text = _text(DeployConfiguration.from_dict(known))
    except (Unreadable, Invalid) as error:
        hint = error.remedy if isinstance(error, Invalid) else "Export the model again."
        report.add(
            "deploy_configuration", _TITLE, Outcome.WARN, f"{NAME} is not used: {error}", hint
        )
        return None
    if unknown:
        report.add(
            "deploy_configuration",
            _TITLE,
            Outcome.WARN,
            f"{NAME} has fields that are unknown here and have no effect: {listed(unknown)}.",
            "Look at the deploy wizard, which shows every field that counts.",
        )
    else:
        report.add("deploy_configuration", _TITLE, Outcome.PASS, f"{NAME} fills in the wizard.")
    return text


def _text(configuration: DeployConfiguration) -> str:
    """The configuration as it is on the wire. Raises `Unreadable`."""
    text = json.dumps(_on_the_wire(configuration.to_dict()), ensure_ascii=False)
    if "\\u0000" in text or plain(text, len(text)) != text:
        raise Unreadable(f"{NAME} holds characters that no text may hold.")
    return text


def _known(document: dict[str, Any], default: Any, place: str, unknown: list[str]) -> JSON:
    """The fields of the document that the default has, under the domain's names."""
    names = {_camel(each.name): each.name for each in fields(default)}
    found = {}
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


def _on_the_wire(document: JSON) -> JSON:
    """In camelCase, as the file and the API have it; an engine's own arguments stay as they are."""
    return {
        _camel(name): _on_the_wire(value)
        if isinstance(value, dict) and name != "engine_arguments"
        else value
        for name, value in document.items()
    }


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
