"""Model repositories of NVIDIA Triton: a folder for each model, with config.pbtxt and versions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from workers.importing.names import listed, shown
from workers.importing.validation import onnx
from workers.importing.validation.card import Facts
from workers.importing.validation.files import ModelFiles, Unreadable, read_whole
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.parts import Part, is_folder_name
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.sandbox import ParserFailed, parse

CONFIG = "config.pbtxt"
_MAX_CONFIG_BYTES = 1 << 20
_MAX_MODELS = 64
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_REPOSITORY = "Pack the repository's folders: MODEL/config.pbtxt and MODEL/1/ with the model file."

# The file that a version holds by default; None where the backend has its own rules.
_BACKENDS: dict[str, str | None] = {
    "onnxruntime": "model.onnx", "tensorrt": "model.plan", "pytorch": "model.pt",
    "openvino": "model.xml", "python": "model.py", "dali": "model.dali", "fil": None,
    "tensorflow": None, "tensorrtllm": None, "vllm": "model.json", "identity": None, "repeat": None,
    "square": None,
}  # fmt: skip
_PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime", "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch", "tensorflow_graphdef": "tensorflow",
    "tensorflow_savedmodel": "tensorflow", "ensemble": "ensemble",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Model:
    name: str
    backend: str
    config: dict[str, Any]
    versions: list[str]


def recognises(files: ModelFiles) -> bool:
    """A config.pbtxt at the top or in a folder of the top."""
    return any(
        path.endswith(CONFIG) and path.count("/") <= 1 and PurePosixPath(path).name == CONFIG
        for path in files.sizes
    )


def check(files: ModelFiles, _: Wanted, report: Report) -> Facts | None:
    """Every model's config, versions, backend and file."""
    folders = _folders(files)
    if CONFIG in files.sizes or len(folders) > _MAX_MODELS:
        report.add(
            "layout", TITLE, Outcome.FAIL,
            f"{CONFIG} lies at the top; Triton wants a folder with the model's name."
            if CONFIG in files.sizes else f"There are {len(folders)} models in one repository.",
            _REPOSITORY,
        )  # fmt: skip
        return None
    report.add(
        "layout", TITLE, Outcome.PASS,
        f"Triton model repository with {len(folders)} "
        f"{'model' if len(folders) == 1 else 'models'}: {listed(folders)}.",
    )  # fmt: skip
    title = "Models of the repository are whole"
    models: dict[str, _Model] = {}
    for folder in folders:
        try:
            models[folder] = _model(Part(files, folder), folder)
        except Unreadable as error:
            report.add("repository", title, Outcome.FAIL, str(error), _REPOSITORY)
            return None
    unknown = _unknown_steps(models)
    if unknown:
        report.add(
            "repository", title, Outcome.FAIL,
            f"An ensemble uses {listed(unknown)}, which the repository does not hold.", _REPOSITORY,
        )  # fmt: skip
        return None
    report.add(
        "repository", title, Outcome.PASS,
        "; ".join(
            f"{plain(m.name, 60)}: {m.backend}, versions {', '.join(m.versions[:5]) or 'none'}"
            for m in list(models.values())[:8]
        ) + ".",
    )  # fmt: skip
    return _facts(files, models, report)


def _facts(files: ModelFiles, models: dict[str, _Model], report: Report) -> Facts | None:
    graphs = [path for path in files.sizes if path.lower().endswith(".onnx")]
    parameters, dtype = None, None
    if graphs:
        structures = onnx.check_files(files, graphs, report)
        if structures is None:
            return None
        onnx.check_external(files, structures, report)
        parameters = sum(map(onnx.parameters, structures.values()))
        dtype = onnx.main_dtype(max(structures.values(), key=onnx.parameters))
    ensembles = [model for model in models.values() if model.backend == "ensemble"]
    served = ensembles[0] if ensembles else next(iter(models.values()))
    return Facts(
        architecture=plain(served.name, 200),
        model_type=served.backend,
        parameter_count=parameters,
        dtype=dtype,
        weight_format="onnx" if graphs else served.backend,
    )


def _folders(files: ModelFiles) -> list[str]:
    """The folders of the top that hold a config or a version."""
    found = []
    for path in files.sizes:
        top, _, rest = path.partition("/")
        version = rest.partition("/")
        if rest == CONFIG or (version[2] and _VERSION.fullmatch(version[0])):
            found.append(top)
    return list(dict.fromkeys(found))


def _model(part: Part, folder: str) -> _Model:
    """The model in this folder. Raises `Unreadable`."""
    if CONFIG not in part.sizes:
        raise Unreadable(f"{folder} has no {CONFIG}.")
    text = read_whole(part, CONFIG, limit=_MAX_CONFIG_BYTES)
    try:
        config = parse("triton_config", text)["config"]
    except ParserFailed as error:
        raise Unreadable(f"{folder}/{CONFIG}: {error}.") from None
    name = config.get("name", folder)
    if name != folder or not is_folder_name(folder):
        raise Unreadable(f"{folder}/{CONFIG} names the model {shown(name)}, not {shown(folder)}.")
    platform = config.get("platform", "")
    backend = config.get("backend") or _PLATFORMS.get(platform, "")
    if platform and _PLATFORMS.get(platform, backend) != backend:
        raise Unreadable(f"{folder}/{CONFIG} names platform {platform} and backend {backend}.")
    if backend != "ensemble" and backend not in _BACKENDS:
        raise Unreadable(
            f"{folder}/{CONFIG} names the backend {shown(backend or platform)}; known are "
            f"{', '.join(_BACKENDS)}, ensemble."
        )
    model = _Model(folder, backend, config, _versions(part))
    _check_versions(part, model)
    return model


def _versions(part: Part) -> list[str]:
    found = {path.split("/", 1)[0] for path in part.sizes if "/" in path}
    return sorted((name for name in found if _VERSION.fullmatch(name)), key=int)


def _check_versions(part: Part, model: _Model) -> None:
    if model.backend == "ensemble":
        if not model.config.get("ensemble_scheduling", {}).get("step"):
            raise Unreadable(f"{model.name} is an ensemble without steps.")
        return
    if not model.versions:
        raise Unreadable(f"{model.name} has no version folder, such as {model.name}/1.")
    wanted = {
        *model.config.get("version_policy", {}).get("specific", {}).get("versions", [])
    } - set(model.versions)
    if wanted:
        raise Unreadable(f"{model.name} shall serve {listed(sorted(wanted))}, which is missing.")
    file = model.config.get("default_model_filename") or _BACKENDS[model.backend]
    if file is None:
        return
    for version in model.versions:
        path = f"{version}/{file}"
        # ONNX with external data and OpenVINO may use a folder of the file's name.
        if path not in part.sizes and not any(p.startswith(f"{path}/") for p in part.sizes):
            raise Unreadable(f"{model.name}/{version} has no {shown(file)}.")


def _unknown_steps(models: dict[str, _Model]) -> list[str]:
    used = {
        str(step.get("model_name"))
        for model in models.values()
        for step in model.config.get("ensemble_scheduling", {}).get("step", [])
    }
    return sorted(used - models.keys())


LAYOUT = Layout(
    "triton",
    "Triton model repository",
    "MODEL/config.pbtxt and MODEL/1/",
    recognises,
    check,
    own=("*.pbtxt", "*.onnx", "*.plan", "*.onnx_data"),
)
