"""No page has a serious accessibility fault or scrolls sideways, wide or narrow, light or dark."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from playwright.sync_api import Locator, expect

from tests.builders.models import tiny_llama
from tests.journeys.archives import tiny_llama_archive, zipped
from tests.rig.browser import Desk, browser_context
from tests.rig.client import JSON, Administrator
from tests.rig.hub import Hub
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually
from tests.rig.web import Web

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

READY = "ready_to_deploy"


@dataclass(frozen=True)
class Places:
    """A platform, and what models come from."""

    platform: RunningPlatform
    admin: Administrator
    hub: Hub
    web: Web

    def list_of(self, names: list[str], *, broken: frozenset[str] = frozenset()) -> str:
        """The address of a list of models; those named `broken` are not where it says."""
        rows = [
            {
                "name": name,
                "address": f"{self.web.url}/{'missing' if name in broken else 'tiny'}.zip",
            }
            for name in names
        ]
        return self.web.add("/models.json", json.dumps({"models": rows}).encode())

    def import_model(self, name: str) -> str:
        model_id = self.admin.import_archive(f"{name}.zip", tiny_llama_archive())
        self.admin.wait_for_model(model_id, READY)
        return model_id


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    with Hub() as hub, Web() as web:
        hub.add("team/tiny", tiny_llama())
        web.add("/tiny.zip", tiny_llama_archive(seed=7))
        platform = RunningPlatform(
            {
                "LOGGIA_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
                "LOGGIA_HUGGINGFACE_ENDPOINT": hub.endpoint,
            }
        )
        try:
            platform.start()
            yield Places(platform, Administrator.of(platform), hub, web)
        finally:
            platform.remove()


class Inspection:
    """What was looked at, and what was found."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.page = desk, desk.page
        self.found: dict[str, list[str]] = {}

    def look(self, what: str) -> None:
        """At what is on the screen now."""
        if faults := self.desk.faults_of_every_look():
            self.found[what] = faults

    def look_at(self, path: str, shows: str | re.Pattern[str]) -> None:
        """At a page, once it shows the words."""
        self.desk.open(path)
        self.expect(shows)
        self.look(path)

    def expect(self, words: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_text(words).filter(visible=True).first).to_be_visible()

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def press(self, name: str) -> None:
        self.dialog.get_by_role("button", name=name, exact=True).click()


@pytest.fixture
def seen(places: Places) -> Iterator[Inspection]:
    with browser_context() as context:
        desk = Desk(context.new_page(), places.platform.url)
        assert places.platform.password
        desk.sign_in(places.platform.administrator, places.platform.password)
        inspection = Inspection(desk)
        yield inspection
        assert inspection.found == {}
        assert desk.faults == []


def test_the_sign_in_page(places: Places) -> None:
    with browser_context() as context:
        desk = Desk(context.new_page(), places.platform.url)
        desk.open("/signin")
        expect(desk.button("Sign in")).to_be_visible()
        assert desk.faults_of_every_look() == []


def test_the_pages_of_the_gallery(seen: Inspection, places: Places) -> None:
    places.import_model("in-the-gallery")
    seen.look_at("/", "in-the-gallery")
    seen.look_at("/marketplace", re.compile("marketplace", re.I))
    seen.look_at("/events", "in-the-gallery")
    seen.desk.open("/")
    seen.page.get_by_role("button", name=re.compile("^Notifications")).click()
    seen.look("notifications")


def test_the_tabs_of_a_model(seen: Inspection, places: Places) -> None:
    model_id = places.import_model("with-tabs")
    body = {"source": "url", "address": f"{places.web.url}/tiny.zip", "modelId": model_id}
    places.admin.command("POST", "/api/imports", body)

    def compared() -> bool:
        versions = places.admin.get(f"/api/models/{model_id}/versions")["items"]
        return [version["state"] for version in versions] == [READY, READY]

    eventually(compared, "there are two versions", seconds=60)
    for tab in ("overview", "configuration", "endpoint", "deployments", "events"):
        seen.look_at(f"/models/{model_id}?tab={tab}", "with-tabs")
    seen.look_at(f"/models/{model_id}?tab=versions", "0.0.2")
    seen.look_at(f"/models/{model_id}?tab=api-keys", "with-tabs")


def test_the_playground_of_a_model_that_does_not_answer(seen: Inspection, places: Places) -> None:
    model_id = places.import_model("silent")
    seen.look_at(f"/models/{model_id}/playground", "silent does not answer now")


def test_every_step_of_the_deploy_wizard(seen: Inspection, places: Places) -> None:
    model_id = places.import_model("to-deploy")
    seen.desk.open(f"/models/{model_id}/deploy")
    for step in ("General", "Optimization", "Parameters", "Hardware", "Review"):
        expect(seen.page.get_by_role("heading", name=re.compile(step)).first).to_be_visible()
        seen.look(step)
        if step != "Review":
            seen.desk.button("Next").click()


