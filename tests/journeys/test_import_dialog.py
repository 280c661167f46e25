"""Every way a model comes in, as an administrator does it in the browser."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.builders.models import tiny_llama
from tests.journeys.archives import tiny_llama_archive
from tests.rig.browser import Desk, browser_context
from tests.rig.hub import Hub
from tests.rig.hub_repository import Repository
from tests.rig.platform import RunningPlatform
from tests.rig.registry import Registry

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

IMPORT_MS = 60_000
OFFERED = 1200


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Places:
    """Where models come from: a folder of the server, a hub, a registry and a web site."""

    platform: RunningPlatform
    root: Path
    hub: Hub
    registry: Registry
    site: Path
    address: str

    def offer(self, names: list[str], *, broken: frozenset[str] = frozenset()) -> str:
        """Puts a manifest on the site; models named `broken` are listed but not there."""
        models = [
            {
                "name": name,
                "address": f"{self.address}/{'missing' if name in broken else 'tiny'}.zip",
            }
            for name in names
        ]
        (self.site / "models.json").write_text(json.dumps({"models": models}))
        return f"{self.address}/models.json"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    root = tmp_path_factory.mktemp("models")
    root.chmod(0o755)
    root.parent.chmod(0o755)
    site = tmp_path_factory.mktemp("site")
    (site / "tiny.zip").write_bytes(tiny_llama_archive(seed=7))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with Hub() as hub, Registry() as registry:
        hub.tokens["hf_secret"] = "administrator"
        hub.repositories["team/tiny"] = Repository(
            "team/tiny",
            {**tiny_llama(), "tiny-Q4_K_M.gguf": b"GGUF" + bytes(64)},
            card={"license": "apache-2.0"},
        )
        registry.push("team/scorer", "1.0")
        platform = RunningPlatform(
            {
                "LOGGIA_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
                "LOGGIA_IMPORT_ROOTS": str(root),
                "LOGGIA_HUGGINGFACE_ENDPOINT": hub.endpoint,
            }
        )
        try:
            platform.start()
            address = f"http://127.0.0.1:{server.server_port}"
            yield Places(platform, root, hub, registry, site, address)
        finally:
            platform.remove()
            server.shutdown()


@pytest.fixture
def desk(places: Places) -> Iterator[Desk]:
    with browser_context() as context:
        desk = Desk(context.new_page(), places.platform.url)
        assert places.platform.password
        desk.sign_in(places.platform.administrator, places.platform.password)
        yield desk
        assert desk.faults == []


def source(desk: Desk, title: str) -> Locator:
    """Opens the import dialog at a source."""
    desk.page.get_by_role("link", name="Import model").first.click()
    dialog = desk.page.get_by_role("dialog")
    dialog.get_by_role("navigation").get_by_role("button", name=re.compile(f"^{title}")).click()
    return dialog


def press(dialog: Locator, name: str) -> None:
    dialog.get_by_role("button", name=name, exact=True).click()


def expect_validated(desk: Desk, name: str) -> None:
    """The page of the model, once every check is done."""
    page = desk.page
    # What fades out says the same as the page.
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d+ passed")).first).to_be_visible(timeout=IMPORT_MS)


def test_an_upload_is_checked_first_and_then_imported(desk: Desk, tmp_path: Path) -> None:
    archive = tmp_path / "checked-first.zip"
    archive.write_bytes(tiny_llama_archive(seed=1))
    dialog = source(desk, "Upload")
    dialog.locator("input[type=file]").set_input_files(archive)
    press(dialog, "Check only")
    expect(dialog).to_contain_text("It can be imported", timeout=IMPORT_MS)
    expect(dialog).to_contain_text("What would be written")
    press(dialog, "Choose another file")
    dialog.locator("input[type=file]").set_input_files(archive)
    press(dialog, "Import")
    dialog.get_by_role("link", name="Watch the import").click()
    expect_validated(desk, "checked-first")


def test_an_adapter_is_uploaded_for_the_base_model_that_was_chosen_first(
    desk: Desk, tmp_path: Path
) -> None:
    base = tmp_path / "base-of-adapter.zip"
    base.write_bytes(tiny_llama_archive(seed=2))
    dialog = source(desk, "Upload")
    dialog.locator("input[type=file]").set_input_files(base)
    press(dialog, "Import")
    dialog.get_by_role("link", name="Watch the import").click()
    expect_validated(desk, "base-of-adapter")

    adapter = tmp_path / "no-adapter.zip"
    adapter.write_bytes(tiny_llama_archive(seed=3))
    desk.open("/?import=adapter")
    dialog = desk.page.get_by_role("dialog")
    dialog.locator("input[type=file]").set_input_files(adapter)
    expect(dialog.get_by_role("button", name="Import", exact=True)).to_have_attribute(
        "aria-disabled", "true"
    )
    dialog.get_by_label("Base model").get_by_label("base-of-adapter").check()
    press(dialog, "Import")
    dialog.get_by_role("link", name="Watch the import").click()
    expect(desk.page.get_by_role("button", name="Retry import")).to_be_visible(timeout=IMPORT_MS)


def test_a_repository_is_looked_at_and_the_chosen_weights_are_imported(desk: Desk) -> None:
    dialog = source(desk, "Hugging Face")
    dialog.get_by_label("Repository").fill("team/tiny")
    press(dialog, "Look")
    expect(dialog).to_contain_text("apache-2.0")
    expect(dialog.get_by_label(re.compile("^Safetensors"))).to_be_checked()
    dialog.get_by_label("Model name").fill("from-the-hub")
    press(dialog, "Import")
    expect_validated(desk, "from-the-hub")
    overview = desk.page.get_by_role("tabpanel", name="Overview")
    expect(overview.get_by_text("team/tiny", exact=True)).to_be_visible()

    dialog = source_of_version(desk, "Hugging Face")
    dialog.get_by_label("Repository").fill("team/missing")
    press(dialog, "Look")
    expect(dialog.get_by_role("alert")).to_contain_text("team/missing")


def source_of_version(desk: Desk, title: str) -> Locator:
    """Opens the dialog for a further version of the model that is shown."""
    desk.tab("Versions")
    desk.page.get_by_role("link", name="Import a version").click()
    dialog = desk.page.get_by_role("dialog")
    dialog.get_by_role("navigation").get_by_role("button", name=re.compile(f"^{title}")).click()
    return dialog


def test_a_list_is_imported_in_part_and_its_failures_are_retried(
    desk: Desk, places: Places
) -> None:
    names = [f"listed-{number}" for number in range(OFFERED)]
    address = places.offer(names, broken=frozenset({"listed-2"}))
    page = desk.page
    dialog = source(desk, "List of models")
    dialog.get_by_label("Address").fill(address)
    press(dialog, "Look")
    expect(dialog).to_contain_text(f"{OFFERED:,} models")
    for name in names[:3]:
        dialog.get_by_role("checkbox", name=name, exact=True).check()
    dialog.get_by_label("Search in the list").fill("listed-1199")
    expect(dialog.get_by_role("checkbox", name="listed-1199", exact=True)).to_be_visible()
    press(dialog, "Import 3 models")
    page.wait_for_url(re.compile("/imports/"))
    expect(page.get_by_text("Partly done: 2 ready, 1 failed.")).to_be_visible(timeout=IMPORT_MS)
    expect(page.get_by_text(re.compile("404"))).to_be_visible()

    (places.site / "missing.zip").write_bytes(tiny_llama_archive(seed=8))
    desk.button("Retry failed").click()
    expect(page.get_by_text("Done: 3 ready.")).to_be_visible(timeout=IMPORT_MS)

    desk.open("/")
    dialog = source(desk, "List of models")
    dialog.get_by_label("Address").fill(address)
    press(dialog, "Look")
    expect(dialog.get_by_role("checkbox", name="listed-0", exact=True)).to_be_disabled()
    dialog.get_by_role("link", name="open").first.click()
    expect_validated(desk, "listed-0")


def test_a_path_is_judged_as_soon_as_it_is_named(desk: Desk, places: Places) -> None:
    folder = places.root / "in-place"
    folder.mkdir()
    for path, content in tiny_llama(seed=4).items():
        (folder / path).write_bytes(content)
    dialog = source(desk, "Server path")
    dialog.get_by_label("Path on the server").fill("/etc")
    dialog.get_by_label("Technical name").click()
    expect(dialog.get_by_role("alert")).to_contain_text(str(places.root))
    dialog.get_by_label("Path on the server").fill(str(folder))
    dialog.get_by_label("Technical name").click()
    expect(dialog).to_contain_text("LlamaForCausalLM")
    dialog.get_by_label("Technical name").fill("in-place-technical")
    dialog.get_by_label("Deployment template for Ollama").fill('TEMPLATE """{{ .Prompt }}"""')
    press(dialog, "Import")
    expect_validated(desk, "in-place")
    expect(desk.page.get_by_text("Left in their place")).to_be_visible()

    desk.tab("Configuration")
    template = desk.page.get_by_label("Deployment template", exact=True)
    expect(template).to_have_value('TEMPLATE """{{ .Prompt }}"""')
    template.fill("PARAMETER temperature 0.5")
    desk.button("Save template").click()
    expect(desk.page.get_by_text("The deployment template is saved")).to_be_visible()


def test_an_image_is_inspected_and_its_configuration_edited(desk: Desk, places: Places) -> None:
    connect(desk, "registry", "Container registry", places.registry.endpoint, "user:password")
    desk.open("/")
    dialog = source(desk, "Container image")
    reference = f"{places.registry.host}/team/scorer:1.0"
    dialog.get_by_label("Image reference").fill(reference)
    dialog.get_by_label("Connection", exact=True).click()
    desk.page.get_by_role("option", name="registry").click()
    press(dialog, "Look")
    expect(dialog).to_contain_text("linux/amd64")

    editor = dialog.get_by_role("textbox", name="Configuration file")
    editor.click()
    desk.page.keyboard.press("Control+a")
    desk.page.keyboard.insert_text('{"schemaVersion": 1, "port": "many"}')
    fault = dialog.locator(".cm-lintRange-error", has_text="many")
    fault.hover()
    expect(desk.page.locator(".cm-tooltip-lint")).to_contain_text("integer")
    desk.page.keyboard.press("Control+a")
    configuration = {
        "schemaVersion": 1,
        "port": 8080,
        "health": {"path": "/health"},
        "apis": [
            {
                "path": "/v1/predict",
                "request": {
                    "schema": {"type": "object", "properties": {"text": {"type": "string"}}}
                },
            }
        ],
    }
    desk.page.keyboard.insert_text(json.dumps(configuration))
    expect(dialog.get_by_role("row", name=re.compile("^text string"))).to_be_visible()
    press(dialog, "Import")
    expect_validated(desk, "scorer")
    expect(desk.page.get_by_text("sha256:").first).to_be_visible()


def test_a_model_is_created_from_its_description(desk: Desk) -> None:
    dialog = source(desk, "Create")
    dialog.get_by_label("Model name").fill("described")
    dialog.get_by_label("Runtime environment").fill("PyTorch")
    dialog.get_by_label("GPUs").fill("2")
    press(dialog, "Create")
    expect_validated(desk, "described")
    expect(desk.page.get_by_text("2 GPUs")).to_be_visible()


def test_a_further_version_is_compared_and_made_current(
    desk: Desk, places: Places, tmp_path: Path
) -> None:
    archive = tmp_path / "versioned.zip"
    archive.write_bytes(tiny_llama_archive(seed=5))
    desk.import_archive(archive)
    desk.page.get_by_role("link", name="Watch the import").click()
    expect_validated(desk, "versioned")
    page = desk.page
    dialog = source_of_version(desk, "Web address")
    dialog.get_by_role("textbox", name="Address").fill(f"{places.address}/tiny.zip")
    press(dialog, "Import")
    rows = page.get_by_role("listitem").filter(has_text=re.compile("^0.0.[12]"))
    expect(rows.nth(0)).to_contain_text("0.0.2Current", timeout=IMPORT_MS)
    expect(page.get_by_role("rowheader", name="model.safetensors")).to_be_visible()
    rows.nth(1).get_by_role("button", name="Make current").click()
    expect(rows.nth(1)).to_contain_text("Current")
    expect(rows.nth(0)).not_to_contain_text("Current")


def connect(desk: Desk, name: str, kind: str, endpoint: str, secret: str) -> None:
    """Saves a connection in the settings."""
    desk.open("/settings")
    desk.button("New connection").click()
    dialog = desk.page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("Kind").select_option(label=kind)
    dialog.get_by_label("Endpoint").fill(endpoint)
    dialog.locator("input[type=password]").fill(secret)
    press(dialog, "Save")
    expect(desk.page.get_by_role("cell", name=name, exact=True)).to_be_visible()


def test_a_connection_is_tried_saved_and_removed(desk: Desk, places: Places) -> None:
    desk.open("/settings")
    desk.button("New connection").click()
    dialog = desk.page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("hub")
    dialog.get_by_label("Endpoint").fill(places.hub.endpoint)
    dialog.locator("input[type=password]").fill("hf_wrong")
    press(dialog, "Test")
    expect(dialog.get_by_role("alert")).to_be_visible()
    dialog.locator("input[type=password]").fill("hf_secret")
    press(dialog, "Test")
    expect(dialog.get_by_role("status")).to_contain_text("administrator")
    press(dialog, "Save")
    expect(desk.page.get_by_role("cell", name="hub", exact=True)).to_be_visible()
    expect(dialog).to_have_count(0)
    assert "hf_secret" not in desk.page.content()
    desk.button("Remove hub").click()
    desk.page.get_by_role("button", name="Remove the connection").click()
    expect(desk.page.get_by_role("cell", name="hub", exact=True)).to_have_count(0)
