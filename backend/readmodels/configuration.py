"""The deploy configuration on the wire, and what changed from one to the next."""

from __future__ import annotations

from typing import Any

import msgspec

from backend.domain.configuration import completed
from backend.readmodels.wire_names import camel_keys


class _Part(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class OptimizationView(_Part):
    """How the model is transformed before it is served."""

    method: str
    quantization: str | None = None


class ParametersView(_Part):
    """Sampling defaults, and how many requests a replica works on together."""

    temperature: float
    max_tokens: int
    top_p: float
    top_k: int
    stop: list[str]
    batch_size: int


class ScalingView(_Part):
    """How many replicas; delays in seconds."""

    min_replicas: int
    max_replicas: int
    scale_up_delay_seconds: int
    scale_down_delay_seconds: int


class HardwareView(_Part):
    """Where a replica runs; memory in GiB."""

    server: str
    accelerator: str
    accelerator_count: int
    memory_gib: float
    gpu_sharing: str = "exclusive"


class ConfigurationView(_Part):
    """A complete deploy configuration, as `deployconfig.json` holds it."""

    schema_version: int
    engine: str
    optimization: OptimizationView
    parameters: ParametersView
    scaling: ScalingView
    hardware: HardwareView
    engine_arguments: dict[str, str] = {}


class Change(msgspec.Struct, rename="camel", frozen=True):
    """One field that differs between two revisions."""

    field: str
    before: Any
    after: Any


def from_domain(document: dict[str, Any]) -> ConfigurationView:
    """The view of a configuration as events hold it."""
    return msgspec.convert(camel_keys(completed(document)), ConfigurationView)


def to_domain(view: ConfigurationView) -> dict[str, Any]:
    """The document that the domain checks."""
    return {
        name: msgspec.structs.asdict(value) if isinstance(value, _Part) else value
        for name, value in msgspec.structs.asdict(view).items()
    }


def changes(before: ConfigurationView | None, after: ConfigurationView) -> list[Change]:
    """What the second has otherwise than the first; nothing where there is no first."""
    if before is None:
        return []
    old, new = _flat(before), _flat(after)
    return [
        Change(field, old.get(field), new.get(field))
        for field in dict.fromkeys([*old, *new])
        if old.get(field) != new.get(field)
    ]


def _flat(view: ConfigurationView) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                walk(f"{prefix}.{name}" if prefix else name, each)
        else:
            flat[prefix] = value

    walk("", msgspec.to_builtins(view))
    return flat
