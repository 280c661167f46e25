"""ONNX models, by their structure alone: operators, inputs, outputs, and where the weights lie."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import PurePosixPath

from workers.importing.names import listed, shown
from workers.importing.onnx_model import DATA_TYPES, OnnxModel, OnnxValue, read_onnx
from workers.importing.refusals import ImportRefused
from workers.importing.validation.card import Facts, first_number
from workers.importing.validation.config import CONFIG, text_config
from workers.importing.validation.files import ModelFiles, Unreadable, read_json
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.report import Outcome, Report, plain
from workers.importing.validation.tokenizer import TOKENIZER, check_tokenizer

# What the standard itself defines; the domains that ONNX Runtime adds.
_KNOWN_DOMAINS = {
    "", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training",
    "com.microsoft", "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc",
    "org.pytorch.aten",
}  # fmt: skip
_MAX_OPSET = 30
_EXPORT = "Export the model anew, with all files that the exporter writes."


def recognises(files: ModelFiles) -> bool:
    """Any ONNX file, where the model has no other weights."""
    return bool(_onnx_files(files)) and not any(p.endswith(".safetensors") for p in files.sizes)


def check(files: ModelFiles, _: Wanted, report: Report) -> Facts | None:
    """Every ONNX file; the largest stands for the model. A config beside it tells more."""
    names = _onnx_files(files)
    report.add(
        "layout", TITLE, Outcome.PASS,
        f"ONNX in {len(names)} {'file' if len(names) == 1 else 'files'}.",
    )  # fmt: skip
    models = check_files(files, names, report)
    if models is None:
        return None
    check_external(files, models, report)
    main = max(names, key=lambda name: (parameters(models[name]), name))
    _check_operators(models, report)
    _check_interface(main, models[main], report)
    config, tokenizer = {}, None
    if CONFIG in files.sizes:
        try:
            config = read_json(files, CONFIG)
        except Unreadable as error:
            report.add("config", "config.json is valid", Outcome.FAIL, str(error), _EXPORT)
            return None
        report.add("config", "config.json is valid", Outcome.PASS, f"{len(config)} settings.")
    if TOKENIZER in files.sizes:
        tokenizer = check_tokenizer(files, config, report)
    text = text_config(config)
    architectures = config.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else None
    model_type = config.get("model_type")
    return Facts(
        architecture=plain(named, 200) if isinstance(named, str) else None,
        model_type=plain(model_type, 200) if isinstance(model_type, str) else None,
        parameter_count=parameters(models[main]),
        dtype=main_dtype(models[main]),
        context_length=first_number(text, "max_position_embeddings", "n_positions"),
        vocabulary_size=first_number(text, "vocab_size"),
        hidden_size=first_number(text, "hidden_size", "n_embd", "d_model"),
        layers=first_number(text, "num_hidden_layers", "n_layer", "num_layers"),
        tokenizer=tokenizer.kind if tokenizer else None,
        chat_template=bool(tokenizer and tokenizer.has_chat_template),
        weight_format="onnx",
        summary=plain(models[main].description),
    )


def check_files(files: ModelFiles, names: list[str], report: Report) -> dict[str, OnnxModel] | None:
    """Reads the structure of every file; None where one is unsound."""
    title = "Weights are whole"
    models: dict[str, OnnxModel] = {}
    for name in names:
        try:
            with files.open(name) as source:
                models[name] = read_onnx(source, files.sizes[name], name)
        except ImportRefused as refusal:
            report.add("weights", title, Outcome.FAIL, refusal.reason, refusal.remedy)
            return None
    tensors = sum(len(model.tensors) for model in models.values())
    nodes = sum(model.nodes for model in models.values())
    count = sum(parameters(model) for model in models.values())
    report.add(
        "weights", title, Outcome.PASS,
        f"{nodes} nodes, {tensors} tensors with {count} parameters; every type, shape and "
        "size fits.",
    )  # fmt: skip
    return models


def _onnx_files(files: ModelFiles) -> list[str]:
    return [path for path in files.sizes if path.lower().endswith(".onnx")]


def check_external(files: ModelFiles, models: dict[str, OnnxModel], report: Report) -> None:
    """Weights in files of their own must be there, inside the model, and long enough."""
    title = "Weights in other files are there"
    count, places = 0, set()
    for name, model in models.items():
        for tensor in model.tensors:
            if not tensor.is_external:
                continue
            count += 1
            what = f"The tensor {shown(tensor.name)} of {shown(name)}"
            location = tensor.external.get("location", "")
            path = _inside(name, location)
            if path is None:
                report.add(
                    "external_data", title, Outcome.FAIL,
                    f"{what} lies in {shown(location)}, which is no place inside the model.",
                    _EXPORT,
                )  # fmt: skip
                return
            if path not in files.sizes:
                report.add(
                    "external_data", title, Outcome.FAIL,
                    f"{what} lies in {shown(path)}, which is missing.", _EXPORT,
                )  # fmt: skip
                return
            offset = _natural(tensor.external.get("offset", "0"))
            length = _natural(tensor.external.get("length", str(tensor.needed_bytes)))
            if offset is None or length is None or length != tensor.needed_bytes:
                report.add(
                    "external_data", title, Outcome.FAIL,
                    f"{what} is given no usable offset and length; its type and shape need "
                    f"{tensor.needed_bytes} bytes.",
                    _EXPORT,
                )  # fmt: skip
                return
            if offset + length > files.sizes[path]:
                report.add(
                    "external_data", title, Outcome.FAIL,
                    f"{what} ends at byte {offset + length} of {shown(path)}, which has "
                    f"{files.sizes[path]}.",
                    _EXPORT,
                )  # fmt: skip
                return
            places.add(path)
    report.add(
        "external_data", title, Outcome.PASS,
        f"{count} tensors in {listed(places)}." if count else "All weights are in the model file.",
    )  # fmt: skip


def _inside(name: str, location: str) -> str | None:
    """The path of an external file, relative to the file that names it, where it is inside."""
    if not location or "\\" in location or "\0" in location or location.startswith("/"):
        return None
    parts = list(PurePosixPath(name).parent.parts)
    for part in PurePosixPath(location).parts:
        if part == "..":
            return None
        parts.append(part)
    return "/".join(parts)


def _natural(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None


def _check_operators(models: dict[str, OnnxModel], report: Report) -> None:
    title = "Operators are of the standard"
    for name, model in models.items():
        version = model.opsets.get("", model.opsets.get("ai.onnx", 0))
        if not 1 <= version <= _MAX_OPSET:
            report.add(
                "operators", title, Outcome.FAIL,
                f"{shown(name)} names the operator set {version}; known are 1 to {_MAX_OPSET}.",
                _EXPORT,
            )  # fmt: skip
            return
        undeclared = {domain for domain, _ in model.operators} - {"", "ai.onnx"} - set(model.opsets)
        if undeclared:
            report.add(
                "operators", title, Outcome.FAIL,
                f"{shown(name)} uses operators of {listed(sorted(undeclared))} without naming "
                "their version.",
                _EXPORT,
            )  # fmt: skip
            return
    sets = {
        domain or "ai.onnx": v for model in models.values() for domain, v in model.opsets.items()
    }
    own = {
        domain
        for model in models.values()
        for domain, _ in model.operators
        if domain not in _KNOWN_DOMAINS and not model.functions
    }
    used = ", ".join(
        f"{plain(domain, 60)} {version}" for domain, version in sorted(sets.items())[:5]
    )
    report.add(
        "operators", title, Outcome.WARN if own else Outcome.PASS,
        f"Operator sets {used}."
        + (f" Not of the standard nor of ONNX Runtime: {listed(sorted(own))}." if own else ""),
        "The engine needs the library of these operators; Loggia installs none." if own else "",
    )  # fmt: skip


def _check_interface(name: str, model: OnnxModel, report: Report) -> None:
    title = "Inputs and outputs are named"
    inputs = [value for value in model.inputs if value.name not in model.initializers]
    if not model.outputs or any(not value.name for value in inputs + model.outputs):
        report.add(
            "interface", title, Outcome.FAIL, f"{shown(name)} does not name what goes in and out.",
            _EXPORT,
        )  # fmt: skip
        return
    report.add(
        "interface", title, Outcome.PASS,
        f"In: {_values(inputs)}. Out: {_values(model.outputs)}.",
    )  # fmt: skip


def _values(values: list[OnnxValue]) -> str:
    shown_values = [
        f"{plain(value.name, 60)} {DATA_TYPES.get(value.type, ('of another kind', 0))[0]}"
        + (f" [{', '.join(plain(size, 40) for size in value.shape)}]" if value.shape else "")
        for value in values[:8]
    ]
    more = f" and {len(values) - 8} more" if len(values) > 8 else ""
    return "; ".join(shown_values) + more if values else "nothing"


def parameters(model: OnnxModel) -> int:
    """The number of values in all tensors."""
    return sum(prod(tensor.shape) for tensor in model.tensors)


def main_dtype(model: OnnxModel) -> str | None:
    """The data type that most bytes have."""
    sizes: Counter[str] = Counter()
    for tensor in model.tensors:
        sizes[DATA_TYPES[tensor.type][0]] += tensor.needed_bytes
    return sizes.most_common(1)[0][0] if sizes else None


LAYOUT = Layout(
    "onnx",
    "ONNX",
    "*.onnx, with its external data files",
    recognises,
    check,
    own=("*.onnx", "*.onnx_data", "*.onnx.data", "*.data"),
)
