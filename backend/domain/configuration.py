"""The deploy configuration: one complete, immutable document for each revision.

What each field may hold stands beside it; `configuration_document` makes the published JSON Schema
of the same facts.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from backend.domain.errors import Invalid
from backend.domain.servable import ENGINES

SCHEMA_VERSION = 1
# Each method of optimization with its quantizations; vLLM's depend on its release and are checked
# where that is known.
METHODS: dict[str, tuple[str, ...]] = {
    "skip": (),
    "ctranslate2": (
        "int8", "int8_float16", "int8_bfloat16", "int8_float32", "int16", "float16", "bfloat16",
    ),
    "vllm": (),
}  # fmt: skip
ACCELERATORS = ("cpu", "gpu")
GPU_SHARING = ("exclusive", "memory")
MAX_STOP_SEQUENCES = 4
MAX_STOP_CHARACTERS = 64
MAX_NAME_CHARACTERS = 64
MAX_ARGUMENT_CHARACTERS = 1000
# What may stand nowhere in a text: it cannot be stored, or not be told from other text.
NO_TEXT = r"[\u0000\ud800-\udfff]"
NO_PLAIN_TEXT = r"[\u0000-\u001f\u007f-\u009f\u2028\u2029\ud800-\udfff]"
NO_NAME = "[^a-z0-9_]"
NO_QUANTIZATION = "[^a-z0-9_.-]"


def _invalid(path: str, detail: str, remedy: str) -> Invalid:
    return Invalid(f"{path}: {detail}", remedy=remedy, field=path)


@dataclass(frozen=True)
class Limits:
    """The values that a number may have; `besides` is one more, outside of the range."""

    low: float
    high: float
    besides: int | None = None


def _number(default: float, low: float, high: float, *, besides: int | None = None) -> Any:
    return field(default=default, metadata={"limits": Limits(low, high, besides)})


def _choice(default: str, choices: tuple[str, ...]) -> Any:
    return field(default=default, metadata={"choices": choices})


def _check_values(part: Any, prefix: str) -> None:
    """Raises `Invalid` for the first number out of range and the first text not to choose from."""
    for each in fields(part):
        value, path = getattr(part, each.name), f"{prefix}{each.name}"
        limits: Limits | None = each.metadata.get("limits")
        choices: tuple[str, ...] | None = each.metadata.get("choices")
        if limits and value != limits.besides and not limits.low <= value <= limits.high:
            besides = "" if limits.besides is None else f", or {limits.besides}"
            raise _invalid(
                path,
                f"{value} is out of range.",
                f"Choose a value from {limits.low} to {limits.high}{besides}.",
            )
        if choices and value not in choices:
            raise _invalid(
                path, f"'{value}' is not available.", f"Choose from {', '.join(choices)}."
            )


def _is_word(text: str, refused: str) -> bool:
    return (
        0 < len(text) <= MAX_NAME_CHARACTERS
        and "a" <= text[0] <= "z"
        and re.search(refused, text) is None
    )


@dataclass(frozen=True)
class Optimization:
    """How the model is transformed before it is served."""

    method: str = _choice("skip", tuple(METHODS))
    quantization: str | None = None

    @property
    def converts(self) -> bool:
        """Whether files are made from the model's own before an engine starts."""
        return self.method == "ctranslate2"

    def check(self) -> None:
        _check_values(self, "optimization.")
        known, name = METHODS[self.method], self.quantization
        refusal: tuple[str, str] | None = None
        if self.method == "skip":
            if name is not None:
                refusal = (
                    "there is nothing to quantize when optimization is skipped.",
                    "Leave the quantization empty.",
                )
        elif name is None:
            refusal = (f"{self.method} needs to know how to quantize.", "Choose a quantization.")
        elif known and name not in known:
            refusal = (
                f"'{name[:MAX_NAME_CHARACTERS]}' is unknown to {self.method}.",
                f"Choose from {', '.join(known)}.",
            )
        elif not _is_word(name, NO_QUANTIZATION):
            refusal = (
                "is not the name of a quantization.",
                "Choose one that the deploy options list.",
            )
        if refusal is not None:
            raise _invalid("optimization.quantization", *refusal)


