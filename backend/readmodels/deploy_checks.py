"""What speaks for and against a deployment, before anybody asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import DomainError, Invalid, NotAllowed
from backend.readmodels.deploy_options import DeployOptions
from backend.readmodels.deploy_servers import ServerView
from backend.readmodels.version_facts import Check, MemoryNeed
from backend.readmodels.wire_names import camel_path

GIB = 1024**3
# Beside weights and cache: what an engine takes before it answers anything.
_ENGINE_BYTES = 2 * GIB
_QUANTIZED = {"int8": "int8", "fp8": "int8", "awq": "int4", "gptq": "int4", "bitsandbytes": "int4"}
_PASS, _WARN, _FAIL = "pass", "warn", "fail"


class MemoryEstimate(msgspec.Struct, rename="camel", frozen=True):
    """What one replica needs: the weights in a data type, the cache of `requests` of
    `context_tokens` each, and the engine itself. An estimate; nothing was measured."""

    dtype: str
    weights_bytes: int
    cache_bytes: int
    engine_bytes: int
    total_bytes: int
    context_tokens: int
    requests: int


def checks(
    options: DeployOptions,
    document: dict[str, Any],
    memory: MemoryEstimate | None,
    *,
    refusal: DomainError | None,
    known_engine: bool,
    terms_accepted: bool,
) -> list[Check]:
    """Every check, in the order in which a person reads them.

    `document` is the configuration under the domain's names; `refusal` is what the request itself
    would answer. Of an engine that is installed it is known which arguments it has.
    """
    found: list[Check] = []
    try:
        configuration = DeployConfiguration.from_dict(document)
    except Invalid as error:
        found.append(Check("configuration", "Configuration", _FAIL, _wire(error), error.remedy))
    else:
        engine = _engine(options, configuration)
        found += [
            _state(refusal, engine),
            Check("configuration", "Configuration", _PASS, "Every value is within its limits."),
            engine,
            _optimization(options, configuration),
            _arguments(configuration, refusal, known_engine),
            _server(options, configuration),
            _memory(configuration, memory),
        ]
        if refusal is not None and not refused(found):
            found.append(Check("request", "Request", _FAIL, _said(refusal), refusal.remedy))
    return [*found, _terms(options, accepted=terms_accepted)]


def refused(found: Sequence[Check]) -> bool:
    """Whether any check has failed."""
    return any(check.outcome == _FAIL for check in found)


def memory_estimate(
    needs: Sequence[MemoryNeed], configuration: DeployConfiguration, context_length: int | None
) -> MemoryEstimate | None:
    """What a replica needs with this configuration; None where the model's files do not say."""
    need = _need(needs, configuration)
    if need is None:
        return None
    asked = configuration.engine_arguments.get("max_model_len", "")
    tokens = int(asked) if asked.isdecimal() else context_length or 0
    requests = configuration.parameters.batch_size
    cache = need.kv_cache_bytes_per_token * tokens * requests
    return MemoryEstimate(
        dtype=need.dtype,
        weights_bytes=need.weights_bytes,
        cache_bytes=cache,
        engine_bytes=_ENGINE_BYTES,
        total_bytes=need.weights_bytes + cache + _ENGINE_BYTES,
        context_tokens=tokens,
        requests=requests,
    )


def _need(needs: Sequence[MemoryNeed], configuration: DeployConfiguration) -> MemoryNeed | None:
    by_dtype = {need.dtype: need for need in needs}
    if "stored" in by_dtype:
        return by_dtype["stored"]
    quantization = configuration.optimization.quantization or ""
    for name, dtype in _QUANTIZED.items():
        if quantization.startswith(name) and dtype in by_dtype:
            return by_dtype[dtype]
    dtype = configuration.engine_arguments.get("dtype", "")
    if dtype in {"float32", "float"} and "float32" in by_dtype:
        return by_dtype["float32"]
    return by_dtype.get("bfloat16") or next(iter(needs), None)


def _state(refusal: DomainError | None, engine: Check) -> Check:
    # That the engine cannot serve it is said by the engine's own check.
    if not isinstance(refusal, NotAllowed) or (
        engine.outcome == _FAIL and (engine.evidence or "") in refusal.detail
    ):
        return Check("state", "State", _PASS, "The model is ready, and nothing is being stopped.")
    return Check("state", "State", _FAIL, refusal.detail, refusal.remedy)


def _engine(options: DeployOptions, configuration: DeployConfiguration) -> Check:
    engine = next((e for e in options.engines if e.name == configuration.engine), None)
    if engine is None:
        names = ", ".join(e.label for e in options.engines)
        return Check(
            "engine",
            "Engine",
            _FAIL,
            f"The engine '{configuration.engine}' is not available here.",
            f"Choose from {names}.",
        )
    if not engine.available:
        return Check("engine", "Engine", _FAIL, engine.reason, engine.remedy)
    return Check("engine", "Engine", _PASS, f"{engine.label} can serve this model.")


