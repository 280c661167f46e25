"""The main job in a real browser on real vLLM, as a new administrator does it."""

from __future__ import annotations

import re
from pathlib import Path

import openai
import pytest
from playwright.sync_api import expect

from tests.journeys.archives import tiny_llama_archive
from tests.rig.browser import Desk, browser_context
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.journey, pytest.mark.timeout(900)]

ENGINE_START_MS = 600_000
IMPORT_MS = 60_000


def go_through_the_wizard(desk: Desk, *, maximum_length: int, reason: str | None = None) -> None:
    """Five steps; only the maximum length is changed."""
    page = desk.page
    for step in ("General", "Optimization"):
        expect(page.get_by_role("heading", name=step)).to_be_visible()
        desk.button("Next").click()
    page.get_by_label("Maximum length").fill(str(maximum_length))
    page.get_by_label("Temperature").fill("0")
    desk.button("Next").click()
    desk.button("Next").click()
    if reason is not None:
        page.get_by_label("Reason").fill(reason)
    page.get_by_label("I accept all the terms and conditions").check()
    desk.button(re.compile("^(Deploy|Redeploy)$")).click()


def refused(client: openai.OpenAI) -> bool:
    try:
        client.models.list()
    except openai.AuthenticationError:
        return True
    return False


@pytest.mark.engine
def test_a_new_administrator_does_the_whole_job(
    platform_up: RunningPlatform, tmp_path: Path
) -> None:
    archive = tmp_path / "tiny-llama.zip"
    archive.write_bytes(tiny_llama_archive())
    with browser_context() as context:
        desk = Desk(context.new_page(), platform_up.url)
        page = desk.page
        assert platform_up.password
        desk.sign_in(platform_up.administrator, platform_up.password)

        desk.import_archive(archive)
        row = page.get_by_role("row").filter(has_text="tiny-llama")
        expect(row).to_contain_text("Ready to deploy", timeout=IMPORT_MS)
        page.keyboard.press("Escape")
        model_id = desk.open_model("tiny-llama")
        expect(page.get_by_text("LlamaForCausalLM").first).to_be_visible()
        expect(page.get_by_text("14 passed")).to_be_visible()

        desk.open(f"/models/{model_id}/deploy")
        go_through_the_wizard(desk, maximum_length=8)
        expect(page.get_by_text(re.compile("Deployed · revision 1"))).to_be_visible(
            timeout=ENGINE_START_MS
        )

        desk.tab("API keys")
        desk.button(re.compile("Create the first key")).click()
        page.get_by_role("dialog").get_by_label("Name").fill("journey")
        page.get_by_role("dialog").get_by_role("button", name=re.compile("^Create")).click()
        # The list behind the dialog may show the beginning of the key first.
        secret = page.get_by_role("dialog").get_by_text(re.compile(r"^lgk_")).first.inner_text()
        client = openai.OpenAI(
            base_url=f"{platform_up.gateway_url}/v1", api_key=secret, max_retries=0
        )
        answer = client.chat.completions.create(
            model="tiny-llama", messages=[{"role": "user", "content": "hello"}]
        )
        assert answer.choices[0].message.content

        desk.open(f"/models/{model_id}/playground")
        page.get_by_label("Your message").fill("hello")
        page.keyboard.press("Enter")
        expect(page.get_by_label("Messages")).to_contain_text(
            answer.choices[0].message.content.strip(), timeout=30_000
        )
        faults = desk.faults_of_every_look()
        desk.button("Parameters").click()
        faults += desk.faults_of_every_look()
        assert faults == []

        desk.open(f"/models/{model_id}/deploy")
        go_through_the_wizard(desk, maximum_length=3, reason="shorter answers")
        failures = []
        deployed = page.get_by_text(re.compile("Deployed · revision 2"))
        for _ in range(ENGINE_START_MS // 200):
            try:
                client.chat.completions.create(
                    model="tiny-llama", messages=[{"role": "user", "content": "hello"}]
                )
            except openai.OpenAIError as error:
                failures.append(str(error))
            if deployed.is_visible():
                break
            page.wait_for_timeout(100)
        assert deployed.is_visible()
        assert failures == []

        desk.button("Publish").click()
        expect(desk.button("Withdraw")).to_be_visible()
        desk.open("/marketplace")
        expect(page.get_by_text("tiny-llama").first).to_be_visible()
        desk.open(f"/models/{model_id}")
        desk.button("Withdraw").click()
        page.get_by_role("dialog").get_by_role("button", name="Withdraw", exact=True).click()
        expect(desk.button("Publish")).to_be_visible()
        desk.open("/marketplace")
        expect(page.get_by_text("tiny-llama")).to_have_count(0)

        desk.open(f"/models/{model_id}?tab=api-keys")
        desk.button("Revoke journey").click()
        page.get_by_role("dialog").get_by_role("button", name=re.compile("Revoke")).click()
        eventually(lambda: refused(client), "the revoked key is refused", seconds=5)

        desk.open(f"/models/{model_id}?tab=deployments")
        expect(page.get_by_text("shorter answers").first).to_be_visible()
        desk.open(f"/models/{model_id}?tab=events")
        for words in ("Import of tiny-llama.zip requested", "Validated", "Published", "Withdrawn"):
            seen = page.get_by_text(re.compile(words, re.I)).filter(visible=True)
            expect(seen.first).to_be_visible()
        assert desk.faults == []


def test_a_file_that_is_no_archive_is_refused_before_the_upload(
    platform_up: RunningPlatform, tmp_path: Path
) -> None:
    wrong = tmp_path / "weights.rar"
    wrong.write_bytes(b"x")
    with browser_context() as context:
        desk = Desk(context.new_page(), platform_up.url)
        assert platform_up.password
        desk.sign_in(platform_up.administrator, platform_up.password)
        desk.choose_archive(wrong)
        expect(desk.page.get_by_role("dialog")).to_contain_text(re.compile(r"\.zip"))
        assert desk.page.get_by_role("dialog").get_by_role("button", name="Import").is_disabled()
