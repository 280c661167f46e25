"""What servers have for one replica: the hardware that the deploy wizard offers."""

from __future__ import annotations

import msgspec
import psutil

from backend.domain.server import LOCAL
from backend.infra.postgres import Pool
from backend.readmodels.servers import ServerState, everything

GIB = 1024**3


class GpuView(msgspec.Struct, rename="camel", frozen=True):
    """A GPU of a server; `freeGib` is what no replica was promised."""

    name: str
    memory_gib: float
    free_gib: float


class ServerView(msgspec.Struct, rename="camel", frozen=True):
    """A server or a pool that a deploy configuration can name.

    `engine` is the one that runs there already, null where any is started. `fits` says whether
    the model ever can, and `reason` why not and how much is missing; `busy` says why a replica
    would have to wait now. `servers` is how many a pool has.
    """

    name: str
    accelerator: str
    cpu_count: int
    memory_gib: float
    gpus: list[GpuView]
    fits: bool
    reason: str | None
    engine: str | None = None
    free_gib: float | None = None
    busy: str | None = None
    servers: int = 1


def offered(pool: Pool, needed_gib: float) -> list[ServerView]:
    """This platform's own machine first, then registered servers, then pools of several."""
    states = everything(pool).items
    machines = [state for state in states if state.registration is None]
    registered = [state for state in states if state.registration is not None]
    views = [_local(machines, needed_gib)]
    views += [_registered(state, needed_gib) for state in registered]
    pools: dict[str, list[ServerState]] = {}
    for state in registered:
        if state.registration is not None and state.registration.pool != state.name:
            pools.setdefault(state.registration.pool, []).append(state)
    return views + [_pool(name, members, needed_gib) for name, members in sorted(pools.items())]


def _local(machines: list[ServerState], needed: float) -> ServerView:
    """The largest machine of a deploy worker; before one has reported, this process's own."""
    there = [machine for machine in machines if machine.state == "ready"]
    largest = max(there or machines, key=lambda machine: machine.memory_gib or 0, default=None)
    if largest is None:
        memory = round(psutil.virtual_memory().total / GIB, 1)
        return _machine_view(psutil.cpu_count() or 1, memory, memory, [], needed)
    memory = largest.memory_gib or 0.0
    free = round(memory - (largest.memory_promised_gib or 0.0), 1)
    gpus = [
        GpuView(gpu.name, gpu.memory_gib, round(gpu.memory_gib - gpu.promised_gib, 1))
        for gpu in largest.gpus
    ]
    view = _machine_view(largest.cpu_count or 1, memory, free, gpus, needed)
    if not there:
        return msgspec.structs.replace(view, busy=largest.reason)
    return view


def _machine_view(
    cpu_count: int, memory: float, free: float, gpus: list[GpuView], needed: float
) -> ServerView:
    available = max((gpu.memory_gib for gpu in gpus), default=memory)
    left = max((gpu.free_gib for gpu in gpus), default=free)
    where = "its largest GPU" if gpus else "it"
    fits = needed <= available
    return ServerView(
        name=LOCAL,
        accelerator="gpu" if gpus else "cpu",
        cpu_count=cpu_count,
        memory_gib=memory,
        gpus=gpus,
        fits=fits,
        reason=None
        if fits
        else f"The model needs about {needed:g} GiB, and {where} has {available:g} GiB: "
        f"{round(needed - available, 1):g} GiB are missing.",
        free_gib=max(free, 0.0),
        busy=f"{max(left, 0):g} GiB are free now: a replica waits until {needed:g} GiB are."
        if fits and left < needed
        else None,
    )


def _registered(state: ServerState, needed: float) -> ServerView:
    registration = state.registration
    if registration is None:
        raise ValueError(f"{state.name} is not registered")
    capacity = registration.capacity
    gpus = [
        GpuView(capacity.gpu_name or "GPU", capacity.gpu_memory_gib or 0.0, 0.0)
        for _ in range(capacity.gpu_count)
    ]
    known = (capacity.gpu_memory_gib or 0) * capacity.gpu_count or capacity.memory_gib
    fits = known is None or needed <= known
    reason = None
    if known is not None and not fits:
        missing = round(needed - known, 1)
        reason = (
            f"The model needs about {needed:g} GiB, and it has {known:g} GiB: "
            f"{missing:g} GiB are missing."
        )
    return ServerView(
        name=state.name,
        accelerator="gpu" if gpus else "cpu",
        cpu_count=0,
        memory_gib=capacity.memory_gib or known or 0.0,
        gpus=gpus,
        fits=fits,
        reason=reason,
        engine=registration.engine,
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
    return msgspec.structs.replace(best, name=name, servers=len(members))
