"""The platform's live stream (server-sent events), resumed by position when it breaks off."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from backend.cli.client import Api, refuse

#: The server pings every 10 s, so that longer silence is a dead connection.
_STREAM_TIMEOUT = httpx.Timeout(30, connect=10)
_PAUSE_SECONDS = 1.0
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the stream. `kind` is "event" (with a position) or "telemetry" (without)."""

    kind: str
    data: dict[str, Any]

    @property
    def position(self) -> int | None:
        return self.data.get("position") if self.kind == "event" else None


def follow(api: Api, *, after: int | None) -> Iterator[Message]:
    """Every message from a position on, for ever; from now on if `after` is None.

    A broken connection is opened again where it broke. Ends the command when the platform stays
    away.
    """
    failures = 0
    while True:
        try:
            for message in _once(api, after):
                failures = 0
                if message.position is not None:
                    after = message.position
                yield message
        except httpx.TransportError as error:
            failures += 1
            if failures >= _ATTEMPTS:
                api.unreachable(error)
        time.sleep(_PAUSE_SECONDS)


def parse(lines: Iterable[str]) -> Iterator[Message]:
    """Messages out of the lines of a stream. Comments and messages without data are left out."""
    kind, data = "message", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Message(kind, json.loads("\n".join(data)))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def _once(api: Api, after: int | None) -> Iterator[Message]:
    query = {} if after is None else {"after": after}
    with api.http.stream(
        "GET",
        "/api/events/stream",
        params=query,
        headers={"Accept": "text/event-stream"},
        timeout=_STREAM_TIMEOUT,
    ) as response:
        if response.is_error:
            response.read()
            refuse(response)
        yield from parse(response.iter_lines())
