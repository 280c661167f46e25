"""The role `work deploy`."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backend.embedded.readiness import announce_ready
from backend.infra.consumer import Consumer
from backend.infra.postgres import Pool, open_pool
from backend.infra.settings import Settings
from backend.infra.shutdown import stop_on_signals
from workers.serving.engines import engines
from workers.serving.targets import note_events
from workers.serving.worker import ServingWorker

CONSUMER = "serving"
_PREDECESSOR_SECONDS = 30
_POLL_SECONDS = 0.2


def run(settings: Settings) -> None:
    """Looks after deployments until SIGTERM or SIGINT.

    Raises `RuntimeError` where another deploy worker uses the data directory.
    """
    stop = stop_on_signals()
    with _only_one(settings, stop), open_pool(settings) as pool:
        follower = threading.Thread(target=_follow, args=(settings, pool, stop), name="consumer")
        follower.start()
        announce_ready()
        try:
            ServingWorker(settings, pool, engines(settings)).run(stop)
        finally:
            stop.set()
            follower.join()


def _follow(settings: Settings, pool: Pool, stop: threading.Event) -> None:
    """A process that hears of nothing would look alive and do nothing: end with the consumer."""
    try:
        Consumer(settings, pool, CONSUMER, note_events).run(stop)
    finally:
        stop.set()


@contextmanager
def _only_one(settings: Settings, stop: threading.Event) -> Iterator[None]:
    """One worker for each data directory: engines found there are its own.

    The lock ends with its process, however that ends, so that a successor waits only for one
    that is still stopping.
    """
    path = settings.data / "run" / "work-deploy.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        for _ in range(int(_PREDECESSOR_SECONDS / _POLL_SECONDS)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop.wait(_POLL_SECONDS):
                    raise SystemExit(0) from None
        else:
            raise RuntimeError(
                f"another deploy worker uses {settings.data}; stop it, or set LOGGIA_DATA_DIR"
            )
        yield
