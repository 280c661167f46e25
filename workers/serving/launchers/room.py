"""Whether a replica fits a machine beside those that are there, and which GPUs it gets.

What counts is what each was promised, not what it happens to use at the moment: an engine that
still loads its weights would else be joined by one too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Cursor
from psycopg.rows import DictRow

from backend.domain.configuration import Hardware
from backend.domain.server import DOCKER
from workers.serving.launchers.gpus import Gpu, GpuShare
from workers.serving.launchers.launcher import NoPlace, Wanted

# What the rows call a machine's Docker engine is this and the machine's name.
DOCKER_PREFIX = f"{DOCKER}:"


@dataclass(frozen=True)
class Promised:
    """What one replica was promised."""

    memory_gib: float
    shares: tuple[GpuShare, ...] = ()


@dataclass(frozen=True)
class Machine:
    """What there is to be promised."""

    memory_gib: float
    gpus: tuple[Gpu, ...] = ()


def room_here(name: str, machine: Machine, wanted: Wanted, cursor: Cursor[DictRow]) -> Promised:
    """What a replica gets of the worker's own machine, beside its processes and its containers.

    Raises `NoPlace`.
    """
    cursor.execute(
        "SELECT memory_gib, devices FROM loggia.replicas "
        "WHERE server = ANY(%s) AND state <> 'ended' AND replica_id <> %s",
        ([name, f"{DOCKER_PREFIX}{name}"], wanted.replica_id),
    )
    taken = [
        Promised(row["memory_gib"], tuple(GpuShare(**share) for share in row["devices"]))
        for row in cursor.fetchall()
    ]
    return find_room(machine, taken, wanted.configuration.hardware)


def find_room(machine: Machine, taken: Sequence[Promised], hardware: Hardware) -> Promised:
    """What a replica on this hardware gets. Raises `NoPlace`, which says how much is missing."""
    if hardware.accelerator == "gpu":
        return Promised(0.0, _gpus(machine, taken, hardware))
    wanted = hardware.memory_gib
    if wanted > machine.memory_gib:
        raise NoPlace(
            f"A replica wants {wanted:g} GiB of memory, and this server has "
            f"{machine.memory_gib:g} GiB: {_missing(wanted, machine.memory_gib)} are missing.",
            remedy="Lower hardware.memoryGib, or choose a larger server.",
            forever=True,
        )
    free = round(machine.memory_gib - sum(each.memory_gib for each in taken), 1)
    if wanted > free:
        raise NoPlace(
            f"A replica wants {wanted:g} GiB of memory, and {max(free, 0):g} of this server's "
            f"{machine.memory_gib:g} GiB are free: {_missing(wanted, free)} are missing.",
            remedy="Stop another deployment on this server, or lower hardware.memoryGib.",
        )
    return Promised(wanted)


def _gpus(machine: Machine, taken: Sequence[Promised], hardware: Hardware) -> tuple[GpuShare, ...]:
    count = hardware.accelerator_count
    wanted = round(hardware.memory_gib / count, 2)
    large = [gpu for gpu in machine.gpus if gpu.memory_gib >= wanted]
    if len(large) < count:
        largest = max((gpu.memory_gib for gpu in machine.gpus), default=0.0)
        has = f"{len(machine.gpus)} GPUs" if len(machine.gpus) != 1 else "1 GPU"
        has += f", the largest with {largest:g} GiB" if machine.gpus else ""
        raise NoPlace(
            f"A replica wants {count} x {wanted:g} GiB of GPU memory, and this server has {has}.",
            remedy="Use fewer or smaller GPUs, or choose another server.",
            forever=True,
        )
    exclusive = hardware.gpu_sharing == "exclusive"
    free = {gpu.index: _free(gpu, taken, exclusive=exclusive) for gpu in large}
    # The tightest fit leaves the largest pieces for others.
    fitting = sorted(
        (gpu for gpu in large if free[gpu.index] >= (gpu.memory_gib if exclusive else wanted)),
        key=lambda gpu: (free[gpu.index], gpu.index),
    )
    if len(fitting) < count:
        how = "to itself" if exclusive else f"with {wanted:g} GiB free"
        raise NoPlace(
            f"A replica wants {_gpu(count)} {how}, and {len(fitting)} of this server's "
            f"{len(machine.gpus)} are: {_gpu(count - len(fitting))} missing.",
            remedy="Stop another deployment on this server, or let replicas share GPUs by memory.",
        )
    return tuple(GpuShare.of(gpu, wanted, exclusive=exclusive) for gpu in fitting[:count])


def _free(gpu: Gpu, taken: Sequence[Promised], *, exclusive: bool) -> float:
    shares = [share for each in taken for share in each.shares if share.index == gpu.index]
    if shares and (exclusive or any(share.exclusive for share in shares)):
        return 0.0
    return round(gpu.memory_gib - sum(share.memory_gib for share in shares), 2)


def _gpu(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _missing(wanted: float, there: float) -> str:
    return f"{round(wanted - max(there, 0), 1):g} GiB"
