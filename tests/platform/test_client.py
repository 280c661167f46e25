"""The command line against the running platform, as an administrator uses it."""

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from backend.cli.client import Api
from backend.cli.credentials import Credentials
from backend.cli.uploading import Uploads
from tests.journeys.archives import tiny_llama_archive
from tests.rig.command_line import CommandLine, clean_environment, loggia
from tests.rig.platform import REPOSITORY, RunningPlatform
from tests.rig.waiting import eventually

MIB = 1024**2
# What a model's history tells of the whole journey, each by its first time.
STORY = [
    "ModelImportRequested",
    "ModelArchiveReceived",
    "ModelFilesStored",
    "ModelValidated",
    "TermsAccepted",
    "DeploymentRequested",
    "RevisionPrepared",
    "ReplicaStarted",
    "ReplicaReady",
    "RevisionDeployed",
    "ApiKeyCreated",
    "ModelPublished",
    "ModelWithdrawn",
    "DeploymentStopRequested",
    "DeploymentStopped",
]


@pytest.fixture(scope="module")
def person(platform_up: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    assert platform_up.password is not None
    return CommandLine(
        tmp_path_factory.mktemp("configuration"),
        platform_up.url,
        platform_up.administrator,
        platform_up.password,
    )


@pytest.fixture(scope="module")
def model(person: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an imported model."""
    file = tmp_path_factory.mktemp("archives") / "tiny-llama.zip"
    file.write_bytes(tiny_llama_archive())
    shown = person.json("import", str(file), "--watch")
    assert shown["state"] == "ready_to_deploy"
    return str(shown["name"])


def test_signing_in_keeps_a_token_that_only_its_owner_reads(
    person: CommandLine, platform_up: RunningPlatform
) -> None:
    assert "signed in to" in person.said_at_login
    assert "as admin (admin)" in person.said_at_login
    file = Path(person.environment["XDG_CONFIG_HOME"]) / "loggia" / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert platform_up.password is not None
    assert platform_up.password not in file.read_text()


def test_a_wrong_password_and_a_wrong_token_are_refused(
    person: CommandLine, platform_up: RunningPlatform
) -> None:
    url = platform_up.url
    wrong = person.attempt("login", url, "--username", "admin", typed="no-such-password\n")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("Error: ")
    assert person.attempt("login", url, typed="lgp_no-such-token\n").returncode == 1
    assert person.json("models", "list") is not None, "the login before still counts"


def test_an_imported_model_is_listed_and_shown(person: CommandLine, model: str) -> None:
    assert [item["name"] for item in person.json("models", "list", "--search", model)] == [model]
    assert model in person.run("models", "list")
    shown = person.run("models", "show", model)
    assert "LlamaForCausalLM" in shown
    assert "ready_to_deploy" in shown
    model_id = person.json("models", "show", model)["id"]
    assert person.json("models", "show", model_id)["name"] == model


def test_a_name_that_is_taken_is_refused_before_the_upload(
    person: CommandLine, model: str, tmp_path: Path
) -> None:
    file = tmp_path / f"{model}.zip"
    file.write_bytes(tiny_llama_archive(seed=1))
    assert model in person.refusal("import", str(file), "--watch")
    memory = Path(person.environment["XDG_CONFIG_HOME"]) / "loggia" / "uploads.json"
    assert json.loads(memory.read_text()) == {}


def test_a_failed_import_tells_why_and_what_to_do(person: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "no-archive.zip"
    file.write_bytes(b"this is no archive" * 100)
    said = person.refusal("import", str(file), "--watch")
    assert "The file is not a zip archive, whatever its name says." in said
    assert "Pack the model's folder as a zip archive and upload that." in said
    assert person.json("models", "show", "no-archive")["state"] == "import_failed"


def test_an_interrupted_upload_goes_on_where_it_stopped(
    person: CommandLine,
    platform_up: RunningPlatform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", person.environment["XDG_CONFIG_HOME"])
    stored = Path(person.environment["XDG_CONFIG_HOME"]) / "loggia" / "credentials.json"
    token = Credentials(**json.loads(stored.read_text())).token
    file = tmp_path / "interrupted.zip"
    file.write_bytes(tiny_llama_archive(padding_bytes=20 * MIB))
    with Api(platform_up.url, token) as api:
        uploads = Uploads(api)
        begun = uploads.begin(file)

        def interrupt(done: int, total: int) -> None:
            if done > 0:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            uploads.send(file, begun, interrupt)
        assert Uploads(api).begin(file) == begun
        sent: list[int] = []
        Uploads(api).send(file, begun, lambda done, _: sent.append(done))
        assert sent[0] > 0
        assert sent[-1] == file.stat().st_size
        uploads.abandon(file, begun)


def test_publishing_and_withdrawing(person: CommandLine, model: str) -> None:
    assert person.run("publish", model) == f"{model} is published\n"
    assert person.run("withdraw", model) == f"{model} is withdrawn\n"
    assert "no-such-model" in person.refusal("publish", "no-such-model")


def test_a_keys_secret_is_shown_once_and_a_key_can_be_revoked(
    person: CommandLine, model: str
) -> None:
    secret = person.run("keys", "create", model, "--name", "from a test").strip()
    assert secret.startswith("lgk_")
    listed = eventually(lambda: person.json("keys", "list", model), "the key is listed")
    assert secret not in json.dumps(listed)
    key_id = next(key["id"] for key in listed if key["name"] == "from a test")
    assert person.run("keys", "revoke", model, key_id) == "revoked\n"


def test_a_deployment_needs_the_terms(person: CommandLine, model: str) -> None:
    said = person.refusal("deploy", model)
    assert "--accept-terms" in said
    assert len(said) > 200, "the terms themselves are shown"


def test_a_wrong_value_is_refused_with_its_field(person: CommandLine, model: str) -> None:
    said = person.refusal("deploy", model, "--accept-terms", "--set", "parameters.temperature=-1")
    assert "temperature" in said


def test_replaying_prints_the_history_in_order(person: CommandLine, model: str) -> None:
    lines = person.run("events", "replay", "--json").splitlines()
    positions = [json.loads(line)["position"] for line in lines]
    assert positions == sorted(positions)
    assert len(positions) > 4
    of_model = person.run("events", "replay", "--model", model)
    assert "ModelImportRequested" in of_model.splitlines()[0]
    middle = positions[len(positions) // 2]
    rest = person.run("events", "replay", "--json", "--after", str(middle)).splitlines()
    assert json.loads(rest[0])["position"] > middle
    until = person.run("events", "replay", "--json", "--until", str(middle)).splitlines()
    assert json.loads(until[-1])["position"] <= middle


def test_tailing_shows_what_happens_until_it_is_interrupted(
    person: CommandLine, model: str
) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-m", "backend.cli", "events", "tail", "--after", "0", "--json"],
        env=clean_environment(**person.environment),
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert tail.stdout is not None
        seen = json.loads(tail.stdout.readline())
        assert seen["position"] == 1
        person.run("publish", model)
        kinds: list[str] = []
        while "ModelPublished" not in kinds[-1:]:
            kinds.append(json.loads(tail.stdout.readline())["type"])
        tail.send_signal(signal.SIGINT)
        assert tail.wait(timeout=20) == 0
    finally:
        tail.kill()
        tail.wait()


def test_read_models_are_listed_and_rebuilt(
    person: CommandLine, platform_up: RunningPlatform, model: str
) -> None:
    server = {key: value for key, value in platform_up.environment.items() if "LOGGIA" in key}

    def names(command: str) -> set[str]:
        ended = loggia("projections", command, "--json", environment=server)
        assert ended.returncode == 0, ended.stderr
        return {row["name"] for row in json.loads(ended.stdout)}

    assert names("list") == names("status") >= {"gallery"}
    rebuilt = loggia("projections", "rebuild", "gallery", environment=server)
    assert (rebuilt.returncode, rebuilt.stdout) == (0, "gallery was rebuilt\n"), rebuilt.stderr
    assert person.json("models", "show", model)["name"] == model
    unknown = loggia("projections", "rebuild", "galery", environment=server)
    assert unknown.returncode == 1
    assert "there is: " in unknown.stderr


@pytest.mark.engine
@pytest.mark.journey
@pytest.mark.timeout(1200)
def test_the_whole_journey_by_commands_alone(
    person: CommandLine, platform_up: RunningPlatform, tmp_path: Path
) -> None:
    model = "journey"
    file = tmp_path / f"{model}.zip"
    file.write_bytes(tiny_llama_archive())
    assert person.json("import", str(file), "--watch")["state"] == "ready_to_deploy"
    sized = ["--set", "engine_arguments.max_model_len=256", "--set", "parameters.max_tokens=8"]
    deployed = person.json("deploy", model, "--accept-terms", *sized, "--watch", seconds=900)
    assert deployed["state"] == "deployed"
    secret = person.run("keys", "create", model).strip()
    client = openai.OpenAI(base_url=f"{platform_up.gateway_url}/v1", api_key=secret)

    def answer() -> openai.types.CompletionUsage | None:
        question = [{"role": "user", "content": "hello"}]
        return client.chat.completions.create(model=model, messages=question).usage  # type: ignore[arg-type]

    usage = answer()
    assert usage is not None
    assert 1 <= usage.completion_tokens <= 8
    changed = ["--set", "parameters.max_tokens=3", "--reason", "shorter"]
    again = person.json("redeploy", model, "--accept-terms", *changed, "--watch", seconds=900)
    assert again["servingRevision"] == 2
    usage = answer()
    assert usage is not None
    assert usage.completion_tokens <= 3
    person.run("publish", model)
    person.run("withdraw", model)
    assert "has stopped" in person.run("stop", model, "--watch", seconds=120)
    replayed = person.run("events", "replay", "--model", model, "--json").splitlines()
    told = list(dict.fromkeys(json.loads(line)["type"] for line in replayed))
    assert [kind for kind in told if kind in STORY] == STORY
