"""Code that a model configuration of Triton would have the server run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from workers.importing.names import listed, shown
from workers.importing.validation.sandbox import ParserFailed, parse

CONFIG = "config.pbtxt"
MAX_BYTES = 1 << 20
# Configurations beside the first one, of which a server may be told to take one by its name.
_OTHERS = "configs"
# Their values are paths of programs, libraries or packed environments that the server would run.
_RUN = {"EXECUTION_ENV_PATH", "TRITON_BATCH_STRATEGY_PATH", "EXECUTOR_WORKER_PATH"}


def is_config(path: str) -> bool:
    """Whether Triton could take the file for a model's configuration."""
    file = PurePosixPath(path)
    return file.name == CONFIG or (file.suffix == ".pbtxt" and file.parent.name == _OTHERS)


def code_named_in(text: bytes) -> list[str]:
    """What the configuration has run, in words that go on after the file's name."""
    try:
        return list(_named(parse("triton_config", text)["config"]))
    except ParserFailed:
        # Whatever reads it more leniently could find code in it.
        return ["cannot be read, so it may name code"]


def _named(config: Mapping[str, Any]) -> Iterator[str]:
    backends = {str(config.get(field, "")).strip().casefold() for field in ("backend", "platform")}
    if "python" in backends:
        yield "asks for Triton's Python backend, which runs files of the model"
    if config.get("runtime"):
        yield f"names what runs the model, {shown(config['runtime'])} (runtime)"
    if config.get("model_operations"):
        yield "loads libraries of operations (model_operations)"
    files = [config.get("default_model_filename"), *config.get("cc_model_filenames", {}).values()]
    scripts = [name for name in files if name and name.lower().endswith(".py")]
    if scripts:
        yield f"takes {listed(scripts)} for the model"
    parameters = [name for name in config.get("parameters", {}) if name.strip().upper() in _RUN]
    if parameters:
        yield f"sets {listed(parameters)}"
