"""Pipelines in the layout of Hugging Face diffusers: model_index.json and a folder a component."""

from __future__ import annotations

from typing import Any

from workers.importing.names import listed, shown
from workers.importing.validation.card import Facts
from workers.importing.validation.files import ModelFiles, Unreadable, read_json
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.parts import Part, is_folder_name
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.weights import Weights, check_weights

INDEX = "model_index.json"
_LIBRARIES = {"diffusers", "transformers"}
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}
_MAX_COMPONENTS = 64
_SOURCE = "Take the pipeline's folder from the model's source again, with all its folders."

# The end of a class's name: the one file that such a component needs.
_WITHOUT_WEIGHTS = {
    "Scheduler": "scheduler_config.json",
    "Tokenizer": "tokenizer_config.json",
    "TokenizerFast": "tokenizer_config.json",
    "FeatureExtractor": "preprocessor_config.json",
    "ImageProcessor": "preprocessor_config.json",
    "ImageProcessorFast": "preprocessor_config.json",
    "Processor": "preprocessor_config.json",
}
_TASKS = {
    "Img2Img": "image-to-image", "Inpaint": "image-to-image", "Upscale": "image-to-image",
    "ImageToVideo": "image-to-video", "Video": "text-to-video", "Audio": "text-to-audio",
    "DDPM": "unconditional-image-generation", "DDIM": "unconditional-image-generation",
}  # fmt: skip


def recognises(files: ModelFiles) -> bool:
    """A model_index.json at the top."""
    return INDEX in files.sizes


def check(files: ModelFiles, _: Wanted, report: Report) -> Facts | None:
    """The index, every component, and the weights of those that have some."""
    components = _components(files, report)
    if components is None:
        return None
    pipeline, named = components
    weights: dict[str, Weights] = {}
    faults: list[tuple[str, str]] = []
    for name, (library, kind) in named.items():
        fault, hint = _check_component(Part(files, name), name, library, kind, weights)
        if fault:
            faults.append((fault, hint))
    title = "Components are whole"
    if faults:
        more = len(faults) - 1
        report.add(
            "components", title, Outcome.FAIL,
            faults[0][0] + (f" {more} more are not whole." if more else ""), faults[0][1],
        )  # fmt: skip
        return None
    report.add("components", title, Outcome.PASS, f"{len(named)}: {listed(named, most=8)}.")
    return _facts(pipeline, weights, report)


def _facts(pipeline: str, weights: dict[str, Weights], report: Report) -> Facts | None:
    title = "Weights are whole"
    parameters = sum(part.parameter_count for part in weights.values())
    if not parameters:
        report.add("weights", title, Outcome.FAIL, "No component has weights.", _SOURCE)
        return None
    report.add(
        "weights", title, Outcome.PASS,
        f"{parameters} parameters in {listed(weights, most=8)}; every offset, size and shape fits.",
    )  # fmt: skip
    largest = max(weights.values(), key=lambda part: part.parameter_count)
    return Facts(
        architecture=plain(pipeline, 200),
        model_type="diffusion",
        task=next((task for word, task in _TASKS.items() if word in pipeline), "text-to-image"),
        parameter_count=parameters,
        dtype=largest.dtype,
        weight_format="safetensors",
    )


def _components(files: ModelFiles, report: Report) -> tuple[str, dict[str, tuple[str, str]]] | None:
    """The pipeline's class, and each component's library and class."""
    try:
        index = read_json(files, INDEX)
        pipeline, components = _read(index)
    except Unreadable as error:
        report.add("layout", TITLE, Outcome.FAIL, str(error), _SOURCE)
        return None
    own = sorted({library for library, _ in components.values()} - _LIBRARIES)
    if own:
        report.add(
            "layout", TITLE, Outcome.FAIL,
            f"Components come from {listed(own)}; only those of diffusers and transformers can "
            "be checked and served.",
            "Use a pipeline that brings no components of its own.",
        )  # fmt: skip
        return None
    report.add(
        "layout", TITLE, Outcome.PASS,
        f"Hugging Face diffusers, {shown(pipeline)} with {len(components)} components.",
    )  # fmt: skip
    return pipeline, components


def _read(index: dict[str, Any]) -> tuple[str, dict[str, tuple[str, str]]]:
    pipeline = index.get("_class_name")
    if isinstance(pipeline, list) and len(pipeline) == 2:
        raise Unreadable(f"{INDEX} names a pipeline of the model's own code.")
    if not isinstance(pipeline, str) or not pipeline:
        raise Unreadable(f"{INDEX} names no pipeline class.")
    components: dict[str, tuple[str, str]] = {}
    for name, value in index.items():
        # Settings stand beside the components; a component that is left out is [null, null].
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        if not is_folder_name(name):
            raise Unreadable(f"{INDEX} names the component {shown(name)}, which is no folder.")
        if len(value) != 2 or not all(isinstance(part, str) for part in value):
            raise Unreadable(f"{INDEX} gives {shown(name)} no library and class.")
        components[name] = (value[0], value[1])
    if not 0 < len(components) <= _MAX_COMPONENTS:
        raise Unreadable(f"{INDEX} names {len(components)} components.")
    return pipeline, components


def _check_component(
    part: Part, name: str, library: str, kind: str, weights: dict[str, Weights]
) -> tuple[str, str]:
    """What is wrong with a component and what to do, or two empty texts. Collects weights."""
    if not part.sizes:
        return f"The folder of {shown(name)} is missing.", _SOURCE
    config = next(
        (file for end, file in _WITHOUT_WEIGHTS.items() if kind.endswith(end)), "config.json"
    )
    if config not in part.sizes:
        return f"{shown(name)} has no {config}.", _SOURCE
    try:
        read_json(part, config)
    except Unreadable as error:
        return f"{name}: {error}", _SOURCE
    if config != "config.json":
        return "", ""
    scratch = Report()
    found = check_weights(part, scratch, stem=_STEMS[library])
    if found is None:
        failure = scratch.failures[0]
        return f"{name}: {failure.evidence}", failure.hint
    weights[name] = found
    return "", ""


LAYOUT = Layout(
    "diffusers",
    "Hugging Face diffusers",
    "model_index.json and a folder for each component",
    recognises,
    check,
)
