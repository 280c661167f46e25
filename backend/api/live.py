"""Live updates: one reader of the event store, one of the telemetry topic, many streams.

Each client has a bounded queue. A client that does not keep up is disconnected: it comes back
with the last position it saw, and the store has what it missed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition

from backend.api.lanes import Lane
from backend.api.metrics import Metrics
from backend.application.feed import EventFeed, StoredEvent
from backend.contracts.codec import PublicEvent
from backend.infra.kafka import TELEMETRY, consumer
from backend.infra.logging import get_logger
from backend.infra.settings import Settings
from backend.readmodels.wire_names import camel_keys

PING = b": ping\n\n"
_HELLO = b"retry: 2000\n\n"
_QUEUE_SIZE = 1000
_TELEMETRY_QUEUE_SIZE = _QUEUE_SIZE // 2
_PAGE = 500
_RETRY_SECONDS = 2.0
_GATHER_SECONDS = 0.02
_CHECK_SECONDS = 5.0
# Nobody sees that a reading is this late, and asking ten times as often costs an idle machine.
_READING_LATE_MS = 200
_log = get_logger(__name__)


@dataclass(frozen=True)
class _Frame:
    """What goes over the wire; position 0 is telemetry."""

    position: int
    about_people: bool
    text: bytes


@dataclass(eq=False)
class Client:
    """One open stream."""

    sees_people: bool
    queue: asyncio.Queue[_Frame | None] = field(
        default_factory=lambda: asyncio.Queue(_QUEUE_SIZE + 1)
    )


class LiveHub:
    """Hands every event and every reading to every client, from the event loop it started in."""

    def __init__(self, settings: Settings, feed: EventFeed, metrics: Metrics) -> None:
        self._settings = settings
        self._feed = feed
        self._metrics = metrics
        self._clients: set[Client] = set()
        self._stop = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._position = 0
        self._catching_up = Lane("catch-up", threads=4, waiting=1000, seconds=30)

    def start(self) -> None:
        """Begins to follow; call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        for name, target in (("live", self._follow_events), ("readings", self._follow_telemetry)):
            threading.Thread(target=target, name=name, daemon=True).start()

    @property
    def stopping(self) -> bool:
        """Whether `stop` has been called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ends every stream and both threads. Safe to call twice."""
        self._stop.set()
        for client in list(self._clients):
            self._drop(client)

    def stop_soon(self) -> None:
        """`stop`, from a signal handler or another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.stop)

    async def stream(
        self,
        *,
        after: int | None,
        sees_people: bool,
        ping_seconds: float,
        welcome: Callable[[], Awaitable[bool]],
    ) -> AsyncIterator[bytes]:
        """Frames for one client: what it missed, then what happens, and pings in between.

        Without `after` it begins now. With each ping, `welcome` is asked whether the person may
        still listen.
        """
        if self._stop.is_set():
            return
        client = Client(sees_people)
        self._clients.add(client)
        self._metrics.live_clients.inc()
        try:
            yield _HELLO
            sent = self._position
            if after is not None:
                newest = await self._catching_up.run(self._feed.last_position)
                sent = min(after, newest)  # a position from before a restore may never come
                async for frame in self._missed(sent):
                    if self._stop.is_set():
                        return
                    sent = frame.position
                    if _visible(frame, client):
                        yield frame.text
            due = _now() + ping_seconds
            while True:
                if _now() >= due:
                    if not await welcome():
                        return
                    yield PING
                    due = _now() + ping_seconds
                try:
                    async with asyncio.timeout_at(due):
                        next_frame = await client.queue.get()
                except TimeoutError:
                    continue
                if next_frame is None:
                    return
                if next_frame.position == 0:
                    yield next_frame.text
                elif next_frame.position > sent:
                    sent = next_frame.position
                    if _visible(next_frame, client):
                        yield next_frame.text
        finally:
            self._clients.discard(client)
            self._metrics.live_clients.dec()

    async def _missed(self, after: int) -> AsyncIterator[_Frame]:
        full = True
        while full:
            batch = await self._catching_up.run(partial(self._feed.read, after, _PAGE))
            for event in batch:
                yield _frame(event)
            after = batch[-1].position if batch else after
            full = len(batch) == _PAGE

    def _publish(self, frames: list[_Frame], position: int) -> None:
        self._position = max(self._position, position)
        for frame in frames:
            self._position = max(self._position, frame.position)
            for client in list(self._clients):
                room = _TELEMETRY_QUEUE_SIZE if frame.position == 0 else _QUEUE_SIZE
                if client.queue.qsize() < room:
                    client.queue.put_nowait(frame)
                elif frame.position:
                    self._metrics.live_disconnected.inc()
                    self._drop(client)

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.discard(client)
            client.queue.put_nowait(None)  # there is room for one more than frames may take

    def _hand_over(self, frames: list[_Frame], position: int = 0) -> None:
        if self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._publish, frames, position)
        except RuntimeError:  # the loop has ended
            self._stop.set()

    def _follow_events(self) -> None:
        after: int | None = None
        while not self._stop.is_set():
            try:
                if after is None:
                    after = self._feed.last_position()
                    self._hand_over([], after)
                for batch in self._feed.follow(after, self._stop):
                    if batch:
                        after = batch[-1].public.position
                        self._hand_over([_frame(stored) for stored in batch])
                        # What follows comes together, so that busy times cost no more reads.
                        self._stop.wait(_GATHER_SECONDS)
            except Exception as error:
                _log.warning("live updates interrupted, trying again", error=repr(error))
                self._stop.wait(_RETRY_SECONDS)

    def _follow_telemetry(self) -> None:
        while not self._stop.is_set():
            try:
                source = consumer(
                    self._settings,
                    client_id="loggia-api-live",
                    fetch_max_wait_ms=_READING_LATE_MS,
                )
                try:
                    self._hear(source)
                finally:
                    source.close()
            except Exception as error:  # telemetry is a courtesy: nothing of it may stop the API
                _log.info("no telemetry while the broker is away", error=repr(error))
            self._stop.wait(_RETRY_SECONDS)

    def _hear(self, source: KafkaConsumer) -> None:
        """Hands readings over until the topic is not what it was; begins with new ones.

        All its partitions are read: a broker that makes the topic itself, because somebody wrote
        to it, gives it as many as it likes.
        """
        partitions = _partitions(source)
        if not partitions:
            return
        source.assign(partitions)
        source.seek_to_end(*partitions)
        check_at = time.monotonic() + _CHECK_SECONDS
        while not self._stop.is_set():
            records = source.poll(timeout_ms=500).values()
            frames = [frame for r in chain(*records) if (frame := _reading(r.value)) is not None]
            if frames:
                self._hand_over(frames)
            if time.monotonic() > check_at:
                # A broker that was started again may have an empty topic, another, or none.
                if _partitions(source) != partitions:
                    return
                ends = source.end_offsets(partitions)
                if any(ends[each] < source.position(each) for each in partitions):
                    return
                check_at = time.monotonic() + _CHECK_SECONDS


def _partitions(source: KafkaConsumer) -> list[TopicPartition]:
    numbers = source.partitions_for_topic(TELEMETRY) or ()
    return [TopicPartition(TELEMETRY, number) for number in sorted(numbers)]


def live_event(event: PublicEvent) -> dict[str, Any]:
    """An event as the stream sends it."""
    return {
        "position": event.position,
        "type": event.type,
        "time": event.time,
        "actor": event.actor,
        "modelId": event.model_id,
        "data": camel_keys(event.data),
    }


def _frame(event: PublicEvent | StoredEvent) -> _Frame:
    public = event.public if isinstance(event, StoredEvent) else event
    data = msgspec.json.encode(live_event(public))
    text = b"id: %d\nevent: event\ndata: %s\n\n" % (public.position, data)
    return _Frame(public.position, public.model_id is None, text)


def _reading(value: bytes | None) -> _Frame | None:
    # One line of JSON, or it would break the stream's framing.
    if value is None or b"\n" in value or b"\r" in value or len(value) > 64 * 1024:
        return None
    return _Frame(0, False, b"event: telemetry\ndata: %s\n\n" % value)


def _visible(frame: _Frame, client: Client) -> bool:
    return client.sees_people or not frame.about_people


def _now() -> float:
    return asyncio.get_running_loop().time()
