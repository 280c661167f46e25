"""Configurations and history from the command line, against the API with its views."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from backend.api.services import Services
from tests.api import worker
from tests.api.client import ApiClient
from tests.rig.api_server import ADMIN_PASSWORD, ApiServer
from tests.rig.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("views")


@pytest.fixture
def person(server: ApiServer, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path / "person", server.url, "admin", ADMIN_PASSWORD)


@pytest.fixture
def model_id(admin: ApiClient, services: Services) -> str:
    """A model named `tiny` that is ready to deploy."""
    found = admin.import_model("tiny")
    position = worker.make_ready(services, found)
    admin.get(f"/api/models/{found}", params={"atLeast": position})
    return found


def test_a_configuration_is_rehearsed_deployed_and_written_back(
    person: CommandLine, admin: ApiClient, model_id: str, tmp_path: Path
) -> None:
    file = tmp_path / "deployconfig.json"
    file.write_text(json.dumps(worker.configuration(temperature=0.25)))
    rehearsed = person.run("deploy", "tiny", "--config", str(file), "--dry-run")
    assert "DeploymentRequested" in rehearsed
    assert admin.get(f"/api/models/{model_id}/deployment").status_code == 404
    refused = person.attempt(
        "deploy", "tiny", "--config", str(file), "--set", "hardware.server=nowhere", "--dry-run"
    )
    assert refused.returncode == 1
    assert "There is no server 'nowhere'" in refused.stdout

    accepted = person.json("deploy", "tiny", "--config", str(file), "--accept-terms")
    url = f"/api/models/{model_id}/deployment"
    admin.get(url, params={"atLeast": accepted["position"]})
    written = tmp_path / "written.json"
    person.run("configuration", "show", "tiny", "-o", str(written))
    assert written.read_bytes() == admin.get(f"{url}/configuration").content
    assert json.loads(written.read_text()) == json.loads(file.read_text())
    assert person.run("configuration", "show", "tiny").encode() == written.read_bytes()


def test_an_unknown_field_is_named(person: CommandLine, model_id: str, tmp_path: Path) -> None:
    file = tmp_path / "deployconfig.json"
    file.write_text(json.dumps({**worker.configuration(), "colour": 1}))
    said = person.refusal("deploy", model_id, "--config", str(file), "--accept-terms")
    assert "colour" in said


def test_changes_are_kept_deployed_and_told_in_the_history(
    person: CommandLine, admin: ApiClient, services: Services, model_id: str, tmp_path: Path
) -> None:
    url = f"/api/models/{model_id}/deployment"
    admin.command("PUT", url, worker.deploy_body())
    _, position = worker.serve(services, model_id, 1)
    admin.get(url, params={"atLeast": position})
    kept = person.json("configuration", "save", "tiny", "--set", "parameters.max_tokens=9")
    assert kept["changes"] == [{"field": "parameters.maxTokens", "before": 256, "after": 9}]
    person.run("configuration", "discard", "tiny")
    assert "no pending changes" in person.refusal("configuration", "discard", "tiny")
    person.run("configuration", "save", "tiny", "--set", "parameters.max_tokens=9")
    asked = person.json("redeploy", "tiny", "--accept-terms", "--reason", "shorter")
    _, position = worker.serve(services, model_id, asked["revision"])
    admin.get(url, params={"atLeast": position})

    entries = person.json("history", "tiny")
    assert [entry["revision"] for entry in entries] == [2, 1]
    assert entries[0]["configuration"]["parameters"]["maxTokens"] == 9
    compared = person.json("history", "tiny", "--compare", "1", "2")
    assert compared["changes"] == [{"field": "parameters.maxTokens", "before": 256, "after": 9}]
    table = tmp_path / "history.csv"
    person.run("history", "tiny", "--export", "csv", "-o", str(table))
    with table.open(newline="") as file:
        assert [row["revision"] for row in csv.DictReader(file)] == ["2", "1"]
    back = person.json("rollback", "tiny", "1", "--reason", "longer again")
    assert back["revision"] == 3
