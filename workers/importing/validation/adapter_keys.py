"""The tensors of an adapter, laid beside the weights of its base.

PEFT names a tensor `base_model.model.<module of the base>.<what it is>` and loads without
insisting that anything matches; whatever matches nothing is dropped without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from workers.importing.names import shown
from workers.importing.safetensors_header import Tensor

PREFIX = "base_model.model."
# Checkpoints and classes of one architecture differ in these, and loaders know how to bridge them.
_OPTIONAL_PREFIXES = ("model.", "transformer.", "language_model.", "model.language_model.")
_PART = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_[AB](?:\.weight|\.bias)?|lora_E|lora_embedding_[AB]"
    r"|lora_magnitude_vector(?:\.weight)?|ia3_l|hada_(?:w|t)\w+|lokr_\w+|vera_lambda_[bd]"
    r"|oft_\w+(?:\.weight)?|boft_[RS]|fourierft_spectrum"
    r"|(?:token_adapter\.)?trainable_tokens_delta)"
)
_FLOATS = {"F64", "F32", "F16", "BF16"}


class BaseModules:
    """The modules of a base model: everything that a tensor belongs to, with its weight."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.names = sorted({name.rpartition(".")[0] for name in tensors} - {""})
        self._known = set(self.names)

    def resolve(self, name: str) -> str | None:
        """The base's own name of the module that an adapter calls so, or None."""
        if name in self._known:
            return name
        return next((other for other in _spellings(name) if other in self._known), None)

    def tensor(self, name: str) -> Tensor | None:
        """The tensor that an adapter calls so, or None."""
        if name in self._tensors:
            return self._tensors[name]
        return next((self._tensors[n] for n in _spellings(name) if n in self._tensors), None)

    def weight(self, module: str) -> Tensor | None:
        """The weight of a module where it is a plain, unpacked one."""
        tensor = self._tensors.get(f"{module}.weight")
        return tensor if tensor is not None and tensor.dtype in _FLOATS else None


def _spellings(name: str) -> Iterable[str]:
    for prefix in _OPTIONAL_PREFIXES:
        yield f"{prefix}{name}"
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            yield rest
            yield from (f"{other}{rest}" for other in _OPTIONAL_PREFIXES)


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """A tensor that replaces one of the base instead of adapting it."""

    key: str
    name: str
    tensor: Tensor


@dataclass
class Matching:
    """What of an adapter belongs where."""

    # Module of the base -> what the adapter has for it (`lora_A`, `lora_B`...) -> the tensor.
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    saved: list[SavedTensor] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    without_prefix: list[str] = field(default_factory=list)

    @property
    def nothing(self) -> bool:
        """Whether the adapter would leave the base as it is."""
        return not self.parts and not self.saved


def match(
    tensors: Mapping[str, Tensor], base: BaseModules, modules_to_save: Iterable[str]
) -> Matching:
    """Finds for every tensor of the adapter the module or the tensor of the base that it means."""
    matching = Matching()
    heads = tuple(modules_to_save)
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        if name == key:
            matching.without_prefix.append(key)
        name = name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")
        found = _PART.fullmatch(name)
        if found is not None:
            module = base.resolve(found["module"])
            if module is None:
                matching.unmatched.append(key)
            else:
                matching.parts.setdefault(module, {})[_part(found["part"])] = tensor
        elif base.tensor(name) is not None or _below(name, heads):
            matching.saved.append(SavedTensor(key, name, tensor))
        else:
            matching.unmatched.append(key)
    return matching


def _part(text: str) -> str:
    return text.removesuffix(".weight").removeprefix("token_adapter.")


def _below(name: str, modules: Iterable[str]) -> bool:
    return any(f".{module}." in f".{name}" for module in modules)


def rank(parts: Mapping[str, Tensor]) -> int | None:
    """The rank that a module's LoRA has by its tensors, or None where it has none."""
    down = parts.get("lora_A", parts.get("lora_embedding_A"))
    return down.shape[0] if down is not None and down.shape else None


def shape_fault(
    module: str, parts: Mapping[str, Tensor], weight: Tensor | None, *, transposed: bool
) -> str:
    """Why these tensors cannot adapt the weight, or an empty text.

    `weight` is None where it is packed or not a single one; then only the pair is checked.
    `transposed` tells that the base stores this weight with its inputs first.
    """
    for down, up in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
        if (down in parts) != (up in parts):
            there, missing = (down, up) if down in parts else (up, down)
            return f"{shown(module)} has {there}, but no {missing}"
        if down not in parts:
            continue
        first, second = parts[down].shape, parts[up].shape
        if len(first) < 2 or len(second) < 2 or not prod(first) or not prod(second):
            return (
                f"{shown(module)} has a {down} of {_text(first)} and a {up} of {_text(second)}; "
                "both need two dimensions and values"
            )
        if first[0] != second[1]:
            return f"{shown(module)} has a {down} of rank {first[0]} and a {up} of rank {second[1]}"
        if weight is not None:
            fault = _pair_fault(module, down, first, second, weight.shape, transposed)
            if fault:
                return fault
    outputs = _outputs(parts, weight, transposed)
    for name in ("lora_magnitude_vector", "lora_B.bias"):
        if name in parts and outputs is not None and prod(parts[name].shape) != outputs:
            return (
                f"{shown(module)} has a {name} of {_text(parts[name].shape)}; the base's weight "
                f"has {outputs} outputs"
            )
    return ""


def _pair_fault(
    module: str,
    down: str,
    first: tuple[int, ...],
    second: tuple[int, ...],
    weight: tuple[int, ...],
    transposed: bool,
) -> str:
    inner = weight[::-1] if transposed and len(weight) == 2 else weight
    if down == "lora_embedding_A":
        inner = inner[::-1]
    if first[1:] == inner[1:] and second[0] == inner[0]:
        return ""
    up = down.replace("_A", "_B")
    return (
        f"{shown(module)} has a {down} of {_text(first)} and a {up} of {_text(second)}, which do "
        f"not fit the base's weight of {_text(weight)}"
    )


def _outputs(parts: Mapping[str, Tensor], weight: Tensor | None, transposed: bool) -> int | None:
    if weight is None or len(weight.shape) < 2:
        return None
    if "lora_embedding_A" in parts or transposed:
        return weight.shape[1]
    return weight.shape[0]


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
