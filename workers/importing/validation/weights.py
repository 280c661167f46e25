"""The weights, by their headers alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any

from workers.importing.names import listed, shown
from workers.importing.refusals import ImportRefused
from workers.importing.safetensors_header import (
    MAX_INDEX_BYTES,
    Header,
    Tensor,
    read_header,
    read_index,
)
from workers.importing.validation.config import INDEX, SINGLE
from workers.importing.validation.files import ModelFiles, Unreadable, read_whole
from workers.importing.validation.report import Outcome, Report

DTYPE_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8",
    "U8": "uint8", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip


@dataclass
class Weights:
    """All tensors that an engine would load, by name."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    bytes_by_dtype: Counter[str] = field(default_factory=Counter)

    @property
    def parameter_count(self) -> int:
        """The number of values in all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def dtype(self) -> str | None:
        """The dtype that most bytes have, as frameworks name it."""
        most = self.bytes_by_dtype.most_common(1)
        return DTYPE_NAMES.get(most[0][0], most[0][0]) if most else None


def check_weights(files: ModelFiles, report: Report, *, stem: str = "model") -> Weights | None:
    """Reads every header; returns the tensors where the weights are whole, else None.

    `stem` begins the names of the weights and of their index, as the libraries choose them.
    """
    title = "Weights are whole"
    headers: dict[str, Header] = {}
    for path, size in files.sizes.items():
        if not path.endswith(".safetensors"):
            continue
        try:
            with files.open(path) as source:
                headers[path] = read_header(source, size, path)
        except ImportRefused as refusal:
            report.add("weights", title, Outcome.FAIL, refusal.reason, refusal.remedy)
            return None
    used, fault, hint = _used_headers(files, headers, stem)
    if fault:
        report.add("weights", title, Outcome.FAIL, fault, hint)
        return None
    weights = Weights()
    for header in used.values():
        weights.tensors.update(header.tensors)
        weights.bytes_by_dtype.update(header.bytes_by_dtype())
    unused = [path for path in headers if path not in used]
    report.add(
        "weights",
        title,
        Outcome.WARN if unused else Outcome.PASS,
        f"{len(weights.tensors)} tensors with {weights.parameter_count} parameters in "
        f"{len(used)} {'file' if len(used) == 1 else 'files'}; every offset, size and shape fits."
        + (f" Not part of the model: {listed(unused)}." if unused else ""),
        "Leave the files out that the model does not use." if unused else "",
    )
    return weights


def _used_headers(
    files: ModelFiles, headers: dict[str, Header], stem: str
) -> tuple[dict[str, Header], str, str]:
    """The headers that make up the model; else what is wrong and what to do."""
    top = {path: header for path, header in headers.items() if "/" not in path}
    single, index = SINGLE.replace("model", stem, 1), INDEX.replace("model", stem, 1)
    if index in files.sizes:
        return _indexed(files, top, index)
    shards = [path for path in top if "-of-" in path]
    if shards and single not in top:
        return (
            {},
            f"The weights are split into shards ({listed(shards)}), but {index} is missing.",
            f"Add {index} from the model's source.",
        )
    used = {single: top[single]} if single in top else top
    if not any(header.tensors for header in used.values()):
        return {}, "There are no weights.", "Add the model's .safetensors files."
    seen: dict[str, str] = {}
    for path, header in used.items():
        for name in header.tensors:
            if name in seen:
                return (
                    {},
                    f"The tensor {shown(name)} is in {shown(seen[name])} and in {shown(path)}.",
                    f"Name the weights {single}, or add {index}.",
                )
            seen[name] = path
    return used, "", ""


def _indexed(
    files: ModelFiles, top: dict[str, Header], index: str
) -> tuple[dict[str, Header], str, str]:
    remedy = "Take the index and all its shards from the model's source again."
    try:
        weight_map = read_index(read_whole(files, index, limit=MAX_INDEX_BYTES), index)
    except Unreadable as error:
        return {}, str(error), remedy
    except ImportRefused as refusal:
        return {}, refusal.reason, refusal.remedy
    missing = sorted(set(weight_map.values()) - top.keys())
    if missing:
        return {}, f"{index} names shards that are missing: {listed(missing)}.", remedy
    used = {path: top[path] for path in sorted(set(weight_map.values()))}
    for name, path in weight_map.items():
        if name not in used[path].tensors:
            return {}, f"The tensor {shown(name)} is not in {shown(path)}, as {index} says.", remedy
    for path, header in used.items():
        for name in header.tensors:
            if weight_map.get(name) != path:
                return (
                    {},
                    f"{index} does not place the tensor {shown(name)} of {shown(path)}.",
                    remedy,
                )
    return used, "", ""


def check_dtype(weights: Weights, config: dict[str, Any], report: Report) -> None:
    """The dtype that config.json promises should be the one that the weights have."""
    title = "Data type matches config.json"
    promised = config.get("dtype", config.get("torch_dtype"))
    if not isinstance(promised, str):
        report.add("dtype", title, Outcome.PASS, f"{weights.dtype}; config.json promises none.")
    elif promised.removeprefix("torch.") == weights.dtype:
        report.add("dtype", title, Outcome.PASS, f"{promised}, as config.json says.")
    elif config.get("quantization_config"):
        report.add("dtype", title, Outcome.PASS, f"{weights.dtype}; the model is quantized.")
    else:
        report.add(
            "dtype",
            title,
            Outcome.WARN,
            f"config.json says {promised:.40}, most weights are {weights.dtype}.",
            "The engine converts the weights when it loads them; correct config.json if that is "
            "not meant.",
        )
