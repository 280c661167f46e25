"""An import outlives the page that began it: a reload, a sign-out, a closed page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Request, Route, expect

from tests.builders.models import tiny_llama
from tests.journeys.archives import tiny_llama_archive, zipped
from tests.rig.browser import Desk, browser_context
from tests.rig.client import Administrator
from tests.rig.platform import RunningPlatform
from tests.rig.web import Web

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

# What the web interface sends at a time, in bytes.
PIECE = 16 << 20
IMPORT_MS = 60_000


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    running = RunningPlatform({"LOGGIA_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8"})
    try:
        running.start()
        yield running
    finally:
        running.remove()


@pytest.fixture
def context(platform: RunningPlatform) -> Iterator[BrowserContext]:
    with browser_context() as context:
        yield context


class Person:
    """Somebody at a browser, who goes away and comes back."""

    def __init__(self, context: BrowserContext, platform: RunningPlatform) -> None:
        self._context, self._platform = context, platform
        assert platform.password
        self._name, self._password = platform.administrator, platform.password
        self.desk = Desk(context.new_page(), platform.url)
        self.desk.sign_in(self._name, self._password)

    def begins_to_upload(self, archive: Path) -> None:
        """Until the second piece is about to be sent; the dialog is closed then."""
        with self.desk.page.expect_request(sends_from(PIECE)):
            self.desk.import_archive(archive)
        self.desk.page.keyboard.press("Escape")
        expect(self.desk.page.get_by_role("dialog")).to_have_count(0)

    def reloads(self) -> None:
        self.desk.page.reload()

    def signs_out_and_in(self) -> None:
        self.desk.sign_out()
        self.comes_back()

    def comes_back(self) -> None:
        self.desk.fill_in_sign_in(self._name, self._password)

    def closes_the_page(self) -> None:
        """And opens another later: the browser still knows who they are."""
        self.desk.page.close()
        self.desk = Desk(self._context.new_page(), self._platform.url)
        self.desk.open("/")


def sends_from(offset: int) -> Callable[[Request], bool]:
    """Whether bytes of an upload are sent, beginning at the offset."""
    return lambda request: (
        request.method == "PATCH" and request.headers.get("upload-offset") == str(offset)
    )


def expect_imported(desk: Desk, name: str) -> None:
    page = desk.page
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ passed")).first).to_be_visible(timeout=IMPORT_MS)
    expect(page.get_by_text("Ready to deploy", exact=True).first).to_be_visible()


class BrokenLine:
    """Lets one piece of an upload through, and no second one until it is mended."""

    def __init__(self, context: BrowserContext) -> None:
        self._broken = True
        context.route("**/api/uploads/*", self._carry)

    def mend(self) -> None:
        self._broken = False

    def _carry(self, route: Route, request: Request) -> None:
        if self._broken and sends_from(PIECE)(request):
            route.abort("connectionfailed")
        else:
            route.continue_()


def large_archive(folder: Path, name: str) -> Path:
    """More than two pieces."""
    archive = folder / f"{name}.zip"
    archive.write_bytes(tiny_llama_archive(padding_bytes=20_000_000))
    return archive


@pytest.mark.parametrize("goes", [Person.reloads, Person.closes_the_page])
def test_an_upload_goes_on_from_its_offset_with_the_same_file(
    context: BrowserContext,
    platform: RunningPlatform,
    tmp_path: Path,
    goes: Callable[[Person], None],
) -> None:
    name = goes.__name__.replace("_", "-")
    archive = large_archive(tmp_path, name)
    line = BrokenLine(context)
    person = Person(context, platform)
    person.begins_to_upload(archive)
    goes(person)
    line.mend()
    uploads = person.desk.page.get_by_role("region", name="Uploads")
    expect(uploads).to_contain_text("16.8 MB of")
    with context.expect_event("request", sends_from(PIECE)):
        uploads.get_by_label(f"Choose {archive.name} again").set_input_files(archive)
    person.desk.open_model(name)
    expect_imported(person.desk, name)


def test_an_upload_pauses_with_the_sign_out_and_goes_on_with_the_next_sign_in(
    context: BrowserContext, platform: RunningPlatform, tmp_path: Path
) -> None:
    archive = large_archive(tmp_path, "signed-out")
    line = BrokenLine(context)
    person = Person(context, platform)
    person.begins_to_upload(archive)
    person.desk.sign_out()
    line.mend()
    with context.expect_event("request", sends_from(PIECE)):
        person.comes_back()
    person.desk.open_model("signed-out")
    expect_imported(person.desk, "signed-out")


def test_another_person_at_the_same_browser_does_not_touch_an_upload(
    context: BrowserContext, platform: RunningPlatform, tmp_path: Path
) -> None:
    bob, password = "bob", "another at the same desk"
    Administrator.of(platform).command(
        "POST", "/api/users", {"username": bob, "password": password, "role": "operator"}
    )
    archive = large_archive(tmp_path, "left-alone")
    BrokenLine(context)
    person = Person(context, platform)
    person.begins_to_upload(archive)
    desk = person.desk
    desk.sign_out()
    desk.fill_in_sign_in(bob, password)
    expect(desk.page.get_by_role("link", name="left-alone", exact=True).first).to_be_visible()
    expect(desk.page.get_by_role("region", name="Uploads")).to_have_count(0)
    desk.page.reload()
    expect(desk.page.get_by_role("link", name="left-alone", exact=True).first).to_be_visible()
    expect(desk.page.get_by_role("region", name="Uploads")).to_have_count(0)
    desk.sign_out()
    person.comes_back()
    expect(desk.page.get_by_role("region", name="Uploads")).to_contain_text("16.8 MB of")


def test_an_import_under_way_shows_its_progress_and_its_result_whoever_comes_back(
    context: BrowserContext, platform: RunningPlatform
) -> None:
    with Web() as web:
        address = web.add("/slow.zip", tiny_llama_archive(seed=9))
        web.slow.add("/slow.zip")
        try:
            body = {"source": "url", "address": address}
            model_id = Administrator.of(platform).command("POST", "/api/imports", body)["id"]
            person = Person(context, platform)
            for goes in (Person.reloads, Person.signs_out_and_in, Person.closes_the_page):
                expect_progress(person.desk, str(model_id))
                goes(person)
            expect_progress(person.desk, str(model_id))
            person.desk.page.close()
        finally:
            web.hurry.set()
        Administrator.of(platform).wait_for_model(str(model_id), "ready_to_deploy")
        person.desk = Desk(context.new_page(), platform.url)
        person.desk.open("/")
        person.desk.open_model("slow")
        expect_imported(person.desk, "slow")


def expect_progress(desk: Desk, model_id: str) -> None:
    """The page of the model tells the step, and about half of the bytes."""
    desk.open(f"/models/{model_id}")
    expect(desk.page.get_by_text("Fetch and store the files")).to_be_visible()
    bar = desk.page.get_by_role("progressbar", name="Progress of the import of slow")
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^[5-9]\d(\.|$)"))


def test_who_is_no_administrator_reads_who_may_accept_a_risk(
    context: BrowserContext, platform: RunningPlatform
) -> None:
    admin = Administrator.of(platform)
    admin.command(
        "POST",
        "/api/users",
        {"username": "olga", "password": "an operator may not", "role": "operator"},
    )
    files = tiny_llama()
    mapped = {**json.loads(files["config.json"]), "auto_map": {"AutoModel": "modeling_x.X"}}
    files["config.json"] = json.dumps(mapped).encode()
    model_id = admin.import_archive("custom-code.zip", zipped(files))
    admin.wait_for_model(model_id, "import_failed")
    desk = Desk(context.new_page(), platform.url)
    desk.sign_in("olga", "an operator may not")
    desk.open(f"/models/{model_id}")
    field = desk.page.get_by_label("Why is it allowed for this import?")
    expect(field).to_be_disabled()
    expect(field).to_have_accessible_description(re.compile("Only an administrator may allow"))
    expect(desk.button("Retry import")).to_be_visible()
