"""The command line itself: errors a person understands, bounded waits, private files."""

import json
import socket
import stat
from pathlib import Path

import pytest
import typer

from backend.cli import credentials
from backend.cli.credentials import Credentials
from backend.cli.deployments import apply_changes
from backend.cli.streaming import Message, parse
from backend.infra.settings import Settings
from tests.rig.command_line import loggia
from tests.rig.ports import free_port, free_ports

CONFIGURATION = {
    "schemaVersion": 1,
    "parameters": {"temperature": 1.0, "stop": []},
    "scaling": {"minReplicas": 1},
    "engineArguments": {},
}


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing runs and nobody has signed in."""
    api, gateway, postgres, kafka = free_ports(4)
    return {
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "LOGGIA_DATA_DIR": str(tmp_path / "data"),
        "LOGGIA_PORT": str(api),
        "LOGGIA_GATEWAY_PORT": str(gateway),
        "LOGGIA_POSTGRES_PORT": str(postgres),
        "LOGGIA_KAFKA_PORT": str(kafka),
    }


@pytest.mark.parametrize(
    "role", ["api", "gateway", "relay", "project", "work import", "work deploy", "migrate"]
)
def test_a_role_gives_up_on_a_database_that_stays_away(role: str, nowhere: dict[str, str]) -> None:
    dsn = f"postgresql://somebody@127.0.0.1:{free_port()}/loggia?connect_timeout=1"
    ended = loggia(
        *role.split(), "--wait", "0.2", environment={**nowhere, "LOGGIA_POSTGRES_DSN": dsn}
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "PostgreSQL" in ended.stderr
    assert "LOGGIA_POSTGRES_DSN" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("role", ["relay", "project", "work import", "work deploy"])
def test_a_role_gives_up_on_a_broker_that_stays_away(
    role: str, nowhere: dict[str, str], postgres: str
) -> None:
    server = f"127.0.0.1:{free_port()}"
    environment = {"LOGGIA_POSTGRES_DSN": postgres, "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": server}
    ended = loggia(*role.split(), "--wait", "0.2", environment={**nowhere, **environment})
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert f"no Kafka broker can be reached ({server}" in ended.stderr


def test_migrating_twice_changes_nothing_the_second_time(
    nowhere: dict[str, str], postgres: str
) -> None:
    environment = {**nowhere, "LOGGIA_POSTGRES_DSN": postgres}
    ended = loggia("migrate", environment=environment)
    assert (ended.returncode, ended.stdout) == (0, "the schema is up to date\n")


def test_a_wrong_setting_is_named(nowhere: dict[str, str]) -> None:
    ended = loggia("migrate", environment={**nowhere, "LOGGIA_PORT": "eighty"})
    assert ended.returncode == 1
    assert "LOGGIA_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_client_without_a_login_says_what_to_do(nowhere: dict[str, str]) -> None:
    ended = loggia("models", "list", environment=nowhere)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "loggia login" in ended.stderr


def test_a_platform_that_does_not_answer_is_an_error(nowhere: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = loggia(
        "models", "list", environment={**nowhere, "LOGGIA_URL": url, "LOGGIA_TOKEN": "lgp_x"}
    )
    assert ended.returncode == 1
    assert f"{url} does not answer" in ended.stderr


def test_down_where_nothing_runs_is_no_error(nowhere: dict[str, str]) -> None:
    ended = loggia("down", environment=nowhere)
    assert (ended.returncode, ended.stdout) == (0, "nothing runs on this data folder\n")


def test_doctor_finds_this_machine_fit(nowhere: dict[str, str]) -> None:
    ended = loggia("doctor", "--json", environment=nowhere)
    findings = {finding["check"]: finding for finding in json.loads(ended.stdout)}
    assert ended.returncode == 0, ended.stdout
    assert {"python", "node", "memory", "data_dir", "postgres", "broker", "engine", "gpu"} <= set(
        findings
    )
    assert all(finding["detail"] for finding in findings.values())


def test_doctor_tells_a_busy_port_and_an_unreachable_server(nowhere: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        environment = {
            "LOGGIA_PORT": str(busy),
            "LOGGIA_POSTGRES_DSN": f"postgresql://x@127.0.0.1:{free_port()}/x?connect_timeout=1",
            "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        }
        ended = loggia("doctor", "--json", environment={**nowhere, **environment})
    assert ended.returncode == 1
    failed = {each["check"]: each for each in json.loads(ended.stdout) if each["outcome"] == "fail"}
    assert set(failed) == {"port.loggia_port", "postgres", "broker"}
    assert all(finding["remedy"] for finding in failed.values())


def test_the_stored_login_is_private_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("LOGGIA_URL", raising=False)
    monkeypatch.delenv("LOGGIA_TOKEN", raising=False)
    assert credentials.stored() is None
    file = credentials.store(Credentials("http://one", "lgp_one"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert credentials.stored() == Credentials("http://one", "lgp_one")
    monkeypatch.setenv("LOGGIA_TOKEN", "lgp_two")
    assert credentials.stored() == Credentials("http://one", "lgp_two")
    monkeypatch.setenv("LOGGIA_URL", "http://two/")
    assert credentials.stored() == Credentials("http://two", "lgp_two")


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("parameters.temperature=0.2", ("parameters", "temperature"), 0.2),
        ("scaling.min_replicas=2", ("scaling", "minReplicas"), 2),
        ('parameters.stop=["END"]', ("parameters", "stop"), ["END"]),
        ("engine_arguments.max_model_len=256", ("engineArguments", "max_model_len"), "256"),
        ("engineArguments.dtype=bfloat16", ("engineArguments", "dtype"), "bfloat16"),
    ],
)
def test_a_change_reaches_its_place(change: str, path: tuple[str, str], value: object) -> None:
    changed = apply_changes(CONFIGURATION, [change])
    assert changed[path[0]][path[1]] == value
    assert CONFIGURATION["engineArguments"] == {}


@pytest.mark.parametrize(
    "change", ["parameters.temprature=1", "temperature", "schemaVersion.x=1", "nothing.at.all=1"]
)
def test_a_change_without_a_place_is_refused(
    change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        apply_changes(CONFIGURATION, [change])
    assert change.partition("=")[0] in capsys.readouterr().err


def test_stream_messages_are_read_as_the_standard_says() -> None:
    lines = [
        ": ping",
        "",
        "event: event",
        "id: 7",
        'data: {"position": 7,',
        'data: "type": "ModelPublished"}',
        "",
        "event:telemetry",
        'data:{"done": 1}',
        "",
        "data: {",
    ]
    assert list(parse(lines)) == [
        Message("event", {"position": 7, "type": "ModelPublished"}),
        Message("telemetry", {"done": 1}),
    ]


def test_settings_of_a_test_point_at_its_own_parts(settings: Settings, postgres: str) -> None:
    assert settings.dsn == postgres
    assert settings.kafka_bootstrap_servers is not None
