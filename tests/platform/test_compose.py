"""compose.yaml and the image: every role is there, and everything they name exists."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.infra.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ROLES = ["api", "gateway", "relay", "project", "work-import", "work-deploy"]


def test_every_role_has_a_container() -> None:
    assert set(OURS) == {*ROLES, "setup"}


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_exists(name: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "backend.cli", *OURS[name]["command"], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize("name", OURS)
def test_a_services_settings_are_known_and_complete(name: str) -> None:
    given = {key for key in OURS[name]["environment"] if key.startswith("LOGGIA_")}
    fields = {key.removeprefix("LOGGIA_").lower() for key in given}
    assert fields <= set(Settings.model_fields)
    # Nothing in a container may fall back to an embedded part.
    assert {"postgres_dsn", "kafka_bootstrap_servers", "object_store_url"} <= fields


def test_what_services_name_exists() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", ())) <= set(SERVICES), name
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in COMPOSE["volumes"], name
        shared = service.get("network_mode", "").removeprefix("service:")
        assert not shared or shared in SERVICES, name
        assert shared == "" or "ports" not in service, name


def test_engines_of_their_own_start_only_when_asked_for() -> None:
    for name in ("vllm", "triton"):
        assert SERVICES[name]["profiles"] == [name]


def test_the_image_copies_only_what_exists() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
    assert 'ENTRYPOINT ["loggia"]' in dockerfile
