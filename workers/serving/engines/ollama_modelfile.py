"""From a model's files and its deployment template to what an Ollama server is told to make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from backend.domain.engine_options import Option, check_options
from backend.domain.errors import Invalid, NotAllowed
from backend.domain.modelfile import PARAMETER_KINDS, Modelfile, parse_modelfile
from backend.domain.servable import Use
from workers.serving.engine import Launch
from workers.serving.engines.ollama_front.plan import Plan, Value

_MODELFILE = "Modelfile"
# A name in Ollama's library, or at a registry: host/namespace/model:tag.
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")
_SEVERAL = {"stop"}


def plan_of(launch: Launch, made: str, options: Mapping[str, Option]) -> Plan:
    """What the server makes under the name `made`.

    The model's own Modelfile comes first, then the deployment template over it, then the
    deployment's engine arguments. Raises `Invalid` and `NotAllowed`.
    """
    given = launch.configuration.engine_arguments
    check_options(given, options)
    folder = launch.model_directory
    own = _own_modelfile(folder)
    template = (
        parse_modelfile(launch.template, names_source=False) if launch.template else Modelfile("")
    )
    parameters = {**own.parameters, **template.parameters}
    parameters.update({name: [value] for name, value in given.items()})
    files, source = _source(folder, template.source or own.source)
    return Plan(
        name=launch.model_name,
        made=made,
        files=files,
        source=source,
        template=template.template or own.template,
        system=template.system or own.system,
        parameters={name: _typed(name, values) for name, values in sorted(parameters.items())},
        adapters=_inside(folder, template.adapters or own.adapters),
        licenses=template.licenses or own.licenses,
        messages=template.messages or own.messages,
        embeds=launch.use is Use.EMBED,
    )


def _own_modelfile(folder: Path) -> Modelfile:
    try:
        return parse_modelfile((folder / _MODELFILE).read_text("utf-8"))
    except FileNotFoundError:
        return Modelfile("")


def _source(folder: Path, named: str) -> tuple[dict[str, str], str]:
    """Files to make it from, or the name of a model that the server has or can pull."""
    if named in {"", "."}:
        found = {path.name: str(path) for path in sorted(folder.glob("*.gguf"))}
        if not found and named == ".":
            kinds = ("*.safetensors", "*.json", "tokenizer.model")
            found = {path.name: str(path) for kind in kinds for path in sorted(folder.glob(kind))}
        if not found:
            raise NotAllowed(
                "The model has no .gguf file, and its deployment template names no source.",
                remedy="Import it with a .gguf file, or begin the template with a line such as "
                "'FROM llama3.2'.",
            )
        return found, ""
    if (folder / named).exists() or named.startswith((".", "/")):
        return _inside(folder, [named]), ""
    if not _NAMED.fullmatch(named):
        raise _wrong(f"'{named[:100]}' is neither a file of the model nor a model's name")
    return {}, named


def _inside(folder: Path, names: list[str]) -> dict[str, str]:
    found = {}
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
            raise _wrong(f"'{name[:100]}' is not among the model's files")
        found[path.name] = str(folder / path)
    return found


def _typed(name: str, values: list[str]) -> Value:
    if name in _SEVERAL:
        return values
    kind, value = PARAMETER_KINDS[name], values[-1]
    if kind == "int":
        return int(value)
    if kind == "float":
        return float(value)
    return value.lower() == "true" if kind == "switch" else value


def _wrong(fault: str) -> Invalid:
    return Invalid(
        f"The deployment template: {fault}.",
        remedy="Name a file beside the model as './model.gguf', or a model of Ollama's library.",
        field="template",
    )
