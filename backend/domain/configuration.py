"""The deploy configuration: one complete, immutable document for each revision."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from backend.domain.errors import Invalid
from backend.domain.servable import ENGINES

SCHEMA_VERSION = 1
MAX_STOP_SEQUENCES = 4
_ARGUMENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_QUANTIZATION = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
# Each method of optimization with its quantizations; vLLM's depend on its release and are checked
# where that is known.
METHODS: dict[str, tuple[str, ...]] = {
    "skip": (),
    "ctranslate2": (
        "int8", "int8_float16", "int8_bfloat16", "int8_float32", "int16", "float16", "bfloat16",
    ),
    "vllm": (),
}  # fmt: skip


def _invalid(path: str, detail: str, remedy: str) -> Invalid:
    return Invalid(f"{path}: {detail}", remedy=remedy, field=path)


def _within(path: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise _invalid(path, f"{value} is out of range.", f"Choose a value from {low} to {high}.")


@dataclass(frozen=True)
class Optimization:
    """How the model is transformed before it is served."""

    method: str = "skip"
    quantization: str | None = None

    @property
    def converts(self) -> bool:
        """Whether files are made from the model's own before an engine starts."""
        return self.method == "ctranslate2"

    def check(self) -> None:
        if self.method not in METHODS:
            raise _invalid(
                "optimization.method",
                f"'{self.method}' is not available.",
                f"Choose from {', '.join(METHODS)}.",
            )
        known = METHODS[self.method]
        if self.method == "skip" and self.quantization is not None:
            raise _invalid(
                "optimization.quantization",
                "there is nothing to quantize when optimization is skipped.",
                "Leave the quantization empty.",
            )
        if self.method != "skip" and self.quantization is None:
            raise _invalid(
                "optimization.quantization",
                f"{self.method} needs to know how to quantize.",
                "Choose a quantization.",
            )
        if known and self.quantization not in known:
            raise _invalid(
                "optimization.quantization",
                f"'{self.quantization}' is unknown to {self.method}.",
                f"Choose from {', '.join(known)}.",
            )
        if self.quantization is not None and not _QUANTIZATION.fullmatch(self.quantization):
            raise _invalid(
                "optimization.quantization",
                "is not the name of a quantization.",
                "Choose one that the deploy options list.",
            )


@dataclass(frozen=True)
class Parameters:
    """Sampling defaults of the endpoint, and how many requests the engine batches."""

    temperature: float = 1.0
    max_tokens: int = 256
    top_p: float = 1.0
    top_k: int = -1
    stop: tuple[str, ...] = ()
    batch_size: int = 8

    def check(self) -> None:
        _within("parameters.temperature", self.temperature, 0, 2)
        _within("parameters.max_tokens", self.max_tokens, 1, 1_048_576)
        _within("parameters.top_p", self.top_p, 0.01, 1)
        _within("parameters.batch_size", self.batch_size, 1, 1024)
        if self.top_k != -1:
            _within("parameters.top_k", self.top_k, 1, 1_000_000)
        if len(self.stop) > MAX_STOP_SEQUENCES or any(not 1 <= len(s) <= 64 for s in self.stop):
            raise _invalid(
                "parameters.stop",
                "too many stop sequences, or one is empty or too long.",
                f"Give at most {MAX_STOP_SEQUENCES} sequences of 1 to 64 characters.",
            )


@dataclass(frozen=True)
class Scaling:
    """How many replicas serve the model, none where nobody asks and 0 is allowed.

    Delays are in seconds: for so long more, or fewer, replicas must have been needed.
    """

    min_replicas: int = 1
    max_replicas: int = 1
    scale_up_delay_seconds: int = 30
    scale_down_delay_seconds: int = 300

    def check(self) -> None:
        _within("scaling.min_replicas", self.min_replicas, 0, 64)
        _within("scaling.max_replicas", self.max_replicas, 1, 64)
        _within("scaling.scale_up_delay_seconds", self.scale_up_delay_seconds, 0, 86_400)
        _within("scaling.scale_down_delay_seconds", self.scale_down_delay_seconds, 0, 86_400)
        if self.min_replicas > self.max_replicas:
            raise _invalid(
                "scaling.min_replicas",
                f"{self.min_replicas} is more than the maximum of {self.max_replicas}.",
                "Lower the minimum or raise the maximum.",
            )


@dataclass(frozen=True)
class Hardware:
    """Where a replica runs and what it may use; memory is in GiB."""

    server: str = "local"
    accelerator: str = "cpu"
    accelerator_count: int = 0
    memory_gib: float = 4.0

    def check(self) -> None:
        if self.accelerator not in {"cpu", "gpu"}:
            raise _invalid(
                "hardware.accelerator", f"'{self.accelerator}' is unknown.", "Choose cpu or gpu."
            )
        _within("hardware.accelerator_count", self.accelerator_count, 0, 64)
        _within("hardware.memory_gib", self.memory_gib, 0.5, 4096)
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
    engine: str = "vllm"
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
        if self.engine not in ENGINES:
            raise _invalid(
                "engine",
                f"'{self.engine}' is not available.",
                f"Choose from {', '.join(ENGINES)}.",
            )
        for part in (self.optimization, self.parameters, self.scaling, self.hardware):
            part.check()
        methods = ENGINES[self.engine].methods
        if self.optimization.method not in methods:
            raise _invalid(
                "optimization.method",
                f"'{self.optimization.method}' is not for the engine {self.engine}.",
                f"Choose from {', '.join(methods)}, or another engine.",
            )
        for name, value in self.engine_arguments.items():
            if not _ARGUMENT.fullmatch(name) or len(value) > 1000 or not value.isprintable():
                raise _invalid(
                    f"engine_arguments.{name[:64]}",
                    "the name or the value is not acceptable.",
                    "Use names of lower-case letters, digits and underscores, and plain values.",
                )


_PARTS: dict[str, type[Any]] = {
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
        if name in _PARTS:
            given[name] = _build(_PARTS[name], value, f"{path}.")
        else:
            given[name] = _typed(path, str(known[name].type), value)
    return cls(**given)


def _typed(path: str, kind: str, value: Any) -> Any:
    accepted, words = _KINDS[kind]
    elements = value.values() if isinstance(value, dict) else value
    wrong_element = isinstance(value, list | tuple | dict) and any(
        not isinstance(element, str) for element in elements
    )
    if not isinstance(value, accepted) or isinstance(value, bool) or wrong_element:
        raise _invalid(path, f"{value!r} is not {words}.", f"Give {words}.")
    if isinstance(value, float) and value != value:  # NaN compares unequal to itself
        raise _invalid(path, "is not a number.", "Give a number.")
    return tuple(value) if isinstance(value, list) else value
