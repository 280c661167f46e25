"""Engines that their deploy worker left behind, told apart from everybody else's processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from backend.embedded.run_directory import RunDirectory
from backend.infra.processes import REPLICA_VARIABLE, ProcessRecord
from tests.rig.waiting import eventually

# As vLLM: the leader serves HTTP, its child computes, and neither keeps a readable environment.
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})
print(child.pid, flush=True)
time.sleep(600)
"""


@dataclass
class Engine:
    leader: subprocess.Popen[str]
    core: psutil.Process
    record: ProcessRecord

    def kill_leader(self) -> None:
        self.leader.kill()
        self.leader.wait(timeout=10)


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def engine() -> Iterator[Engine]:
    leader = subprocess.Popen(
        [sys.executable, "-c", FAMILY],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert leader.stdout is not None
    core = psutil.Process(int(leader.stdout.readline()))
    engine = Engine(leader, core, ProcessRecord.of(leader.pid))
    yield engine
    with suppress(psutil.Error):
        core.kill()
    engine.kill_leader()


@pytest.fixture
def run_directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def remember(run_directory: RunDirectory, record: ProcessRecord, name: str = "") -> Path:
    file = run_directory.path / "engines" / f"{name or uuid4()}.json"
    record.write(file)
    return file


def test_an_engine_whose_leader_was_killed_is_stopped(
    run_directory: RunDirectory, engine: Engine
) -> None:
    file = remember(run_directory, engine.record)
    engine.kill_leader()
    assert is_alive(engine.core)
    assert run_directory.stop_engines() == 1
    eventually(lambda: not is_alive(engine.core), "the computing process is gone")
    assert not file.exists()


def test_a_leader_that_nobody_has_waited_for_does_not_hide_the_others(
    run_directory: RunDirectory, engine: Engine
) -> None:
    remember(run_directory, engine.record)
    engine.leader.kill()
    eventually(
        lambda: psutil.Process(engine.leader.pid).status() == psutil.STATUS_ZOMBIE,
        "the leader is dead but not waited for",
    )
    assert run_directory.stop_engines() == 1
    eventually(lambda: not is_alive(engine.core), "the computing process is gone")


def test_an_engine_is_stopped_with_all_its_processes(
    run_directory: RunDirectory, engine: Engine
) -> None:
    remember(run_directory, engine.record)
    assert run_directory.stop_engines() == 1
    eventually(lambda: not is_alive(engine.core), "the computing process is gone")
    assert not psutil.pid_exists(engine.leader.pid)


def test_a_process_that_carries_the_replicas_id_belongs_to_it(run_directory: RunDirectory) -> None:
    replica = str(uuid4())
    member = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={REPLICA_VARIABLE: replica},
        start_new_session=True,
    )
    try:
        eventually(
            lambda: psutil.Process(member.pid).environ().get(REPLICA_VARIABLE) == replica,
            "the process runs under its own environment",
        )
        remember(run_directory, ProcessRecord(member.pid, 1.0), replica)
        assert run_directory.stop_engines() == 1
        assert not psutil.pid_exists(member.pid)
    finally:
        member.kill()


@pytest.mark.parametrize("leader_lives", [True, False])
@pytest.mark.parametrize("start", ["", "another-boot:12345"])
def test_a_session_of_a_stranger_is_left_alone(
    run_directory: RunDirectory, engine: Engine, leader_lives: bool, start: str
) -> None:
    before_the_start_of_the_machine = psutil.boot_time() - 3600
    record = replace(engine.record, create_time=before_the_start_of_the_machine, start=start)
    remember(run_directory, record)
    if not leader_lives:
        engine.kill_leader()
    assert run_directory.stop_engines() == 0
    assert is_alive(engine.core)


@pytest.mark.parametrize("leader_lives", [True, False])
@pytest.mark.parametrize("seconds", [-3600, 3600, -1e9])
def test_an_engine_is_known_though_the_clock_was_put_right(
    run_directory: RunDirectory, engine: Engine, leader_lives: bool, seconds: float
) -> None:
    moved = replace(engine.record, create_time=engine.record.create_time + seconds)
    remember(run_directory, moved)
    if leader_lives:
        assert moved.process() is not None
    else:
        engine.kill_leader()
    assert run_directory.stop_engines() == 1
    eventually(lambda: not is_alive(engine.core), "the computing process is gone")


def test_a_pid_that_was_handed_out_again_is_a_strangers(engine: Engine) -> None:
    boot, _, ticks = engine.record.start.partition(":")
    assert replace(engine.record, start=f"{boot}:{int(ticks) + 1}").process() is None


def test_a_record_of_an_older_release_is_still_read(engine: Engine, tmp_path: Path) -> None:
    older = {"pid": engine.record.pid, "create_time": engine.record.create_time}
    (tmp_path / "one.json").write_text(json.dumps(older))
    record = ProcessRecord.read(tmp_path / "one.json")
    assert record is not None
    assert record.process() is not None
