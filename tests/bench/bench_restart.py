"""Goal G17: how soon a killed process serves again, beside the join of a plain consumer group.

    python -m tests.bench.bench_restart [--rounds 3] [--json FILE]

The whole platform runs under its supervisor. Each process is killed (`kill -9`) once a round, and
the clock runs from there until somebody gets from it what it is there for: an answer, an event on
the topic, a change in the gallery, an imported model. The supervisor's pause before a restart is
part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
from kafka import KafkaConsumer, TopicPartition

from backend.infra.kafka import EVENTS
from tests.journeys.archives import tiny_llama_archive
from tests.rig.client import Administrator
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually

Figures = dict[str, float]

TARGET_SECONDS, STRETCH_SECONDS = 3.0, 1.5
TARGET_JOINS = 2.0
JOIN = "group join, session 1 s"
UNDISTURBED_IMPORT = "import, undisturbed"
LONGEST_SECONDS = 60
EVERY_SECONDS = 0.01
# The parts that everybody needs come last, because their death disturbs the others.
ROLES = ("api", "gateway", "relay", "project", "work import", "work deploy", "broker", "postgres")


class Line:
    """The running platform, and what each process is there for."""

    def __init__(self, platform: RunningPlatform) -> None:
        self.platform = platform
        self._admin = Administrator.of(platform)
        self._model = self._import("first")
        self._changes = 0

    def seconds_until_serving(self, role: str) -> float:
        """From `kill -9` of the role's process to its next result."""
        pid = eventually(lambda: self.platform.pid_of(role), f"{role} runs")
        assert pid is not None
        result = self._result_of(role, pid)
        started = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: _has_ended(pid), f"{role} is dead", every=0.001)
        result()
        return time.perf_counter() - started

    def seconds_of_import(self) -> float:
        """What one import takes while nothing fails."""
        started = time.perf_counter()
        self._import("undisturbed")
        return time.perf_counter() - started

    def _result_of(self, role: str, killed: int) -> Callable[[], object]:
        results: dict[str, Callable[[], object]] = {
            "api": lambda: self._wait_for_http(self.platform.url),
            "gateway": lambda: self._wait_for_http(self.platform.gateway_url),
            "relay": self._event_on_topic,
            "project": self._change_in_gallery,
            "work import": lambda: self._import("after-the-kill"),
            "work deploy": lambda: self._wait_for_announcement(role, killed),
            "broker": self._change_in_gallery,
            "postgres": self._change,
        }
        return results[role]

    def _wait_for_http(self, url: str) -> None:
        def answers() -> bool:
            try:
                return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
            except httpx.TransportError:
                return False

        self._wait(answers, f"{url} answers")

    def _wait_for_announcement(self, role: str, killed: int) -> None:
        ready = self.platform.data_dir / "run" / "ready" / role.replace(" ", "-")

        def announced() -> bool:
            # The file names the process; the killed one's stays for an instant.
            return ready.exists() and ready.read_text().strip() not in {"", str(killed)}

        self._wait(announced, f"{role} announces itself")

    def _event_on_topic(self) -> None:
        with _at_the_end(self.platform.bootstrap_servers) as consumer:
            position = self._change()
            self._wait(
                lambda: any(
                    int(dict(record.headers)["loggia-position"]) >= position
                    for records in consumer.poll(timeout_ms=10).values()
                    for record in records
                ),
                "the event is on the topic",
            )

    def _change_in_gallery(self) -> None:
        position = self._change()
        self._wait(
            lambda: (
                self._admin.http.get(
                    f"/api/models/{self._model}", params={"atLeast": position}
                ).status_code
                == 200
            ),
            "the gallery shows the change",
        )

    def _change(self) -> int:
        """A command that is sent until it is accepted; its position."""
        self._changes += 1
        headers = self._admin.headers()
        body = {"description": f"change {self._changes}"}
        accepted: list[int] = []

        def sent() -> bool:
            try:
                answer = self._admin.http.patch(
                    f"/api/models/{self._model}", json=body, headers=headers
                )
            except httpx.TransportError:
                return False
            if answer.status_code == 200:
                accepted.append(answer.json()["position"])
            return bool(accepted)

        self._wait(sent, "the command is accepted")
        return accepted[0]

    def _import(self, name: str) -> str:
        model_id = self._admin.import_archive(f"{name}.zip", tiny_llama_archive())
        self._wait(
            lambda: self._admin.model(model_id)["state"] == "ready_to_deploy", f"{name} is imported"
        )
        return model_id

    @staticmethod
    def _wait(probe: Callable[[], bool], what: str) -> None:
        eventually(probe, what, seconds=LONGEST_SECONDS, every=EVERY_SECONDS)


def _has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def _at_the_end(bootstrap_servers: str) -> Iterator[KafkaConsumer]:
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, fetch_max_wait_ms=10
    )
    partitions = [TopicPartition(EVENTS, n) for n in consumer.partitions_for_topic(EVENTS) or ()]
    consumer.assign(partitions)
    consumer.seek_to_end(*partitions)
    for partition in partitions:
        consumer.position(partition)
    yield consumer
    consumer.close()


def seconds_of_join(bootstrap_servers: str) -> float:
    """What a member of a consumer group waits for its partitions, with nothing to take over."""
    started = time.perf_counter()
    consumer = KafkaConsumer(
        EVENTS,
        bootstrap_servers=bootstrap_servers,
        group_id=f"yardstick-{uuid4().hex[:8]}",
        session_timeout_ms=1000,
        heartbeat_interval_ms=100,
    )
    while not consumer.assignment():
        consumer.poll(timeout_ms=10)
    seconds = time.perf_counter() - started
    consumer.close()
    return seconds


def one_round() -> Figures:
    """Seconds for each process of a fresh platform: each dies once, so that no pause has grown."""
    platform = RunningPlatform()
    try:
        platform.start()
        line = Line(platform)
        figures = {
            JOIN: seconds_of_join(platform.bootstrap_servers),
            UNDISTURBED_IMPORT: line.seconds_of_import(),
        }
        for role in ROLES:
            figures[role] = line.seconds_until_serving(role)
    finally:
        platform.remove()
    print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in figures.items()), flush=True)
    return figures


def goals(rounds: list[Figures]) -> dict[str, dict[str, float]]:
    """Restarts in seconds; the consumer that resumes beside the join of a group."""

    def median(name: str) -> float:
        return statistics.median(figures[name] for figures in rounds)

    found = {
        f"G17 {role}, s": {
            "subject": median(role),
            "target": TARGET_SECONDS,
            "stretch": STRETCH_SECONDS,
        }
        for role in ROLES
    }
    found["G17 projection resumes"] = {
        "subject": median("project"),
        "yardstick": median(JOIN),
        "ratio": median("project") / median(JOIN),
        "target": TARGET_JOINS,
    }
    return found


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    before = os.getloadavg()
    rounds = [one_round() for _ in range(arguments.rounds)]
    result: dict[str, Any] = {
        "rounds": rounds,
        "goals": goals(rounds),
        "load_average": {"before": before, "after": os.getloadavg()},
        "cpus": os.cpu_count(),
    }
    for name, goal in result["goals"].items():
        beside = f" = {goal['ratio']:.2f} group joins" if "ratio" in goal else " s"
        print(f"{name:<26} {goal['subject']:.2f}{beside} (target {goal['target']})")
    print("load average", result["load_average"])
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
