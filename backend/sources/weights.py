"""Which weights a repository offers: the same model often lies there in several formats.

A choice is the set of weight files that one engine would load; files that are no weights
(configuration, tokenizer, licence) belong to every choice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

SAFETENSORS, PYTORCH, GGUF, ONNX = "safetensors", "pytorch", "gguf", "onnx"

# Weights that no engine here loads; they never come along.
_FOREIGN = re.compile(
    r"(^|/)(tf_model.*\.h5|.*\.h5|flax_model.*\.msgpack|.*\.msgpack|rust_model\.ot|.*\.ot"
    r"|.*\.mlmodel|.*\.mlpackage/.*|.*\.tflite|.*\.pb|.*\.ckpt\.index|openvino_.*\.bin)$"
)
_PYTORCH = re.compile(r"\.(bin|pt|pth|ckpt|pkl|pickle)$")
# Written by training, not needed to serve.
_TRAINING = re.compile(r"(^|/)(optimizer|scheduler|rng_state.*|training_args)\.(bin|pt|pth)$")
_ONNX = re.compile(r"\.onnx(_data(_\d+)?|\.data)?$")
_ONNX_KIND = re.compile(
    r"_(fp16|fp32|int8|uint8|q4f16|q4|q8|bnb4|quantized|merged_quantized|quint8[a-z0-9_]*"
    r"|qint8[a-z0-9_]*|O[1-4])$"
)
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|int8|non_ema|ema)(?=[.-])")
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
_QUANTISATION = re.compile(
    r"(?i)(?:^|[-._])((?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|BF16|F16|F32|FP16|FP32|MXFP4(?:_MOE)?))$"
)


@dataclass(frozen=True)
class Offered:
    """A file of a repository; size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class WeightChoice:
    """One way to take the model. `id` is what a person's choice names; `bytes` is the weights'
    size; `recommended` marks at most one; `hazard` says why this choice is not the first."""

    id: str
    format: str
    label: str
    files: tuple[str, ...]
    bytes: int
    recommended: bool = False
    hazard: str = ""


def weight_choices(files: Iterable[Offered]) -> list[WeightChoice]:
    """The choices, the recommended one first."""
    sizes = {file.path: file.size for file in files}
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    layered = "model_index.json" in sizes
    indexed = any(path.startswith("model") and path.endswith(".safetensors") for path in sizes)
    for path in sizes:
        found = _group(path, layered=layered, indexed=indexed)
        if found is not None:
            groups[found].append(path)
    choices = [_choice(kind, name, paths, sizes) for (kind, name), paths in groups.items()]
    choices = [choice for choice in choices if choice.bytes or len(choices) == 1]
    choices.sort(key=_rank)
    best = _recommended(choices)
    return [
        replace(choice, recommended=choice is best)
        for choice in sorted(choices, key=lambda choice: choice is not best)
    ]


def selected(files: Sequence[Offered], patterns: Sequence[str]) -> list[Offered] | None:
    """The files to bring in: the chosen weights and everything that is no weight.

    A pattern is a choice's id, or a shell pattern over paths; without patterns the recommended
    choice is taken. None where nothing fits, or where there is nothing to recommend.
    """
    choices = weight_choices(files)
    if patterns:
        wanted = {
            path
            for choice in choices
            for path in choice.files
            if choice.id in patterns or any(fnmatchcase(path, pattern) for pattern in patterns)
        }
        if choices and not wanted:
            return None
    elif choices:
        if not choices[0].recommended:
            return None
        wanted = set(choices[0].files)
    else:
        wanted = set()
    weights = {path for choice in choices for path in choice.files}
    return [
        file
        for file in files
        if file.path in wanted or (file.path not in weights and not is_left_out(file.path))
    ]


def is_left_out(path: str) -> bool:
    """Whether the file is of no use to any choice: other frameworks' weights, training state."""
    return bool(_FOREIGN.search(path) or _TRAINING.search(path)) or path == ".gitattributes"


def _group(path: str, *, layered: bool, indexed: bool) -> tuple[str, str] | None:
    """The format of a weight file and the name of the set that it belongs to."""
    name = path.rsplit("/", 1)[-1]
    top = "/" not in path
    if is_left_out(path):
        return None
    if name.endswith(".gguf"):
        return GGUF, _SHARD.sub("", path.removesuffix(".gguf"))
    if _ONNX.search(name):
        stem = _ONNX.sub("", name)
        kind = _ONNX_KIND.search(stem)
        return ONNX, kind[1] if kind else ""
    weights_index = name.endswith(".index.json")
    stem = name.removesuffix(".index.json") if weights_index else name
    if stem.endswith(".safetensors"):
        if layered and top:
            return SAFETENSORS, f"file {name}"
        if stem.startswith("consolidated") and indexed:
            return SAFETENSORS, "consolidated"
        variant = _VARIANT.search(stem)
        return SAFETENSORS, variant[1] if variant else ""
    if _PYTORCH.search(stem):
        if path.startswith("original/") or stem.startswith("consolidated"):
            return PYTORCH, "original"
        variant = _VARIANT.search(stem)
        return PYTORCH, variant[1] if variant else ""
    return None


def _choice(kind: str, name: str, paths: Sequence[str], sizes: Mapping[str, int]) -> WeightChoice:
    words = {SAFETENSORS: "Safetensors", PYTORCH: "PyTorch pickle", GGUF: "GGUF", ONNX: "ONNX"}
    shown = name
    if kind == GGUF:
        found = _QUANTISATION.search(name)
        shown = found[1].upper() if found else name.rsplit("/", 1)[-1]
    label = f"{words[kind]} {shown}".rstrip()
    hazard = (
        "Pickle files can run code when they are loaded; Loggia takes them only with an "
        "administrator's reason."
        if kind == PYTORCH
        else ""
    )
    identity = f"{kind}:{name}" if name else kind
    total = sum(sizes[path] for path in paths)
    return WeightChoice(identity, kind, label, tuple(sorted(paths)), total, hazard=hazard)


def _rank(choice: WeightChoice) -> tuple[int, bool, int, str]:
    order = [SAFETENSORS, GGUF, ONNX, PYTORCH]
    return order.index(choice.format), ":" in choice.id, choice.bytes, choice.id


def _recommended(choices: Sequence[WeightChoice]) -> WeightChoice | None:
    """What to take where nobody chooses: plain safetensors, else the only choice of its format."""
    if not choices:
        return None
    first = choices[0]
    if ":" not in first.id:
        return first
    alike = [choice for choice in choices if choice.format == first.format]
    return first if len(alike) == 1 else None
