"""What a container may use of its machine, as Docker is told."""

from __future__ import annotations

from typing import Any

import docker

from backend.domain.configuration import Hardware
from workers.serving.containers import Container
from workers.serving.launchers.gpus import GIB
from workers.serving.launchers.launcher import Place


def memory_limit(container: Container, hardware: Hardware) -> int | None:
    """In bytes; none with GPUs, whose memory the deployment's is then."""
    if hardware.accelerator_count:
        return None
    return round(max(hardware.memory_gib, container.memory_gib or 0.0) * GIB)


def gpus_of(place: Place) -> list[Any] | None:
    """Those that the replica was promised, by their own names: indexes may differ there."""
    if not place.devices:
        return None
    uuids = [share.uuid for share in place.devices]
    return [docker.types.DeviceRequest(driver="nvidia", device_ids=uuids, capabilities=[["gpu"]])]
