"""The supervisor with the real PostgreSQL and broker, and stand-ins for the roles."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from backend.infra.processes import ProcessRecord
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually

Launch = Callable[..., RunningPlatform]


@pytest.fixture
def platform() -> Iterator[Launch]:
    """Makes platforms of stand-in roles that are gone after the test."""
    made: list[RunningPlatform] = []

    def make(roles: str = "steady", **environment: str) -> RunningPlatform:
        platform = RunningPlatform(
            {"STAND_IN_ROLES": roles, **environment}, ("tests.platform.stand_in",)
        )
        made.append(platform)
        return platform

    yield make
    for each in made:
        each.remove()


def children_of(platform: RunningPlatform) -> dict[str, psutil.Process]:
    """The running children by name, as the supervisor recorded them."""
    found = {}
    for file in (platform.data_dir / "run" / "children").glob("*.json"):
        record = ProcessRecord.read(file)
        if record is not None and (process := record.process()) is not None:
            found[file.stem] = process
    return found


def family_of(platform: RunningPlatform) -> list[psutil.Process]:
    """Every process below the supervisor."""
    assert platform.process is not None
    return psutil.Process(platform.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(
        each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes
    )


def test_a_start_shows_who_is_ready_and_the_first_password(platform: Launch) -> None:
    running = platform(STAND_IN_PASSWORD="correct-horse")
    running.start()
    assert running.password == "correct-horse"
    assert running.url in running.output
    assert set(children_of(running)) == {"postgres", "broker", "steady"}
    assert "steady   | working  port=7" in running.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_in_order(platform: Launch, number: signal.Signals) -> None:
    running = platform("steady stubborn")
    running.start()
    family = family_of(running)
    assert len(family) > 4
    assert running.stop(number) == 0
    assert gone(family)
    assert "stubborn did not stop within 2 s: killed" in running.output
    assert not list((running.data_dir / "run" / "children").iterdir())
    assert not (running.data_dir / "postgres" / "postmaster.pid").exists()


def test_a_second_signal_ends_the_patience(platform: Launch) -> None:
    running = platform("stubborn")
    running.start()
    family = family_of(running)
    assert running.process is not None
    for _ in range(2):
        running.process.send_signal(signal.SIGINT)
        eventually(lambda: "stopping" in running.output, "the first signal is heard")
        time.sleep(0.8)
    assert running.wait() == 0
    assert "stubborn was killed at once" in running.output
    assert gone(family)


def test_a_stop_in_the_middle_of_a_start_leaves_nothing(platform: Launch) -> None:
    running = platform("silent")
    running.launch()
    eventually(lambda: "silent" in children_of(running), "the roles are being started")
    family = family_of(running)
    assert running.stop() == 0
    assert gone(family)
    assert "Traceback" not in running.output


@pytest.mark.parametrize("name", ["steady", "postgres", "broker"])
def test_a_crashed_child_is_started_again(platform: Launch, name: str) -> None:
    running = platform()
    running.start()
    before = children_of(running)[name]
    before.kill()
    eventually(lambda: f"{name} is ready again" in running.output, f"{name} is back")
    assert f"{name} was ended by SIGKILL; starting it again" in running.output
    assert children_of(running)[name].pid != before.pid


def test_a_role_that_cannot_start_ends_the_start_with_its_reason(platform: Launch) -> None:
    running = platform("steady broken")
    running.launch()
    assert running.wait(seconds=60) == 1
    assert "no such table: widgets" in running.output
    assert "broken ended with status 7 and never became ready" in running.output
    assert "Traceback" not in running.output
    assert children_of(running) == {}


def test_what_a_child_prints_cannot_move_the_cursor(platform: Launch) -> None:
    running = platform("rude")
    running.start()
    eventually(lambda: "beforeafter" in running.output, "the line is shown")
    assert "\x1b" not in running.output
    assert "\x07" not in running.output
    assert "beforeafter" in (running.data_dir / "logs" / "loggia.log").read_text()


def test_a_killed_supervisor_takes_its_children_along(platform: Launch) -> None:
    running = platform()
    running.start()
    family = family_of(running)
    running.kill()
    eventually(lambda: gone(family), "nothing of it runs")


def test_a_start_after_a_kill_stops_what_was_left(platform: Launch) -> None:
    """Also what hears no death signal: everything recorded, by pid, creation time and group."""
    running = platform("steady stubborn")
    running.start()
    password = (running.data_dir / "postgres.password").read_text()
    stubborn = children_of(running)["stubborn"]
    left = [stubborn, *stubborn.children()]
    assert len(left) == 2
    running.kill()
    assert not gone(left)
    running.start()
    assert gone(left)
    assert "stopped what an earlier run had left" in running.output
    assert (running.data_dir / "postgres.password").read_text() == password
    assert running.password is None


def test_a_start_after_a_kill_finds_committed_rows(platform: Launch) -> None:
    running = platform()
    running.start()
    with psycopg.connect(running.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    running.kill()
    running.start()
    with psycopg.connect(running.dsn) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_strangers_process_with_a_recorded_pid_is_left_alone(platform: Launch) -> None:
    running = platform()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        record = ProcessRecord(stranger.pid, time.time() - 3600, "some-run")
        record.write(running.data_dir / "run" / "children" / "relay.json")
        record.write(running.data_dir / "run" / "engines" / "one.json")
        running.start()
        running.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def engine_left_by(running: RunningPlatform) -> subprocess.Popen[bytes]:
    """A process in a group of its own, recorded as an engine, with a child that it does not end."""
    sleep = "import time; time.sleep(600)"
    with_child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleep!r}]);"
    engine = subprocess.Popen([sys.executable, "-c", with_child + sleep], start_new_session=True)
    eventually(lambda: psutil.Process(engine.pid).children(), "the engine has its child")
    # As the deploy worker writes it: with fields of its own.
    file = running.data_dir / "run" / "engines" / "replica.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    created = psutil.Process(engine.pid).create_time()
    file.write_text(json.dumps({"pid": engine.pid, "create_time": created, "port": 1}))
    return engine


def test_a_stop_ends_engines_that_their_worker_left(platform: Launch) -> None:
    running = platform()
    running.start()
    engine = engine_left_by(running)
    family = psutil.Process(engine.pid).children()
    assert running.stop() == 0
    assert engine.wait(timeout=10) != 0
    assert gone(family)


def test_a_start_leaves_engines_of_a_killed_run_for_adoption(platform: Launch) -> None:
    running = platform()
    running.start()
    engine = engine_left_by(running)
    running.kill()
    running.start()
    assert engine.poll() is None
    running.stop()
    assert engine.wait(timeout=10) != 0


def test_a_second_supervisor_on_the_same_data_is_refused(platform: Launch) -> None:
    running = platform()
    running.start()
    assert running.process is not None
    second = subprocess.run(
        [sys.executable, "-m", "tests.platform.stand_in"],
        cwd=running.data_dir,
        env=running.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"already running on {running.data_dir} (pid {running.process.pid})" in second.stdout
    assert set(children_of(running)) == {"postgres", "broker", "steady"}


@pytest.mark.parametrize(
    ("variable", "purpose"),
    [
        ("LOGGIA_PORT", "web interface and API"),
        ("LOGGIA_GATEWAY_PORT", "gateway"),
        ("LOGGIA_POSTGRES_PORT", "PostgreSQL"),
        ("LOGGIA_KAFKA_PORT", "Kafka broker"),
    ],
)
def test_a_busy_port_is_named_with_its_setting(
    platform: Launch, variable: str, purpose: str
) -> None:
    running = platform()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        running.environment[variable] = str(number)
        running.launch()
        assert running.wait(seconds=60) == 1
    assert f"port {number} ({purpose}) is in use by" in running.output
    assert f"pid {os.getpid()}" in running.output
    assert f"{variable}=" in running.output


def test_two_settings_with_one_port_are_refused(platform: Launch) -> None:
    running = platform()
    running.environment["LOGGIA_GATEWAY_PORT"] = running.environment["LOGGIA_PORT"]
    running.launch()
    assert running.wait(seconds=60) == 1
    assert "LOGGIA_PORT and LOGGIA_GATEWAY_PORT are both" in running.output


def test_a_data_folder_that_cannot_be_written_is_named(platform: Launch) -> None:
    running = platform(LOGGIA_DATA_DIR="/dev/null/data")
    running.launch()
    assert running.wait(seconds=60) == 1
    assert "nothing can be written to /dev/null/data" in running.output
    assert "Traceback" not in running.output


def test_a_named_server_is_used_instead_of_an_embedded_one(platform: Launch, postgres: str) -> None:
    running = platform(LOGGIA_POSTGRES_DSN=postgres)
    running.start()
    assert set(children_of(running)) == {"broker", "steady"}
    assert not (running.data_dir / "postgres").exists()


def test_the_log_goes_on_when_nobody_reads_it_any_more(platform: Launch) -> None:
    running = platform()
    running.start()
    assert running.process is not None
    assert running.process.stdout is not None
    # Closes the reading end of the pipe, as a pager or a terminal that goes away.
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), running.process.stdout.fileno())
    log = running.data_dir / "logs" / "loggia.log"
    for restarts in (1, 2):
        children_of(running)["steady"].kill()
        eventually(
            lambda: log.read_text().count("steady is ready again") == restarts,  # noqa: B023
            "steady is back",
        )
    assert running.stop() == 0
