"""The `deployconfig.json` of an exported model: with it the deploy wizard comes up filled in."""

from __future__ import annotations

import json

from backend.domain.configuration import DeployConfiguration
from backend.domain.configuration_document import FILE_NAME, read, wire_of
from backend.domain.errors import Invalid
from workers.importing.names import listed
from workers.importing.validation.files import ModelFiles, Unreadable, read_json
from workers.importing.validation.report import Outcome, Report, plain

NAME = FILE_NAME
_MOST_BYTES = 64 << 10

_TITLE = "Deploy configuration can be used"


def check_deploy_configuration(files: ModelFiles, report: Report) -> str | None:
    """The configuration as JSON text with the fields that are known; None without a usable one.

    It says how the model may be deployed, so nothing in it speaks against the model itself.
    """
    if NAME not in files.sizes:
        return None
    try:
        document = read_json(files, NAME, limit=_MOST_BYTES)
        known, unknown = read(document)
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
    text = json.dumps(wire_of(configuration.to_dict()), ensure_ascii=False)
    if "\\u0000" in text or plain(text, len(text)) != text:
        raise Unreadable(f"{NAME} holds characters that no text may hold.")
    return text
