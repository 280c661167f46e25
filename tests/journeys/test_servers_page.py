"""The Servers page in a real browser: a server is registered, watched, drained and removed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.rig.browser import Desk, browser_context
from tests.rig.inference import VllmDouble
from tests.rig.platform import RunningPlatform

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

# What a person is promised: a server that disappears is red by then.
RED_MS = 10_000
KEY = "sk-journey"


@pytest.fixture(scope="module")
def platform() -> Iterator[RunningPlatform]:
    """The platform, allowed to call servers on this machine."""
    running = RunningPlatform({"LOGGIA_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8"})
    try:
        running.start()
        yield running
    finally:
        running.remove()


def panel(desk: Desk, name: str) -> Locator:
    """The section of one server."""
    heading = desk.page.get_by_role("heading", name=re.compile(f"^{name}"))
    return desk.page.locator("section").filter(has=heading)


def test_a_server_is_registered_lost_found_drained_and_removed(platform: RunningPlatform) -> None:
    with VllmDouble("tiny", key=KEY) as server, browser_context() as context:
        desk = Desk(context.new_page(), platform.url)
        page = desk.page
        assert platform.password
        desk.sign_in(platform.administrator, platform.password)
        page.get_by_role("link", name="Servers").first.click()
        expect(panel(desk, "local")).to_contain_text("CPU cores")
        expect(panel(desk, "local")).to_contain_text("Ready")

        desk.button("Register server").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("gpu-7")
        dialog.get_by_label("Address", exact=True).fill(server.address)
        dialog.get_by_role("button", name="Test").click()
        expect(dialog).to_contain_text("Give the key that the server asks for.")
        dialog.get_by_label("Key").fill(KEY)
        dialog.get_by_role("button", name="Test").click()
        expect(dialog).to_contain_text("vLLM 0.32.0 answers. It serves tiny.")
        dialog.get_by_role("button", name="Register").click()
        expect(panel(desk, "gpu-7")).to_contain_text("Ready")
        expect(panel(desk, "gpu-7")).to_contain_text("stored, never shown")
        assert KEY not in page.content()

        page.wait_for_timeout(3_000)  # it has been watched
        server.stop()
        expect(panel(desk, "gpu-7")).to_contain_text("Lost", timeout=RED_MS)
        server.start()
        expect(panel(desk, "gpu-7")).to_contain_text("Ready")

        panel(desk, "gpu-7").get_by_role("button", name="Drain").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("new driver")
        page.get_by_role("dialog").get_by_role("button", name="Drain the server").click()
        expect(panel(desk, "gpu-7")).to_contain_text("Draining")
        expect(panel(desk, "gpu-7")).to_contain_text("new driver")
        panel(desk, "gpu-7").get_by_role("button", name="Use again").click()
        expect(panel(desk, "gpu-7")).to_contain_text("Ready")
        panel(desk, "gpu-7").get_by_role("button", name="Change").click()
        page.get_by_role("dialog").get_by_label("Pool").fill("gpus")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(panel(desk, "gpu-7")).to_contain_text("gpus")
        panel(desk, "gpu-7").get_by_role("button", name="Remove gpu-7").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove the server").click()
        expect(panel(desk, "gpu-7")).to_have_count(0)

        desk.open("/events")
        for words in ("registered with vllm 0.32.0", "lost:", "answers again", "new driver"):
            expect(page.get_by_text(words).filter(visible=True).first).to_be_visible()
        assert desk.faults == []


def test_the_page_has_no_serious_accessibility_fault(platform: RunningPlatform) -> None:
    with VllmDouble("tiny") as server, browser_context() as context:
        desk = Desk(context.new_page(), platform.url)
        page = desk.page
        assert platform.password
        desk.sign_in(platform.administrator, platform.password)
        desk.open("/servers")
        desk.button("Register server").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Name").fill("look")
        dialog.get_by_label("Address", exact=True).fill(server.address)
        assert desk.faults_of_every_look() == []
        dialog.get_by_role("button", name="Register").click()
        expect(panel(desk, "look")).to_be_visible()
        local = panel(desk, "local")
        local.get_by_role("button", name="Show the load over time").click()
        expect(
            local.get_by_role("img", name=re.compile("^Processor. Processor: now"))
        ).to_be_visible()
        assert desk.faults_of_every_look() == []
