"""Hears when an event has come to the topic, and when to the gallery."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod

import psycopg

from backend.infra.kafka import EVENTS
from backend.infra.records import RecordReader
from backend.infra.settings import Settings
from tests.rig.waiting import eventually


class Watch(ABC):
    """Notes, in a thread of its own, when something has come to a position."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._heard: list[tuple[int, float]] = [(0, 0.0)]
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def wait_for(self, position: int) -> None:
        """Waits until it has come there."""
        eventually(lambda: self._heard[-1][0] >= position, "it has come there", seconds=60)

    def seen_at(self, position: int) -> float:
        """When it came there, by `time.perf_counter`."""
        return next(at for reached, at in self._heard if reached >= position)

    def _note(self, position: int) -> None:
        self._heard.append((max(position, self._heard[-1][0]), time.perf_counter()))

    @abstractmethod
    def _listen(self) -> None: ...


class GalleryWatch(Watch):
    """Hears the commits of the gallery's projection."""

    def _listen(self) -> None:
        with psycopg.connect(self._settings.dsn, autocommit=True) as connection:
            connection.execute("LISTEN loggia_progress")
            while not self._stop.is_set():
                for notice in connection.notifies(timeout=0.5):
                    consumer, _, position = notice.payload.rpartition(":")
                    if consumer == "gallery":
                        self._note(int(position))


class TopicWatch(Watch):
    """Reads the topic as a consumer does, from its end on; partitions run ahead of each other."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._read: dict[int, float] = {}
        self._at_the_end = threading.Event()

    def __enter__(self) -> Watch:
        super().__enter__()
        self._at_the_end.wait(timeout=20)
        return self

    def seen_at(self, position: int) -> float:
        """When this event was read, by `time.perf_counter`."""
        eventually(lambda: position in self._read, "the event has been read", seconds=60)
        return self._read[position]

    def _listen(self) -> None:
        reader = RecordReader(self._settings, EVENTS, client_id="bench-watch")
        try:
            ends = {p: reader.bounds(p, seconds=10)[1] for p in reader.partitions()}
            reader.start(ends)
            self._at_the_end.set()
            while not self._stop.is_set():
                for record in reader.read(0.5):
                    position = int(dict(record.headers() or [])["loggia-position"])
                    self._note(position)
                    self._read[position] = time.perf_counter()
        finally:
            reader.close()
