"""A container image that is a model by itself: its configuration file says how it is run.

Values for its environment are given as engine arguments, by the variable's name in small letters.
That of a secret variable is the name of a connection, whose secret it gets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import httpx

from backend.domain.configuration import Hardware
from backend.domain.engine_options import Option
from backend.domain.errors import DomainError, Invalid, NotAllowed
from backend.domain.servable import CONTAINER, Use
from backend.sources.image_reference import parse_reference
from workers.serving.containers import Container, ContainerOrder, Health
from workers.serving.engine import Command, Diagnosis, Environment, EnvironmentSpec, Launch, Load

_SOURCE = "container_image"
_SERVED = "real_time"
_KILLED = frozenset({-9, 137})
_NO_COMMAND = frozenset({126, 127})


class ContainerImage:
    """The image itself; its launcher watches its health."""

    name = CONTAINER

    def settable(self, environment: Environment) -> Mapping[str, Option]:  # noqa: ARG002
        """None that hold for every image."""
        return {}

    def environment(self, hardware: Hardware, /) -> EnvironmentSpec:  # noqa: ARG002
        """Raises `Invalid`: an image is not run as a process of this machine."""
        _elsewhere()

    def command(self, environment: Environment, launch: Launch) -> Command:  # noqa: ARG002
        """Raises `Invalid`: an image is not run as a process of this machine."""
        _elsewhere()

    def container(self, order: ContainerOrder) -> Container:
        """The container as its configuration file describes it. Raises `DomainError`."""
        version = order.subject.version
        if version.source != _SOURCE:
            raise NotAllowed(
                f"Version {version.number} is no container image.",
                remedy="Choose another engine.",
            )
        origin = version.origin[_SOURCE]
        if origin["deployment_type"] != _SERVED:
            raise NotAllowed(
                f"The image was imported for the deployment type '{origin['deployment_type']}'; "
                f"the gateway serves real-time requests only.",
                remedy=f"Import it with the deployment type '{_SERVED}'.",
            )
        configuration = json.loads(origin["configuration"])
        _check_reachable(configuration)
        reference = parse_reference(origin["reference"])
        digest = (version.image or {}).get("digest")
        pinned = reference.pinned(digest) if digest else origin["reference"]
        plain, secret = _environment(
            configuration.get("environment", []),
            order.launch.configuration.engine_arguments,
            order,
        )
        needs = configuration.get("resources", {})
        return Container(
            image=pinned,
            version=digest or origin["reference"],
            port=configuration["port"],
            health=_health(configuration),
            command=configuration.get("command", []),
            arguments=configuration.get("arguments", []),
            environment=plain,
            secrets=secret,
            connection=origin["connection"],
            cpu=needs.get("cpu"),
            memory_gib=needs.get("memoryGib"),
        )

    def answers(self, client: httpx.Client, endpoint: str, model_name: str, use: Use) -> bool:  # noqa: ARG002
        """Its launcher has seen that it is healthy, and more is not known of its interfaces."""
        return True

    def effect(
        self,
        client: httpx.Client,  # noqa: ARG002
        endpoint: str,  # noqa: ARG002
        adapter: str,  # noqa: ARG002
        base: str,  # noqa: ARG002
        use: Use,  # noqa: ARG002
    ) -> float:
        """Raises `ValueError`: an image has no adapters."""
        raise ValueError("container images have no adapters")

    def is_alive(self, client: httpx.Client, endpoint: str) -> bool:  # noqa: ARG002
        """Its launcher watches that."""
        return True

    def load(self, client: httpx.Client, endpoint: str) -> Load:  # noqa: ARG002
        """Raises `ValueError`: nobody knows what an image's requests are."""
        raise ValueError("a container image does not say how busy it is")

    def diagnose(self, log_tail: Sequence[str], exit_code: int | None) -> Diagnosis:
        """By its exit status, as shells and kernels give it, and its last line."""
        if exit_code in _KILLED:
            return Diagnosis(
                "The container was killed, perhaps because it needed more memory than it has.",
                "Give the deployment more memory, then redeploy.",
            )
        if exit_code in _NO_COMMAND:
            return Diagnosis(
                "The container's command is not there or cannot be executed.",
                "Correct 'command' in the configuration file and import the image again.",
            )
        how = "" if exit_code is None else f" with exit status {exit_code}"
        said = f": {log_tail[-1][:300]}" if log_tail else " and has written nothing."
        return Diagnosis(
            f"The container ended{how}{said}",
            "Read the log's last lines; correct the image or its configuration file, and import "
            "it again.",
        )


def _elsewhere() -> NoReturn:
    raise Invalid(
        "hardware.server: this server runs no containers.",
        remedy="Choose a server that does, such as docker or kubernetes.",
        field="hardware.server",
    )


def _check_reachable(configuration: Mapping[str, Any]) -> None:
    if configuration.get("protocol", "http") != "http":
        raise NotAllowed(
            "The container speaks https; the gateway speaks plain http with engines.",
            remedy="Let it listen for http inside, and import it with the protocol 'http'.",
        )
    if configuration.get("mode") == "batch":
        raise NotAllowed(
            "The container works through batches; the gateway sends single requests.",
            remedy="Import an image whose mode is 'request_response' or 'stream'.",
        )


def _health(configuration: Mapping[str, Any]) -> Health:
    health = configuration["health"]
    return Health(
        path=health["path"],
        port=health.get("port", configuration["port"]),
        initial_delay=health.get("initialDelaySeconds", 0),
        period=health.get("periodSeconds", 10),
        timeout=health.get("timeoutSeconds", 5),
        failures=health.get("failureThreshold", 3),
    )


def _environment(
    variables: Sequence[Mapping[str, Any]], given: Mapping[str, str], order: ContainerOrder
) -> tuple[dict[str, str], dict[str, str]]:
    """Values and secrets by variable. Raises `DomainError`."""
    plain: dict[str, str] = {}
    secrets: dict[str, str] = {}
    names = {variable["name"].lower(): variable for variable in variables}
    for name in given.keys() - names.keys():
        known = ", ".join(sorted(names)) or "none"
        raise _wrong(name, "the image reads no such variable.", f"Known are: {known}.")
    for name, variable in names.items():
        value = given.get(name, variable.get("default"))
        if value is None:
            if variable.get("required"):
                raise _wrong(name, "the image needs a value.", _how(variable))
        elif variable.get("secret"):
            try:
                secrets[variable["name"]] = order.secret(value)
            except DomainError as error:
                raise _wrong(name, error.detail, error.remedy) from error
        else:
            plain[variable["name"]] = value
    return plain, secrets


def _how(variable: Mapping[str, Any]) -> str:
    if variable.get("secret"):
        return "Save a connection with the secret, and give the connection's name."
    return "Give one among the engine arguments."


def _wrong(name: str, detail: str, remedy: str) -> Invalid:
    path = f"engine_arguments.{name}"
    return Invalid(f"{path}: {detail}", remedy=remedy, field=path)
