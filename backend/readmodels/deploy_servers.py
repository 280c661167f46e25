"""What servers have for one replica: the hardware that the deploy wizard offers."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import psutil

from backend.application.engine_facts import EngineFactsTable
from backend.domain.server import DOCKER, KUBERNETES, LOCAL
from backend.infra.postgres import Pool
from backend.readmodels.servers import ServerState, everything

GIB = 1024**3


class GpuView(msgspec.Struct, rename="camel", frozen=True):
    """A GPU of a server; `freeGib` is what no replica was promised. Null is not known."""

    name: str
    memory_gib: float | None
    free_gib: float | None


class ServerView(msgspec.Struct, rename="camel", frozen=True):
    """A server or a pool that a deploy configuration can name; null is not known.

    `engines` are those that run there, and `preset` says that they run already: with what they
    were started with, and not with what a deployment asks for. `accelerator` is the usual one of
    `accelerators`. `fits` says whether the model ever can, and `reason` why not and how much is
    missing; `busy` says why a replica would have to wait now. `servers` is how many a pool has.
    """

    name: str
    engines: list[str]
    accelerator: str
    accelerators: list[str]
    cpu_count: int | None
    memory_gib: float | None
    gpus: list[GpuView]
    fits: bool = True
    reason: str | None = None
    preset: bool = False
    free_gib: float | None = None
    busy: str | None = None
    servers: int = 1

    def room(self, accelerator: str, count: int) -> float | None:
        """The most GiB that a replica can have there, of so many GPUs; None: not known."""
        if accelerator == "cpu":
            return self.memory_gib
        sizes = [gpu.memory_gib for gpu in self.gpus]
        known = sorted((size for size in sizes if size is not None), reverse=True)
        # Each of them holds an equal part.
        return round(known[count - 1] * count, 1) if 0 < count <= len(known) else None


def offered(pool: Pool, needed_gib: float) -> list[ServerView]:
    """This platform's own machine first, what runs containers, registered servers, and pools."""
    states = everything(pool).items
    engines = EngineFactsTable(pool).built_in()
    machines = [state for state in states if state.registration is None]
    registered = [state for state in states if state.registration is not None]
    local = _local(machines, engines[LOCAL], needed_gib)
    views = [local]
    if DOCKER in engines:
        # It has what the machine has.
        here = sorted(engines[DOCKER])
        views.append(msgspec.structs.replace(local, name=DOCKER, engines=here))
    if KUBERNETES in engines:
        views.append(_cluster(engines[KUBERNETES]))
    views += [_registered(state, needed_gib) for state in registered]
    pools: dict[str, list[ServerState]] = {}
    for state in registered:
        if state.registration is not None and state.registration.pool != state.name:
            pools.setdefault(state.registration.pool, []).append(state)
    return views + [_pool(name, members, needed_gib) for name, members in sorted(pools.items())]


def _cluster(engines: Collection[str]) -> ServerView:
    """What it has, it alone knows."""
    return ServerView(KUBERNETES, sorted(engines), "cpu", ["cpu", "gpu"], None, None, [])


def _local(machines: list[ServerState], engines: Collection[str], needed: float) -> ServerView:
    """The largest machine of a deploy worker; before one has reported, this process's own."""
    there = [machine for machine in machines if machine.state == "ready"]
    largest = max(there or machines, key=lambda machine: machine.memory_gib or 0, default=None)
    if largest is None:
        memory = round(psutil.virtual_memory().total / GIB, 1)
        return _machine_view(engines, psutil.cpu_count() or 1, memory, memory, [], needed)
    memory = largest.memory_gib or 0.0
    free = round(memory - (largest.memory_promised_gib or 0.0), 1)
    gpus = [
        GpuView(gpu.name, gpu.memory_gib, round(gpu.memory_gib - gpu.promised_gib, 1))
        for gpu in largest.gpus
    ]
    view = _machine_view(engines, largest.cpu_count or 1, memory, free, gpus, needed)
    if not there:
        return msgspec.structs.replace(view, busy=largest.reason)
    return view


def _machine_view(
    engines: Collection[str],
    cpu_count: int,
    memory: float,
    free: float,
    gpus: list[GpuView],
    needed: float,
) -> ServerView:
    # A replica may be split over several GPUs.
    available = round(sum(gpu.memory_gib or 0 for gpu in gpus), 1) if gpus else memory
    left = round(sum(gpu.free_gib or 0 for gpu in gpus), 1) if gpus else free
    fits = needed <= available
    accelerators = ["gpu", "cpu"] if gpus else ["cpu"]
    return ServerView(
        name=LOCAL,
        engines=sorted(engines),
        accelerator=accelerators[0],
        accelerators=accelerators,
        cpu_count=cpu_count,
        memory_gib=memory,
        gpus=gpus,
        fits=fits,
        reason=None if fits else _too_small(needed, available, _gpus_called(gpus)),
        free_gib=max(free, 0.0),
        busy=f"{max(left, 0):g} GiB are free now: a replica waits until {needed:g} GiB are."
        if fits and left < needed
        else None,
    )


def _gpus_called(gpus: list[GpuView]) -> str:
    if not gpus:
        return "it"
    return "its GPU" if len(gpus) == 1 else f"its {len(gpus)} GPUs"


def _too_small(needed: float, available: float, where: str) -> str:
    have = "have" if where.endswith("s") else "has"
    return (
        f"The model needs about {needed:g} GiB, and {where} {have} {available:g} GiB: "
        f"{round(needed - available, 1):g} GiB are missing."
    )


def _registered(state: ServerState, needed: float) -> ServerView:
    registration = state.registration
    if registration is None:
        raise ValueError(f"{state.name} is not registered")
    capacity = registration.capacity
    gpus = [
        GpuView(capacity.gpu_name or "GPU", capacity.gpu_memory_gib, None)
        for _ in range(capacity.gpu_count)
    ]
    known = (capacity.gpu_memory_gib or 0) * capacity.gpu_count or capacity.memory_gib
    fits = known is None or needed <= known
    accelerator = "gpu" if gpus else "cpu"
    return ServerView(
        name=state.name,
        engines=[registration.engine],
        accelerator=accelerator,
        accelerators=[accelerator],
        cpu_count=None,
        memory_gib=capacity.memory_gib,
        gpus=gpus,
        fits=fits,
        reason=None if known is None or fits else _too_small(needed, known, "it"),
        preset=True,
        busy=_busy(state, capacity.deployments),
    )


def _busy(state: ServerState, deployments: int) -> str | None:
    if state.state == "lost":
        return f"It does not answer: {state.reason}"
    if state.state == "draining":
        return "It is being drained and takes no replicas."
    served = len({replica.model_id for replica in state.replicas})
    if served >= deployments:
        return f"It serves {served} of {deployments} deployments."
    return None


def _pool(name: str, members: list[ServerState], needed: float) -> ServerView:
    views = [_registered(member, needed) for member in members]
    fitting = [view for view in views if view.fits]
    best = next((view for view in fitting if view.busy is None), (fitting or views)[0])
    engines = sorted({engine for view in views for engine in view.engines})
    return msgspec.structs.replace(best, name=name, engines=engines, servers=len(members))