def test_a_failed_import_and_one_that_policy_blocks(seen: Inspection, places: Places) -> None:
    files = tiny_llama()
    mapped = {**json.loads(files["config.json"]), "auto_map": {"AutoModel": "modeling_x.X"}}
    blocked = {**files, "config.json": json.dumps(mapped).encode()}
    model_id = places.admin.import_archive("blocked.zip", zipped(blocked))
    places.admin.wait_for_model(model_id, "import_failed")
    seen.look_at(f"/models/{model_id}", "Why is it allowed for this import?")


def test_a_batch_with_failures(seen: Inspection, places: Places) -> None:
    address = places.list_of(["listed-1", "listed-2"], broken=frozenset({"listed-2"}))
    answer = places.admin.http.post(
        "/api/imports/preview", json={"address": address}, headers=places.admin.headers()
    )
    manifest: JSON = answer.json()
    begun = places.admin.command(
        "POST",
        "/api/imports/batch",
        {
            "address": address,
            "manifestSha256": manifest["manifestSha256"],
            "names": ["listed-1", "listed-2"],
        },
    )
    seen.desk.open(f"/imports/{begun['id']}")
    expect(seen.page.get_by_text("Partly done: 1 ready, 1 failed.")).to_be_visible(timeout=60_000)
    seen.look("batch")


@pytest.mark.parametrize("source", ["base", "adapter", "huggingface", "list", "path", "image"])
def test_the_sources_of_the_import_dialog(seen: Inspection, places: Places, source: str) -> None:
    seen.desk.open(f"/?import={source}")
    expect(seen.dialog.get_by_role("button", name="Cancel").first).to_be_visible()
    if source == "huggingface":
        seen.dialog.get_by_label("Repository").fill("team/tiny")
        seen.press("Look")
        expect(seen.dialog.get_by_label(re.compile("^Safetensors"))).to_be_visible()
    if source == "list":
        address = places.list_of([f"seen-{number}" for number in range(30)])
        seen.dialog.get_by_label("Address").fill(address)
        seen.press("Look")
        expect(seen.dialog).to_contain_text("30 models")
    seen.look(source)


def test_the_form_that_describes_a_model_and_what_a_check_says(
    seen: Inspection, tmp_path: Path
) -> None:
    seen.desk.open("/?import=create")
    expect(seen.dialog.get_by_label("Model name")).to_be_visible()
    seen.look("create")
    archive = tmp_path / "checked.zip"
    archive.write_bytes(tiny_llama_archive())
    seen.desk.open("/")
    seen.desk.choose_archive(archive)
    seen.look("chosen archive")
    seen.press("Check only")
    expect(seen.dialog).to_contain_text("It can be imported", timeout=60_000)
    seen.look("check")


def test_the_settings_and_their_dialogs(seen: Inspection, places: Places) -> None:
    with psycopg.connect(places.platform.dsn) as connection:
        connection.execute(
            "INSERT INTO loggia.dead_letters (consumer, position, partition, record_offset, "
            "partition_key, event_type, error, headers) "
            "VALUES ('gallery', 7, 0, 7, 'x', 'ModelValidated', 'KeyError: no such row', '{}')"
        )
    seen.look_at("/settings", "KeyError: no such row")
    for opens, label in (
        ("New connection", "Endpoint"),
        ("Add a person", "First password"),
        ("New token", "Name"),
    ):
        seen.desk.open("/settings")
        seen.desk.button(opens).click()
        expect(seen.dialog.get_by_label(label, exact=True)).to_be_visible()
        seen.look(opens)
    seen.dialog.get_by_label("Name").fill("of the test")
    seen.press("Create token")
    expect(seen.dialog).to_contain_text("Copy it now")
    seen.look("secret of a token")
    seen.press("I have copied it")
    seen.desk.button("Revoke").click()
    expect(seen.dialog).to_contain_text("Revoke the token of the test?")
    seen.look("confirmation")


def test_a_key_is_made(seen: Inspection, places: Places) -> None:
    model_id = places.import_model("with-a-key")
    seen.desk.open(f"/models/{model_id}?tab=api-keys")
    seen.desk.button(re.compile("Create the first key")).click()
    seen.dialog.get_by_label("Name").fill("of the test")
    seen.look("dialog of a key")
    seen.dialog.get_by_role("button", name=re.compile("^Create")).click()
    expect(seen.dialog.get_by_text(re.compile("^lgk_")).first).to_be_visible()
    seen.look("secret of a key")
    seen.look_at(f"/models/{model_id}?tab=api-keys", "of the test")


def test_pages_that_are_not_there_and_a_server_that_does_not_answer(seen: Inspection) -> None:
    seen.look_at("/nowhere", "There is no such page")
    for path in (f"/models/{uuid4()}", f"/models/{uuid4()}/deploy", f"/imports/{uuid4()}"):
        seen.look_at(path, re.compile("does not exist|no model|not exist", re.I))
    seen.page.route("**/api/models*", lambda route: route.fulfill(status=503, body=""))
    seen.look_at("/", re.compile("try again", re.I))
    seen.page.route("**/api/session", lambda route: route.fulfill(status=503, body=""))
    seen.look_at("/settings", re.compile("try again", re.I))
