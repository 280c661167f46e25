"""Engines as processes: found again, stopped completely, and nobody else's touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import psutil
import pytest

from tests.rig.waiting import eventually
from workers.serving.engine import Command
from workers.serving.launchers.local import LocalProcesses

# A leader with a child that overwrites nothing and ignores its leader's death.
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})
print("child", child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


class Bench:
    """A launcher, and the replicas started with it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.launcher = LocalProcesses(data)
        self.started: list[UUID] = []

    def start(self, source: str, replica_id: UUID | None = None) -> UUID:
        replica_id = replica_id or uuid4()
        self.started.append(replica_id)
        self.launcher.run(
            Command([sys.executable, "-c", source]),
            replica_id=replica_id,
            deployment_id=uuid4(),
            model_id=uuid4(),
            revision=1,
            port=20_001,
        )
        return replica_id

    def pid(self, replica_id: UUID) -> int:
        return next(r.pid for r in self.launcher.records() if r.replica_id == replica_id)

    def says(self, replica_id: UUID, word: str) -> str:
        def line() -> str:
            return next((line for line in self.launcher.log(replica_id).tail() if word in line), "")

        return eventually(line, f"the process says {word}")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    for replica_id in bench.started:
        bench.launcher.stop(replica_id, seconds=1)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_stop_ends_children_too(bench: Bench) -> None:
    replica_id = bench.start(FAMILY)
    child = int(bench.says(replica_id, "child").split()[1])
    bench.launcher.stop(replica_id)
    assert not is_alive(child)
    assert not bench.launcher.find(replica_id, search=True).known


def test_stop_ends_what_a_killed_leader_left_behind(bench: Bench) -> None:
    replica_id = bench.start(FAMILY)
    child = int(bench.says(replica_id, "child").split()[1])
    os.kill(bench.pid(replica_id), signal.SIGKILL)
    eventually(lambda: not bench.launcher.find(replica_id).running, "the leader has gone")
    assert bench.launcher.find(replica_id).exit_code == -signal.SIGKILL
    bench.launcher.stop(replica_id)
    assert not is_alive(child)


def test_one_that_ignores_the_request_is_killed(bench: Bench) -> None:
    replica_id = bench.start(STUBBORN)
    bench.says(replica_id, "deaf")
    pid = bench.pid(replica_id)
    bench.launcher.stop(replica_id, seconds=0.2)
    assert not is_alive(pid)


def test_another_launcher_finds_it_again(bench: Bench) -> None:
    replica_id = bench.start(FAMILY)
    successor = LocalProcesses(bench.data)
    assert successor.find(replica_id).running
    successor.stop(replica_id)
    assert not bench.launcher.find(replica_id).running


def test_it_is_found_again_though_the_clock_was_put_right(bench: Bench) -> None:
    replica_id = bench.start(FAMILY)
    (file,) = (bench.data / "run" / "engines").glob("*.json")
    record = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode({**record, "create_time": record["create_time"] - 60}))
    assert LocalProcesses(bench.data).find(replica_id).running


def test_one_without_a_record_is_adopted_and_not_started_twice(bench: Bench) -> None:
    replica_id = bench.start(FAMILY)
    pid = bench.pid(replica_id)
    for record in (bench.data / "run" / "engines").glob("*.json"):
        record.unlink()
    successor = Bench(bench.data)
    assert not successor.launcher.find(replica_id).known
    assert successor.launcher.find(replica_id, search=True).running
    successor.start(FAMILY, replica_id)
    assert successor.pid(replica_id) == pid


def test_a_stranger_under_a_recorded_pid_is_never_touched(bench: Bench) -> None:
    replica_id = uuid4()
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    try:
        folder = bench.data / "run" / "engines"
        folder.mkdir(parents=True)
        record = {
            "pid": stranger.pid,
            "create_time": psutil.Process(stranger.pid).create_time() - 3600,
            "replica_id": replica_id,
            "deployment_id": uuid4(),
            "model_id": uuid4(),
            "revision": 1,
            "port": 20_001,
        }
        (folder / f"{replica_id}.json").write_bytes(msgspec.json.encode(record))
        assert not bench.launcher.find(replica_id, search=True).running
        bench.launcher.stop(replica_id, seconds=0.2)
        assert stranger.poll() is None
        assert list(folder.iterdir()) == []
    finally:
        stranger.kill()
        stranger.wait()


def test_an_engine_inherits_no_secret(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGGIA_POSTGRES_DSN", "postgresql://secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    replica_id = bench.start("import os; print('names', *sorted(os.environ))")
    names = bench.says(replica_id, "names").split()
    assert "CUDA_VISIBLE_DEVICES" in names
    assert {"LOGGIA_POSTGRES_DSN", "AWS_SECRET_ACCESS_KEY"}.isdisjoint(names)


def test_ports_are_free_and_not_promised_to_another(bench: Bench) -> None:
    bench.start(FAMILY)
    ports = {bench.launcher.free_port({20_002}) for _ in range(50)}
    assert ports.isdisjoint({20_001, 20_002})


def test_a_log_stays_small_and_says_each_line_once(bench: Bench) -> None:
    source = "import time\nfor n in range(400_000): print('line', n, '.' * 40, flush=False)\n"
    replica_id = bench.start(source + "print('end', flush=True)\ntime.sleep(600)")
    log = bench.launcher.log(replica_id)
    bench.says(replica_id, "end")
    assert log.new_lines()[-1] == "end"
    log.bound()
    path = bench.data / "engines" / str(replica_id) / "log"
    assert path.stat().st_size == 0
    assert log.new_lines() == []
    with path.open("ab") as file:
        file.write(b"\x1b[31mcoloured\x1b[0m\nunfinished")
    assert log.new_lines() == ["coloured"]