@dataclass(frozen=True)
class Parameters:
    """Sampling defaults of the endpoint, and how many requests the engine batches."""

    temperature: float = _number(1.0, 0, 2)
    max_tokens: int = _number(256, 1, 1_048_576)
    top_p: float = _number(1.0, 0.01, 1)
    top_k: int = _number(-1, 1, 1_000_000, besides=-1)
    stop: tuple[str, ...] = ()
    batch_size: int = _number(8, 1, 1024)

    def check(self) -> None:
        _check_values(self, "parameters.")
        if len(self.stop) > MAX_STOP_SEQUENCES or any(
            not 1 <= len(each) <= MAX_STOP_CHARACTERS or re.search(NO_TEXT, each)
            for each in self.stop
        ):
            raise _invalid(
                "parameters.stop",
                "too many stop sequences, or one is empty, too long or no text.",
                f"Give at most {MAX_STOP_SEQUENCES} sequences of 1 to {MAX_STOP_CHARACTERS} "
                "characters.",
            )


@dataclass(frozen=True)
class Scaling:
    """How many replicas serve the model, none where nobody asks and 0 is allowed.

    Delays are in seconds: for so long more, or fewer, replicas must have been needed.
    """

    min_replicas: int = _number(1, 0, 64)
    max_replicas: int = _number(1, 1, 64)
    scale_up_delay_seconds: int = _number(30, 0, 86_400)
    scale_down_delay_seconds: int = _number(300, 0, 86_400)

    def check(self) -> None:
        _check_values(self, "scaling.")
        if self.min_replicas > self.max_replicas:
            raise _invalid(
                "scaling.min_replicas",
                f"{self.min_replicas} is more than the maximum of {self.max_replicas}.",
                "Lower the minimum or raise the maximum.",
            )


@dataclass(frozen=True)
class Hardware:
    """Where a replica runs and what it may use; memory is in GiB, on GPUs that of all together.

    `gpu_sharing` is `exclusive`, or `memory` where a replica takes only its part of a GPU.
    """

    server: str = "local"
    accelerator: str = _choice("cpu", ACCELERATORS)
    accelerator_count: int = _number(0, 0, 64)
    memory_gib: float = _number(4.0, 0.5, 4096)
    gpu_sharing: str = _choice("exclusive", GPU_SHARING)

    def check(self) -> None:
        _check_values(self, "hardware.")
        if not 0 < len(self.server) <= MAX_NAME_CHARACTERS or re.search(NO_PLAIN_TEXT, self.server):
            raise _invalid(
                "hardware.server", "is no name of a server.", "Choose one of the deploy options."
            )
        if (self.accelerator == "gpu") != (self.accelerator_count > 0):
            raise _invalid(
                "hardware.accelerator_count",
                f"{self.accelerator_count} does not fit the accelerator {self.accelerator}.",
                "Use 0 with cpu, and at least 1 with gpu.",
            )


