"""Goals G3 to G7: store, relay, topic, projection, each beside its yardstick in the same run.

    python -m tests.bench.bench_backbone [--rounds 3] [--events 60000] [--json FILE]

Yardstick and subject take turns in every round; the goals are ratios of the medians. Figures of
latency are milliseconds from calling the command to the gallery's commit, as a listener hears it;
the stages are those of the same commands until stored, until read from the topic, until there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from backend.application.commands import CommandContext, CommandRunner
from backend.application.feed import EventFeed
from backend.application.models import Models
from backend.application.store import EventStore
from backend.contracts.codec import encode
from backend.infra.logging import configure_logging
from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from backend.infra.uploads import Uploads
from backend.relay.relay import Relay
from projections import operations
from projections.service import prepare
from tests.application.conftest import Importer
from tests.bench import backbone_yardsticks as yardsticks
from tests.bench.backbone_yardsticks import seconds_of
from tests.bench.path_watches import GalleryWatch, TopicWatch, Watch
from tests.builders.histories import History, write
from tests.rig.roles import RoleProcess
from tests.rig.servers import BrokerServer, PostgresServer

Figures = dict[str, float]

RATE = 50
REPLAYED = 10_000
GOALS = {
    # Name, yardstick, subject, target, stretch; latency is better below, rates above.
    "G3": ("floor p99", "visible p99", 3.0, 2.0),
    "G4": ("floor p99", "visible during replay p99", 10.0, 5.0),
    "G5": ("read and upsert", "rebuild from store", 0.5, 0.7),
    "G6": ("consume", "rebuild from topic", 0.25, 0.4),
    "G7": ("produce", "relay", 0.5, 0.8),
}
# Records of our size and headers, by the same client as the yardstick's.
LIKE_FOR_LIKE = {
    "G6": ("consume with our headers", "rebuild from topic"),
    "G7": ("produce with our headers", "relay"),
}


@contextmanager
def parts() -> Iterator[tuple[Settings, BrokerServer]]:
    """A PostgreSQL and a broker of our own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = PostgresServer()
        stack.callback(server.remove)
        server.start()
        broker = BrokerServer(folder / "broker.log")
        stack.callback(broker.kill)
        broker.start()
        settings = Settings(
            _env_file=None,
            data_dir=folder / "data",
            postgres_dsn=server.database(),
            kafka_bootstrap_servers=broker.bootstrap_servers,
        )
        yield settings, broker


