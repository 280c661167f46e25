"""What engines say: the last lines, and a stream of them that can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from backend.api.authentication import identify
from backend.api.guards import may
from backend.api.identity import Identity
from backend.api.live import PING
from backend.api.routes.deploy_configurations import PATH
from backend.api.services import Services
from backend.infra.engine_logs import LogPart
from backend.readmodels import engine_logs
from backend.readmodels.engine_logs import EngineLog

_LOOK_SECONDS = 0.5
_PING_SECONDS = 10.0
_MAX_NUMBER = 18
Replica = Annotated[UUID | None, QueryParameter(name="replica")]


@get(PATH + "/logs", operation_id="readDeploymentLogs")
async def read_deployment_logs(
    model_id: FromPath[UUID], services: NamedDependency[Services], replica: Replica = None
) -> EngineLog:
    """The last lines of a replica's log; without a replica, of the newest one."""
    return await services.query(lambda: engine_logs.end_of(services.pool, model_id, replica))


@get(PATH + "/logs/stream", operation_id="streamDeploymentLogs", media_type="text/event-stream")
async def stream_deployment_logs(
    request: Request[Identity, Any, Any],
    model_id: FromPath[UUID],
    services: NamedDependency[Services],
    replica: Replica = None,
    after: Annotated[int | None, QueryParameter(name="after", ge=0, le=10**15)] = None,
) -> Stream:
    """Server-sent events `lines` with a JSON list of lines; the id is the number of the next one.

    Begins after the header Last-Event-ID, else at the line `after`, else with the last lines.
    """
    last = request.headers.get("last-event-id", "")
    if last.isascii() and last.isdigit() and len(last) <= _MAX_NUMBER:
        after = int(last)
    look = partial(engine_logs.end_of, services.pool, model_id, replica)
    end = await services.query(look)
    headers = dict(request.scope["headers"])

    async def welcome() -> bool:
        try:
            identity, _ = await identify(services, headers)
        except Exception:  # the database is away: decided with the next ping
            return True
        return identity is not None and may(identity.role, "streamDeploymentLogs")

    async def frames() -> AsyncIterator[bytes]:
        seen, due = end, _now() + _PING_SECONDS
        number = end.next_line if after is None else after
        if after is None and end.lines:
            yield _frame(end.lines, number)
        while not services.live.stopping:
            if seen.replica is None:
                # Nothing has been said yet: the first engine that speaks is followed.
                seen = await services.query(look)
                part = LogPart(seen.lines, seen.next_line)
            else:
                read = partial(engine_logs.part, services.pool, seen.replica, number)
                part = await services.query(read)
            if part.lines:
                number = part.next_line
                yield _frame(part.lines, number)
                continue
            if _now() >= due:
                if not await welcome():
                    return
                yield PING
                due = _now() + _PING_SECONDS
            await asyncio.sleep(_LOOK_SECONDS)

    return Stream(frames(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _frame(lines: list[str], number: int) -> bytes:
    return b"id: %d\nevent: lines\ndata: %s\n\n" % (number, msgspec.json.encode(lines))


def _now() -> float:
    return asyncio.get_running_loop().time()


HANDLERS = [read_deployment_logs, stream_deployment_logs]
