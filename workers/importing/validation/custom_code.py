"""Code that comes with a model and that an engine would run: found, named, and asked about."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from workers.importing.names import listed, shown
from workers.importing.validation.adapter_config import CONFIG as ADAPTER_CONFIG
from workers.importing.validation.files import (
    ModelFiles,
    Unreadable,
    read_json,
    read_json_list,
    read_whole,
)
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.triton_code import CONFIG as TRITON_CONFIG
from workers.importing.validation.triton_code import MAX_BYTES, code_named_in, is_config

RISK = "custom_code"
# Each may name classes of the model's own: of the model, its tokenizer or its processors.
_CONFIGS = {
    "config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json",
    "preprocessor_config.json", "image_processor_config.json", "video_preprocessor_config.json",
    "feature_extractor_config.json", "scheduler_config.json", ADAPTER_CONFIG,
}  # fmt: skip
_PIPELINE = "model_index.json"
_MODULES = "modules.json"
# Of Triton's backends, whatever the configuration says: Python's, DALI's, and vLLM's settings.
_SCRIPTS = {"model.py", "dali.py"}
_SETTINGS = "model.json"
_GENERATE = "custom_generate/generate.py"
_NATIVE = {".so", ".dll", ".dylib", ".exe", ".pyd", ".jar", ".wasm"}
_KNOWN_LIBRARIES = {"diffusers", "transformers", "onnxruntime", "sentence_transformers"}
_MAX_CONFIGS = 100
_TITLE = "No code of its own"


def check_custom_code(files: ModelFiles, accepted: frozenset[str], report: Report) -> list[str]:
    """Names the code that loading the model would run. Needs the risk 'custom_code' accepted.

    Returns what was found, for the model card. The code is stored, but nothing here runs it.
    """
    found = [plain(text, 300) for text in _found(files)][:100]
    scripts = [path for path in files.sizes if path.lower().endswith(".py")]
    if found:
        also = f" Python files: {listed(scripts)}." if scripts else ""
        evidence = f"Loading this model runs code of its own: {'; '.join(found[:5])}.{also}"
        if RISK in accepted:
            report.add(
                "custom_code", _TITLE, Outcome.WARN, f"{evidence} The risk was accepted.",
                "Read the code before you deploy the model: an engine may run it with all its "
                "rights.",
            )  # fmt: skip
        else:
            report.add(
                "custom_code", _TITLE, Outcome.FAIL, evidence,
                "Take a version of the model that needs no code of its own; or read the code, "
                "accept the risk 'custom code' for this import and give a reason.",
            )  # fmt: skip
    elif scripts:
        report.add(
            "custom_code", _TITLE, Outcome.WARN,
            f"Python files that nothing refers to: {listed(scripts)}. They are never run.",
            "Leave them out if nobody needs them.",
        )  # fmt: skip
    else:
        report.add("custom_code", _TITLE, Outcome.PASS, "No Python files, nothing names code.")
    return found


def _found(files: ModelFiles) -> Iterable[str]:
    configs = 0
    for path in files.sizes:
        file = PurePosixPath(path)
        name = file.name
        if file.suffix.lower() in _NATIVE or ".so." in name:
            yield f"{shown(path)} is a program or library"
        elif path == _GENERATE:
            yield f"{shown(path)} replaces how text is generated"
        elif name in _SCRIPTS and _is_tritons(file, files):
            yield f"{shown(path)} is a Python backend of Triton"
        elif _names_code(file, files):
            configs += 1
            if configs <= _MAX_CONFIGS:
                yield from _named_in(files, path)
    if configs > _MAX_CONFIGS:
        yield f"{configs} configuration files, of which {_MAX_CONFIGS} were read"


def _is_tritons(file: PurePosixPath, files: ModelFiles) -> bool:
    """Whether it lies in a version of a Triton model."""
    return str(file.parent.parent / TRITON_CONFIG) in files.sizes


def _names_code(file: PurePosixPath, files: ModelFiles) -> bool:
    path = str(file)
    if file.name == _SETTINGS:
        return _is_tritons(file, files)
    return file.name in _CONFIGS or path in {_PIPELINE, _MODULES} or is_config(path)


def _named_in(files: ModelFiles, path: str) -> Iterable[str]:
    try:
        if is_config(path):
            text = read_whole(files, path, limit=MAX_BYTES)
            yield from (f"{shown(path)} {words}" for words in code_named_in(text))
            return
        if path == _MODULES:
            yield from _modules(files, path)
            return
        fields = read_json(files, path)
    except Unreadable:
        # Whatever reads it more leniently could find code in it.
        yield f"{shown(path)} cannot be read, so it may name code"
        return
    if path == _PIPELINE:
        yield from _pipeline(fields)
    mapped = fields.get("auto_map")
    if mapped:
        names = listed(map(str, mapped)) if isinstance(mapped, dict) else "classes"
        yield f"{shown(path)} maps {names} to code of the model (auto_map)"
    for name in ("trust_remote_code", "custom_pipelines", "custom_pipeline"):
        if fields.get(name):
            yield f"{shown(path)} sets {name}"
    mapping = fields.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else None
    if isinstance(library, str) and not _known(library):
        yield f"{shown(path)} imports {shown(library)}"


def _pipeline(fields: dict[str, Any]) -> Iterable[str]:
    """model_index.json of diffusers: each part is [library, class]; a file of the model's own
    stands where the library would."""
    for name, part in fields.items():
        if not isinstance(part, list) or not part or name == "_name_or_path":
            continue
        if name == "_class_name":
            yield f"'{_PIPELINE}' names a pipeline of its own, {listed(map(str, part))}"
        elif isinstance(part[0], str) and not _known(part[0]) and len(part) == 2:
            yield f"'{_PIPELINE}' takes {shown(name)} from {shown(part[0])}"


def _modules(files: ModelFiles, path: str) -> Iterable[str]:
    """modules.json of sentence-transformers: a list of modules, each with the class as `type`."""
    for module in read_json_list(files, path):
        kind = module.get("type") if isinstance(module, dict) else None
        if isinstance(kind, str) and not _known(kind):
            yield f"{shown(path)} uses {shown(kind)}"


def _known(name: str) -> bool:
    return name.partition(".")[0] in _KNOWN_LIBRARIES
