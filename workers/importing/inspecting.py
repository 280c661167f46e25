"""Models without files of their own: container images, and models that somebody described.

An image is looked at through its registry only; the report says whether it exists, would run here
and fits the configuration that came with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.contracts.container_configuration import (
    Checked,
    Problem,
    check_configuration,
    check_parameter_schema,
)
from backend.domain.version import Version
from backend.infra.connections import ConnectionStore
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.image_reference import parse_reference
from backend.sources.registry import DEFAULT_PLATFORM, Image, inspect_image
from backend.sources.registry_client import Credentials
from workers.importing.connections import registry_account
from workers.importing.validation.report import Check, Outcome, Report, plain

# How many checks a sound image goes through; what progress counts to.
IMAGE_CHECKS = 8
MANUAL_CHECKS = 2

_TASKS = {
    "llm": "text-generation",
    "embedding": "feature-extraction",
    "reranker": "text-ranking",
    "diffusion": "text-to-image",
    "speech": "automatic-speech-recognition",
    "vision": "image-classification",
}
_ROOT = {"", "0", "root", "0:0", "root:root"}


@dataclass(frozen=True)
class Inspection:
    """The report, the card where every check passed or warned, and the image where there is one."""

    report: Report
    card: dict[str, Any] | None
    image: Image | None = None


def inspect_version(
    version: Version,
    connections: ConnectionStore,
    client: GuardedClient,
    *,
    on_check: Callable[[Check], None] | None = None,
) -> Inspection:
    """The report about a version that has no files, whatever its source.

    Raises `ImportRefused` for its connection, and `FetchFailed`.
    """
    origin = version.origin[version.source]
    if version.source == "manual":
        return inspect_manual(origin, on_check=on_check)
    account = registry_account(connections, origin["connection"])
    digest = version.image["digest"] if version.image is not None else None
    return inspect_container_image(origin, account, client, digest=digest, on_check=on_check)


def inspect_container_image(
    origin: Mapping[str, Any],
    credentials: Credentials | None,
    client: GuardedClient,
    *,
    platform: str = DEFAULT_PLATFORM,
    digest: str | None = None,
    on_check: Callable[[Check], None] | None = None,
) -> Inspection:
    """Checks an image and its configuration; `origin` is what the event says of it, `digest` what
    an earlier attempt of the same import found.

    Raises `FetchFailed` where the registry may answer another time.
    """
    report = Report(on_check=on_check)
    reference = origin["reference"]
    if digest is not None:
        reference = parse_reference(reference).pinned(digest)
    image = _check_image(reference, credentials, client, platform, report)
    configuration = _check_configuration(origin["configuration"], report)
    _check_parameters(origin, report)
    if image is not None:
        _check_platform(image, platform, report)
        _check_start(image, configuration, report)
        if configuration.document is not None:
            _check_ports(image, configuration, report)
    _check_minimum(origin, configuration, report)
    if report.failures or image is None:
        return Inspection(report, None, image)
    card = {
        "format": "container_image",
        "license": image.labels.get("org.opencontainers.image.licenses") or None,
        "summary": image.labels.get("org.opencontainers.image.description") or None,
        "total_bytes": image.size_bytes,
        "image": {
            "digest": image.digest,
            "platform": image.platform,
            "ports": [str(port) for port in image.ports],
        },
    }
    return Inspection(report, card, image)


def inspect_manual(
    origin: Mapping[str, Any], *, on_check: Callable[[Check], None] | None = None
) -> Inspection:
    """The report about a model that a person described and that has no weights here."""
    report = Report(on_check=on_check)
    report.add(
        "description",
        "Model is described",
        Outcome.PASS,
        f"A model of type '{origin['type']}' for the runtime '{origin['runtime']}'.",
    )
    report.add(
        "weights",
        "Weights are named",
        Outcome.WARN,
        "No address or path of weights was given.",
        "The model can be shown and found. To deploy it, import a version with weights.",
    )
    return Inspection(report, {"format": "external", "task": _TASKS.get(origin["type"])})


def _check_image(
    reference: str,
    credentials: Credentials | None,
    client: GuardedClient,
    platform: str,
    report: Report,
) -> Image | None:
    title = "Image exists in its registry"
    try:
        image = inspect_image(reference, credentials, client, platform=platform)
    except FetchRefused as refusal:
        report.add("image", title, Outcome.FAIL, refusal.reason, refusal.remedy)
        return None
    except FetchFailed as failure:
        if failure.retryable:
            raise
        report.add("image", title, Outcome.FAIL, failure.reason, failure.remedy)
        return None
    report.add(
        "image", title, Outcome.PASS, f"{image.reference}, {image.size_bytes} bytes to download."
    )
    asked_by_digest = "@" in image.reference
    report.add(
        "digest",
        "Image is pinned by its digest",
        Outcome.PASS,
        f"{image.digest}, as the reference asks for."
        if asked_by_digest
        else f"The tag leads to {image.digest} now; this content is kept, wherever the tag moves.",
    )
    return image


def _check_platform(image: Image, wanted: str, report: Report) -> None:
    title = "Image is built for these servers"
    offered = ", ".join(image.platforms)
    if image.platform.split("/")[:2] == wanted.split("/")[:2]:
        report.add("platform", title, Outcome.PASS, f"{image.platform}; offered: {offered}.")
    elif image.platform.startswith("linux/"):
        report.add(
            "platform",
            title,
            Outcome.WARN,
            f"The image is for {offered}, not for {wanted}.",
            f"Deploy it on a server of that kind, or build it for {wanted} too.",
        )
    else:
        report.add(
            "platform",
            title,
            Outcome.FAIL,
            f"The image is for {offered}; servers here run Linux containers.",
            f"Build the image for {wanted}.",
        )


def _check_configuration(text: str, report: Report) -> Checked:
    checked = check_configuration(text)
    title = "Configuration file is valid"
    if checked.problems:
        evidence, hint = _problems(checked.problems)
        report.add("configuration", title, Outcome.FAIL, evidence, hint)
        return Checked(None, checked.problems)
    document = checked.document or {}
    apis = ", ".join(f"{api.get('method', 'POST')} {api['path']}" for api in document["apis"][:5])
    report.add("configuration", title, Outcome.PASS, f"Interfaces: {apis}.")
    return checked


def _check_parameters(origin: Mapping[str, Any], report: Report) -> None:
    title = "Input and output parameters are valid"
    given = {
        what: origin[key]
        for key, what in (
            ("input_schema", "The input parameters"),
            ("output_schema", "The output parameters"),
        )
        if origin.get(key)
    }
    problems = [
        problem
        for what, text in given.items()
        for problem in check_parameter_schema(text, what).problems
    ]
    if problems:
        evidence, hint = _problems(problems)
        report.add("parameters", title, Outcome.FAIL, evidence, hint)
    elif given:
        report.add("parameters", title, Outcome.PASS, "They are JSON Schemas.")
    else:
        report.add(
            "parameters", title, Outcome.PASS, "None were given; those of the interfaces count."
        )


def _check_start(image: Image, configuration: Checked, report: Report) -> None:
    title = "Image knows what to run"
    own = (configuration.document or {}).get("command")
    command = own or [*image.entrypoint, *image.command]
    if not command:
        report.add(
            "start",
            title,
            Outcome.FAIL,
            "The image has neither an entrypoint nor a command, and the configuration names none.",
            "Add 'command' to the configuration, or build the image with an entrypoint.",
        )
        return
    root = image.user.strip() in _ROOT
    report.add(
        "start",
        title,
        Outcome.WARN if root else Outcome.PASS,
        f"It runs {plain(' '.join(command), 300)} as {'root' if root else image.user}.",
        "Build the image with a user of its own; clusters often refuse containers that run as root."
        if root
        else "",
    )


def _check_ports(image: Image, configuration: Checked, report: Report) -> None:
    """What an image declares is a remark of its author, not a fact: a difference is a warning."""
    title = "Ports match the image"
    wanted, declared = configuration.ports, image.ports
    missing = [port for port in wanted if port not in declared]
    if not missing:
        report.add("ports", title, Outcome.PASS, f"The image declares {_numbers(wanted)}.")
    elif not declared:
        report.add(
            "ports",
            title,
            Outcome.WARN,
            f"The image declares no ports; the configuration expects {_numbers(missing)}.",
            "Make sure that the container listens there, or add EXPOSE when the image is built.",
        )
    else:
        report.add(
            "ports",
            title,
            Outcome.WARN,
            f"The configuration expects {_numbers(missing)}; the image declares "
            f"{_numbers(declared)}.",
            "Correct the port in the configuration, or make sure that the container listens "
            "there all the same.",
        )


def _check_minimum(origin: Mapping[str, Any], configuration: Checked, report: Report) -> None:
    """The configuration must not ask for more than the import's minimum promises."""
    title = "Minimum specification is enough"
    stated = origin.get("minimum") or {}
    asked = (configuration.document or {}).get("resources", {})
    names = {
        "cpu": "cpu",
        "memoryGib": "memory_gib",
        "gpu": "gpu",
        "gpuMemoryGib": "gpu_memory_gib",
    }
    short = [
        f"{name} {asked[name]} (stated: {stated[key]:g})"
        for name, key in names.items()
        if asked.get(name) and 0 < (stated.get(key) or 0) < asked[name]
    ]
    if short:
        report.add(
            "minimum",
            title,
            Outcome.WARN,
            f"The configuration asks for {', '.join(short)}.",
            "Raise the minimum specification, or lower 'resources' in the configuration.",
        )
    else:
        report.add("minimum", title, Outcome.PASS, "It covers what the configuration asks for.")


def _problems(problems: list[Problem]) -> tuple[str, str]:
    """The first problem's place, message and remedy, and how many more there are."""
    first, more = problems[0], len(problems) - 1
    place = first.path or (f"line {first.line}" if first.line else "")
    evidence = f"{place}: {first.message}" if place else first.message
    also = f" {more} more {'fault' if more == 1 else 'faults'} in it." if more else ""
    return evidence + also, first.remedy


def _numbers(ports: list[int]) -> str:
    return ("port " if len(ports) == 1 else "ports ") + ", ".join(map(str, ports[:20]))