def throughput(rounds: int, events: int) -> list[Figures]:
    """Events a second through relay and rebuilds, beside the raw rates."""
    found = []
    with parts() as (settings, broker), ExitStack() as stack:
        store = EventStore(settings)
        stack.callback(store.close)
        feed = EventFeed(store, settings.dsn)
        prepare(settings, threading.Event())
        last = write(store, History(seed=1, models=events // 12).domain(events))
        sample = next(e for e in feed.read(0, 1000) if e.type == "ModelFilesStored")
        for _ in range(rounds):
            figures: Figures = {}
            name = yardsticks.topic(settings)
            figures["produce"] = yardsticks.raw_produce(settings, name, events)
            value, headers = encode(sample)
            name = yardsticks.topic(settings)
            figures["produce with our headers"] = yardsticks.raw_produce(
                settings, name, events, value, headers
            )
            figures["consume with our headers"] = yardsticks.raw_consume(settings, name, events)
            broker.restart()
            figures["relay"] = _drain(settings, feed, last)
            name = yardsticks.topic(settings)
            yardsticks.raw_produce(settings, name, events)
            figures["consume"] = yardsticks.raw_consume(settings, name, events)
            figures["rebuild from topic"] = _rebuild(settings, last, None)
            reading = yardsticks.select_and_decode(store, last)
            writing = yardsticks.upsert(settings, events)
            figures["read and upsert"] = 1 / (1 / reading + 1 / writing)
            figures["rebuild from store"] = _rebuild(settings, last, feed)
            print("  ".join(f"{k} {v:,.0f}/s" for k, v in figures.items()), flush=True)
            found.append(figures)
    return found


def _drain(settings: Settings, feed: EventFeed, last: int) -> float:
    with psycopg.connect(settings.dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE loggia.relay_progress")
        stop, ready = threading.Event(), threading.Event()
        relay = Relay(settings, feed, on_ready=ready.set)
        thread = threading.Thread(target=relay.run, args=(stop,), daemon=True)
        thread.start()
        ready.wait(timeout=30)

        def wait() -> None:
            while True:
                row = connection.execute(
                    "SELECT max(position) FROM loggia.relay_progress"
                ).fetchone()
                if row is not None and row[0] == last:
                    return
                time.sleep(0.02)

        seconds = seconds_of(wait)
        stop.set()
        thread.join(timeout=20)
    return last / seconds


def _rebuild(settings: Settings, last: int, feed: EventFeed | None) -> float:
    def rebuild() -> None:
        source = feed.read if feed else None
        operations.rebuild(settings, "gallery", lambda _, __: None, source)

    return last / seconds_of(rebuild)


def latency(rounds: int, commands: int) -> list[Figures]:
    """Milliseconds from a command to the gallery, beside the bare pipeline."""
    found = []
    with parts() as (settings, _), ExitStack() as stack:
        store = EventStore(settings)
        stack.callback(store.close)
        pool = stack.enter_context(open_pool(settings))
        models = Models(CommandRunner(store, settings.secret_key))
        importer = Importer(models, Uploads(pool))
        write(store, History(seed=2, models=REPLAYED // 12).domain(REPLAYED))
        roles = []
        for role in ("relay", "project"):
            roles.append(RoleProcess(settings, role).start())
            stack.callback(roles[-1].kill)
        for each in roles:
            each.wait_until_ready()
        model_ids = [importer.import_model(f"latency{n}") for n in range(20)]
        gallery = stack.enter_context(GalleryWatch(settings))
        for _ in range(rounds):
            figures: Figures = {}
            with _paused(roles):
                floor = yardsticks.pipeline(settings, RATE, commands)
            figures |= _percentiles("floor", floor)
            gallery.wait_for(store.recorder.max_notification_id() or 0)
            edits = _edit(models, model_ids, commands)
            figures |= _percentiles("visible", edits.until(gallery))
            with _replaying(settings):
                edits = _edit(models, model_ids, commands)
                figures |= _percentiles("visible during replay", edits.until(gallery))
            with TopicWatch(settings) as topic:
                edits = _edit(models, model_ids, commands)
                figures |= _percentiles("stage stored", edits.stored)
                figures |= _percentiles("stage on Kafka", edits.until(topic))
                figures |= _percentiles("stage in the gallery", edits.until(gallery))
            print("  ".join(f"{k} {v:.1f} ms" for k, v in figures.items()), flush=True)
            found.append(figures)
    return found


@dataclass
class _Edits:
    """When each command was called, by the position of its event, and how long it took."""

    started: dict[int, float] = field(default_factory=dict)
    stored: list[float] = field(default_factory=list)

    def until(self, watch: Watch) -> list[float]:
        """Seconds from each command to what is watched."""
        watch.wait_for(max(self.started))
        return [watch.seen_at(position) - at for position, at in self.started.items()]


def _edit(models: Models, model_ids: list[Any], commands: int) -> _Edits:
    edits = _Edits()
    due = time.perf_counter()
    for number in range(commands):
        due += 1 / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        at = time.perf_counter()
        accepted = models.edit_configuration(
            CommandContext(actor="user:bench"),
            model_ids[number % len(model_ids)],
            description=f"edit {number} {at}",
        )
        edits.stored.append(time.perf_counter() - at)
        edits.started[accepted.position] = at
    return edits


@contextmanager
def _paused(roles: list[RoleProcess]) -> Iterator[None]:
    """The yardstick has the machine to itself: the roles are started again after it."""
    for role in roles:
        role.kill()
    yield
    for role in roles:
        role.start()
    for role in roles:
        role.wait_until_ready()


@contextmanager
def _replaying(settings: Settings) -> Iterator[None]:
    """Rebuilds the marketplace from the topic, again and again, in another process."""
    code = (
        "import sys\n"
        "from backend.infra.settings import Settings\n"
        "from projections import operations\n"
        "dsn, brokers = sys.argv[1:]\n"
        "s = Settings(_env_file=None, postgres_dsn=dsn, kafka_bootstrap_servers=brokers)\n"
        "while True: operations.rebuild(s, 'marketplace', lambda a, b: None)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, settings.dsn, ",".join(settings.bootstrap_servers)]
    )
    try:
        yield
        assert process.poll() is None, "the replay on the side has ended with an error"
    finally:
        process.kill()
        process.wait()


def _percentiles(name: str, seconds: list[float]) -> Figures:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"{name} p50": cuts[49] * 1e3, f"{name} p99": cuts[98] * 1e3}


def goals(rounds: list[Figures]) -> dict[str, Any]:
    """Each goal as the ratio of the medians."""
    found = {}
    for goal, (yardstick, subject, target, stretch) in GOALS.items():
        if not any(subject in figures for figures in rounds):
            continue
        base = statistics.median(figures[yardstick] for figures in rounds if yardstick in figures)
        value = statistics.median(figures[subject] for figures in rounds if subject in figures)
        ratio = value / base
        found[goal] = {
            "yardstick": base,
            "subject": value,
            "ratio": ratio,
            "target": target,
            "stretch": stretch,
            "like_for_like": _like_for_like(goal, rounds),
            "met": ratio <= target if "p99" in subject else ratio >= target,
        }
    return found


def _like_for_like(goal: str, rounds: list[Figures]) -> float | None:
    if goal not in LIKE_FOR_LIKE:
        return None
    yardstick, subject = LIKE_FOR_LIKE[goal]
    return statistics.median(figures[subject] for figures in rounds if subject in figures) / (
        statistics.median(figures[yardstick] for figures in rounds if yardstick in figures)
    )


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--commands", type=int, default=500)
    parser.add_argument("--only", choices=["throughput", "latency"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    configure_logging("bench")
    before = os.getloadavg()
    rounds: list[Figures] = []
    if arguments.only != "latency":
        rounds += throughput(arguments.rounds, arguments.events)
    if arguments.only != "throughput":
        rounds += latency(arguments.rounds, arguments.commands)
    reached = goals(rounds)
    result = {
        "rounds": rounds,
        "goals": reached,
        "load_average": {"before": before, "after": os.getloadavg()},
        "cpus": os.cpu_count(),
    }
    for goal, row in reached.items():
        print(
            f"{goal}: {row['ratio']:.2f} of the yardstick "
            f"(target {row['target']}, stretch {row['stretch']})"
            + (f"; {row['like_for_like']:.2f} like for like" if row["like_for_like"] else "")
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