@dataclass(frozen=True)
class DeployConfiguration:
    """Everything that a revision is: engine, optimisation, parameters, scaling, hardware.

    `engine_arguments` are the engine's own options, by name without dashes; the deploy worker
    checks them against the engine itself.
    """

    schema_version: int = SCHEMA_VERSION
    engine: str = _choice("vllm", tuple(ENGINES))
    optimization: Optimization = field(default_factory=Optimization)
    parameters: Parameters = field(default_factory=Parameters)
    scaling: Scaling = field(default_factory=Scaling)
    hardware: Hardware = field(default_factory=Hardware)
    engine_arguments: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Self:
        """Reads and checks the document. Raises `Invalid`, which names the field."""
        configuration: Self = _build(cls, document, "")
        configuration.check()
        return configuration

    def to_dict(self) -> dict[str, Any]:
        """The document, with every field."""
        document = asdict(self)
        document["parameters"]["stop"] = list(self.parameters.stop)
        return document

    def check(self) -> None:
        """Raises `Invalid` for the first value that breaks a rule."""
        if self.schema_version != SCHEMA_VERSION:
            raise _invalid(
                "schema_version",
                f"{self.schema_version} is not known to this Loggia.",
                f"Use version {SCHEMA_VERSION}.",
            )
        _check_values(self, "")
        for part in (self.optimization, self.parameters, self.scaling, self.hardware):
            part.check()
        methods = ENGINES[self.engine].methods
        if self.optimization.method not in methods:
            raise _invalid(
                "optimization.method",
                f"'{self.optimization.method}' is not for the engine {self.engine}.",
                f"Choose from {', '.join(methods)}, or another engine.",
            )
        self._check_arguments()

    def check_preset(self) -> None:
        """Raises `Invalid` for what an engine cannot have that was started by somebody else."""
        server = self.hardware.server[:MAX_NAME_CHARACTERS]
        if self.optimization.method != "skip":
            raise _invalid(
                "optimization.method",
                f"'{server}' serves what it was started with, and nothing is transformed for it.",
                "Choose 'skip', or another server.",
            )
        for name in sorted(self.engine_arguments):
            raise _invalid(
                f"engine_arguments.{name}",
                f"'{server}' runs already, with the arguments that it was started with.",
                "Remove it, or choose another server.",
            )

    def _check_arguments(self) -> None:
        for name, value in self.engine_arguments.items():
            if (
                not _is_word(name, NO_NAME)
                or len(value) > MAX_ARGUMENT_CHARACTERS
                or re.search(NO_PLAIN_TEXT, value)
            ):
                raise _invalid(
                    f"engine_arguments.{name[:MAX_NAME_CHARACTERS]}",
                    "the name or the value is not acceptable.",
                    "Use names of lower-case letters, digits and underscores, and plain values.",
                )


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """A configuration as events hold it, with the defaults of fields that came after them.

    Stored events lack such a field; public ones, in protobuf, have an empty text there. Nothing is
    checked.
    """
    return _completed(document, DeployConfiguration, DeployConfiguration().to_dict())


def _completed(
    document: dict[str, Any], cls: type[Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    whole = defaults | document
    for each in fields(cls):
        if each.name in PARTS:
            part = whole[each.name]
            whole[each.name] = _completed(part, PARTS[each.name], defaults[each.name])
        elif whole[each.name] == "" and "choices" in each.metadata:
            whole[each.name] = defaults[each.name]
    return whole


PARTS: dict[str, type[Any]] = {
    "optimization": Optimization,
    "parameters": Parameters,
    "scaling": Scaling,
    "hardware": Hardware,
}
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a text"),
    "str | None": ((str, type(None)), "a text or nothing"),
    "tuple[str, ...]": ((list, tuple), "a list of texts"),
    "dict[str, str]": ((dict,), "an object of texts"),
}


def _build(cls: type[Any], document: Any, prefix: str) -> Any:
    if not isinstance(document, dict):
        raise _invalid(prefix or "configuration", "is not an object.", "Give a JSON object.")
    known = {f.name: f for f in fields(cls)}
    for name in document:
        if name not in known:
            raise _invalid(
                f"{prefix}{name}", "is not a known field.", f"Known are {', '.join(known)}."
            )
    given: dict[str, Any] = {}
    for name, value in document.items():
        path = f"{prefix}{name}"
        if name in PARTS:
            given[name] = _build(PARTS[name], value, f"{path}.")
        else:
            given[name] = _typed(path, str(known[name].type), value)
    return cls(**given)


def _typed(path: str, kind: str, value: Any) -> Any:
    accepted, words = _KINDS[kind]
    if kind == "int" and isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON does not tell 1 from 1.0
    elements = value.values() if isinstance(value, dict) else value
    wrong_element = isinstance(value, list | tuple | dict) and any(
        not isinstance(element, str) for element in elements
    )
    if not isinstance(value, accepted) or isinstance(value, bool) or wrong_element:
        raise _invalid(path, f"{value!r} is not {words}.", f"Give {words}.")
    if isinstance(value, float) and value != value:  # NaN compares unequal to itself
        raise _invalid(path, "is not a number.", "Give a number.")
    return tuple(value) if isinstance(value, list) else value