def _optimization(options: DeployOptions, configuration: DeployConfiguration) -> Check:
    wanted = configuration.optimization
    option = next((o for o in options.optimizations if o.method == wanted.method), None)
    title = "Optimization"
    if option is None or not option.available:
        reason = option.reason if option else None
        return Check(
            "optimization",
            title,
            _FAIL,
            reason or f"The optimization '{wanted.method}' is not available here.",
            "Choose another one.",
        )
    if wanted.quantization and wanted.quantization not in option.quantizations:
        return Check(
            "optimization",
            title,
            _FAIL,
            f"The quantization '{wanted.quantization}' is not available here.",
            f"Choose from {', '.join(option.quantizations)}.",
        )
    said = option.label if not wanted.quantization else f"{option.label}, {wanted.quantization}"
    return Check("optimization", title, _PASS, f"{said}.")


def _arguments(
    configuration: DeployConfiguration, refusal: DomainError | None, known_engine: bool
) -> Check:
    names = sorted(configuration.engine_arguments)
    title = "Engine arguments"
    if isinstance(refusal, Invalid) and (refusal.field or "").startswith("engine_arguments"):
        return Check("arguments", title, _FAIL, _wire(refusal), refusal.remedy)
    if not names:
        return Check("arguments", title, _PASS, "None are given.")
    if known_engine:
        return Check("arguments", title, _PASS, f"The engine has {', '.join(names)}.")
    return Check(
        "arguments",
        title,
        _WARN,
        f"Only the engine itself knows whether it has {', '.join(names)}.",
        "The deploy worker asks it before anything starts; the revision that serves goes on.",
    )


def _server(options: DeployOptions, configuration: DeployConfiguration) -> Check:
    wanted = configuration.hardware
    server = next((s for s in options.servers if s.name == wanted.server), None)
    title = "Server"
    if server is None:
        names = ", ".join(s.name for s in options.servers)
        return Check(
            "server",
            title,
            _FAIL,
            f"There is no server '{wanted.server}'.",
            f"Choose from {names}." if names else "Register a server first.",
        )
    if not server.fits:
        return Check("server", title, _FAIL, server.reason, "Choose a larger server.")
    refusal = _not_for(server, configuration)
    if refusal is not None:
        return Check("server", title, _FAIL, *refusal)
    room = server.room(wanted.accelerator, wanted.accelerator_count)
    if room is None:
        return Check("server", title, _PASS, f"{server.name} runs {configuration.engine}.")
    if wanted.memory_gib > room:
        return Check(
            "server",
            title,
            _FAIL,
            f"A replica may use {wanted.memory_gib:g} GiB, and {server.name} has {room:g} GiB: "
            f"{wanted.memory_gib - room:.1f} GiB too little.",
            "Ask for less memory, or choose a larger server.",
        )
    return Check("server", title, _PASS, f"{server.name} has {room:g} GiB for a replica.")


def _not_for(server: ServerView, configuration: DeployConfiguration) -> tuple[str, str] | None:
    """Why the server cannot run it, and what helps."""
    wanted = configuration.hardware
    if configuration.engine not in server.engines:
        has = ", ".join(server.engines)
        return f"{server.name} has {has}, not {configuration.engine}.", "Choose another server."
    if wanted.accelerator not in server.accelerators:
        has = "no GPU" if wanted.accelerator == "gpu" else "GPUs"
        return f"{server.name} has {has}.", f"Use {server.accelerator} there."
    count = wanted.accelerator_count
    if server.gpus and count > len(server.gpus):
        return (
            f"{server.name} has {len(server.gpus)} GPUs, and a replica wants {count}.",
            "Ask for fewer GPUs, or choose another server.",
        )
    if server.preset:
        try:
            configuration.check_preset()
        except Invalid as error:
            return _wire(error), error.remedy
    return None


def _memory(configuration: DeployConfiguration, memory: MemoryEstimate | None) -> Check:
    title = "Memory"
    if memory is None:
        return Check(
            "memory",
            title,
            _WARN,
            "The model's files do not say how much memory it needs.",
            "Leave room: the files' size and a few GiB more.",
        )
    given = configuration.hardware.memory_gib
    least = (memory.weights_bytes + memory.engine_bytes) / GIB
    whole = memory.total_bytes / GIB
    if least > given:
        return Check(
            "memory",
            title,
            _FAIL,
            f"Weights and engine need about {least:.1f} GiB, and a replica may use {given:g} GiB.",
            "Give each replica more memory, or choose a quantization.",
        )
    if whole > given:
        return Check(
            "memory",
            title,
            _WARN,
            f"{memory.requests} requests of {memory.context_tokens} tokens need about "
            f"{whole:.1f} GiB, and a replica may use {given:g} GiB: fewer will run at a time.",
            "Give more memory, or lower max_model_len or the inference batch size.",
        )
    return Check(
        "memory",
        title,
        _PASS,
        f"{memory.requests} requests of {memory.context_tokens} tokens need about {whole:.1f} "
        f"GiB of {given:g} GiB.",
    )


def _terms(options: DeployOptions, *, accepted: bool) -> Check:
    said = f"Version {options.terms.version}"
    if accepted:
        return Check("terms", "Terms", _PASS, f"{said} is accepted.")
    return Check(
        "terms", "Terms", _WARN, f"{said} is not accepted yet.", "Read the terms and accept them."
    )


def _said(refusal: DomainError) -> str:
    return _wire(refusal) if isinstance(refusal, Invalid) else refusal.detail


def _wire(error: Invalid) -> str:
    field = error.field or ""
    return f"{camel_path(field)}{error.detail.removeprefix(field)}" if field else error.detail
