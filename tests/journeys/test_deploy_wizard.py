"""The deploy wizard, pending changes and the history in a real browser; the workers are doubles.

What the engines do is recorded as the deploy worker would record it, so that every state can be
looked at; the deployment on a real engine is in `test_browser_journey`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from backend.api.services import Services
from backend.application.commands import CommandContext
from backend.infra import engine_logs
from backend.infra.settings import Settings
from tests.api import worker
from tests.api.client import ApiClient
from tests.rig.api_server import ADMIN_PASSWORD, ApiServer
from tests.rig.browser import Desk, browser_context
from tests.rig.following import following

pytestmark = [pytest.mark.journey, pytest.mark.timeout(600)]

STEPS = ("General", "Optimization", "Parameters", "Hardware", "Review")
MEMORY = [{"dtype": "bfloat16", "weights_bytes": 4_000_000, "kv_cache_bytes_per_token": 2048}]


@dataclass(frozen=True)
class Workplace:
    """The API with its views, and an administrator's client."""

    url: str
    services: Services
    admin: ApiClient

    def ready(self, name: str = "tiny", **card: Any) -> str:
        """The id of a model that can be deployed."""
        model_id = self.admin.import_model(name)
        self.see(model_id, worker.make_ready(self.services, model_id, memory=MEMORY, **card))
        return model_id

    def deployed(self, name: str = "tiny") -> str:
        """The id of a model whose first revision serves and has said something."""
        model_id = self.ready(name)
        url = f"/api/models/{model_id}/deployment"
        assert self.admin.command("PUT", url, worker.deploy_body()).status_code == 202
        self.services.deployments.record_revision_prepared(
            CommandContext(actor="worker:deploy"),
            UUID(model_id),
            revision=1,
            environment_seconds=42.5,
            files_seconds=3.1,
        )
        replica, position = worker.serve(self.services, model_id, 1)
        self.say(model_id, replica, ["loading weights", "ready"])
        self.see(model_id, position)
        return model_id

    def say(self, model_id: str, replica: UUID, lines: list[str]) -> None:
        """What the engine writes."""
        with self.services.pool.connection() as connection, connection.transaction():
            engine_logs.append(
                connection.cursor(),
                replica_id=replica,
                model_id=UUID(model_id),
                revision=1,
                lines=lines,
                read_bytes=0,
            )

    def see(self, model_id: str, position: int) -> None:
        """Waits until the views are that far."""
        for path in ("", "/deployment"):
            self.admin.get(f"/api/models/{model_id}{path}", params={"atLeast": position})


@pytest.fixture
def workplace(settings: Settings) -> Iterator[Workplace]:
    with (
        ApiServer(settings) as server,
        following(server.settings),
        ApiClient(server.url) as admin,
    ):
        admin.sign_in("admin", ADMIN_PASSWORD)
        yield Workplace(server.url, server.services, admin)


def at_step(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=re.compile(f"{name}$"), level=2).first).to_be_visible()


def go_to(desk: Desk, name: str) -> None:
    """From General on to the named step."""
    for step in STEPS[: STEPS.index(name)]:
        at_step(desk.page, step)
        desk.button("Next").click()
    at_step(desk.page, name)


def test_five_steps_keep_their_values_and_lead_to_a_revision(workplace: Workplace) -> None:
    model_id = workplace.ready()
    with browser_context() as context:
        desk = Desk(context.new_page(), workplace.url)
        page = desk.page
        desk.sign_in("admin", ADMIN_PASSWORD)
        page.get_by_role("link", name="Deploy a model").click()
        page.get_by_role("textbox", name="Model").click()
        page.get_by_role("option", name="tiny").click()
        desk.button("Next").click()

        at_step(page, "General")
        page.get_by_label("Description").fill("Answers new colleagues")
        page.get_by_role("textbox", name="Tags").fill("chat")
        page.keyboard.press("Enter")
        desk.button("Next").click()

        at_step(page, "Optimization")
        expect(page.get_by_label("Serve the model as it is")).to_be_checked()
        expect(page.get_by_label("Triton", exact=True)).to_be_disabled()
        desk.button("Next").click()

        at_step(page, "Parameters")
        page.get_by_label("Temperature").fill("3")
        page.get_by_label("Temperature").blur()
        expect(page.get_by_text("Use a value from 0 to 2.")).to_be_visible()
        page.get_by_label("Temperature").fill("0.3")
        page.get_by_label("Minimum replicas").fill("0")
        desk.button("Next").click()

        at_step(page, "Hardware")
        desk.button("Back").click()
        expect(page.get_by_label("Temperature")).to_have_value("0.3")
        page.reload()
        expect(page.get_by_text("Your draft is still here")).to_be_visible()
        at_step(page, "Parameters")
        expect(page.get_by_label("Temperature")).to_have_value("0.3")
        desk.button("Next").click()
        desk.button("Next").click()

        at_step(page, "Review")
        expect(page.get_by_text("Answers new colleagues")).to_be_visible()
        expect(page.get_by_role("heading", name="Checks")).to_be_visible()
        expect(page.get_by_text("requests of 512 tokens").first).to_be_visible()
        expect(page.get_by_text("RevisionPrepared")).to_be_visible()
        page.get_by_label("I accept all the terms and conditions").check()
        desk.button("Deploy").click()
        expect(page.get_by_text("Revision 1 is being brought up.")).to_be_visible()
        assert desk.faults == []
    view = workplace.admin.get(f"/api/models/{model_id}/deployment").json()
    assert view["configuration"]["parameters"]["temperature"] == 0.3
    assert view["configuration"]["scaling"]["minReplicas"] == 0
    model = workplace.admin.get(f"/api/models/{model_id}").json()
    assert (model["description"], model["labels"]) == ("Answers new colleagues", ["chat"])


def test_what_an_engine_starts_with_goes_and_comes_back_with_it(workplace: Workplace) -> None:
    model_id = workplace.ready(format="transformers")
    with browser_context() as context:
        desk = Desk(context.new_page(), workplace.url)
        page = desk.page
        desk.sign_in("admin", ADMIN_PASSWORD)
        desk.open(f"/models/{model_id}/deploy")
        go_to(desk, "Optimization")
        page.get_by_label("CTranslate2", exact=True).check()
        expect(page.get_by_label("Triton", exact=True)).to_be_checked()
        page.get_by_role("textbox", name="Quantization").click()
        page.get_by_role("option", name="int8", exact=True).click()
        desk.button("Next").click()
        at_step(page, "Parameters")
        expect(page.get_by_label("Name of engine argument 1")).to_have_count(0)
        desk.button("Back").click()
        page.get_by_label("Serve the model as it is").check()
        page.get_by_label("vLLM", exact=True).check()
        desk.button("Next").click()
        expect(page.get_by_label("Name of engine argument 1")).to_have_value("max_model_len")
        assert desk.faults == []


def test_a_revision_that_was_asked_for_meanwhile_is_not_overwritten_unseen(
    workplace: Workplace,
) -> None:
    model_id = workplace.deployed()
    url = f"/api/models/{model_id}/deployment"
    with browser_context() as context:
        desk = Desk(context.new_page(), workplace.url)
        page = desk.page
        desk.sign_in("admin", ADMIN_PASSWORD)
        desk.open(f"/models/{model_id}/deploy")
        go_to(desk, "Review")
        page.get_by_label("I accept all the terms and conditions").check()
        workplace.admin.command("PUT", url, worker.deploy_body(maxTokens=9))
        expect(page.get_by_text("Revision 2 was asked for meanwhile")).to_be_visible()
        expect(desk.button("Redeploy")).to_be_disabled()
        desk.button("Start over from revision 2").click()
        go_to(desk, "Parameters")
        expect(page.get_by_label("Maximum length")).to_have_value("9 tokens")
        assert desk.faults == []


def test_a_model_that_comes_in_goes_on_to_the_wizard_by_itself(workplace: Workplace) -> None:
    model_id = workplace.admin.import_model("newcomer")
    with browser_context() as context:
        desk = Desk(context.new_page(), workplace.url)
        desk.sign_in("admin", ADMIN_PASSWORD)
        desk.open("/deploy")
        desk.page.get_by_label("From Hugging Face").check()
        desk.page.get_by_role("link", name="Choose the repository").click()
        expect(desk.page.get_by_role("dialog").get_by_label("Repository")).to_be_visible()
        desk.open(f"/deploy?importing={model_id}")
        expect(desk.page.get_by_text("newcomer").first).to_be_visible()
        worker.make_ready(workplace.services, model_id)
        expect(desk.page.get_by_role("heading", name="Deploy newcomer")).to_be_visible()
        at_step(desk.page, "General")
        assert desk.faults == []


def test_changes_are_kept_discarded_and_deployed(workplace: Workplace) -> None:
    model_id = workplace.deployed()
    with browser_context() as context:
        desk = Desk(context.new_page(), workplace.url)
        page = desk.page
        desk.sign_in("admin", ADMIN_PASSWORD)
        for ending in ("Discard changes", "Review and redeploy"):
            desk.open(f"/models/{model_id}/deploy")
            go_to(desk, "Parameters")
            page.get_by_label("Maximum length").fill("64")
            desk.button("Next").click()
            desk.button("Next").click()
            page.get_by_label("Reason").fill("shorter answers")
            desk.button("Keep for later").click()
            expect(page.get_by_role("heading", name="Pending changes")).to_be_visible()
            expect(page.get_by_text("Revision 1 serves all requests")).to_be_visible()
            desk.open("/")
            expect(page.get_by_text("Pending changes").first).to_be_visible()
            desk.open(f"/models/{model_id}?tab=deployments")
            desk.button(ending).click()
            if ending == "Discard changes":
                dialog = page.get_by_role("dialog")
                dialog.get_by_role("button", name="Discard changes").click()
                expect(page.get_by_role("heading", name="Pending changes")).to_have_count(0)
        expect(page.get_by_text("filled with the pending changes")).to_be_visible()
        go_to(desk, "Review")
        expect(page.get_by_role("row").filter(has_text="Maximum length")).to_contain_text("64")
        page.get_by_label("I accept all the terms and conditions").check()
        desk.button("Redeploy").click()
        expect(page.get_by_text("Revision 2 is being brought up")).to_be_visible()
        expect(page.get_by_role("heading", name="Pending changes")).to_have_count(0)
        assert desk.faults == []


def test_the_history_tells_phases_compares_and_streams_logs(workplace: Workplace) -> None:
    model_id = workplace.deployed()
    url = f"/api/models/{model_id}/deployment"
    workplace.admin.command("PUT", url, worker.deploy_body(maxTokens=9))
    workplace.see(model_id, worker.fail_revision(workplace.services, model_id, 2))
    with browser_context() as context:
        desk = Desk(context.new_page(), workplace.url)
        page = desk.page
        desk.sign_in("admin", ADMIN_PASSWORD)
        desk.open(f"/models/{model_id}?tab=deployments")
        desk.button("Configuration, revision 1").click()
        phases = page.get_by_label("How long each phase of revision 1 took")
        expect(phases).to_contain_text("Environment")
        expect(phases).to_contain_text("43 s")
        comparison = page.get_by_role("row").filter(has_text="Maximum length").last
        expect(comparison).to_contain_text("256 tokens")
        expect(comparison).to_contain_text("9 tokens")
        desk.button("Show engine logs").click()
        log = page.get_by_role("region", name="Engine log", exact=True)
        expect(log).to_contain_text("ready")
        replicas = workplace.admin.get(f"{url}/logs").json()["replicas"]
        workplace.say(model_id, UUID(replicas[0]["id"]), ["a word that came later"])
        expect(log).to_contain_text("a word that came later")
        with page.expect_download() as download:
            desk.button("Export").click()
            page.get_by_role("menuitem", name="As JSON").click()
        assert '"revision":2' in Path(download.value.path()).read_text()
        assert desk.faults == []


def test_no_place_has_a_serious_accessibility_fault(workplace: Workplace) -> None:
    model_id = workplace.deployed()
    body = {"configuration": worker.configuration(maxTokens=9), "reason": "later"}
    url = f"/api/models/{model_id}/deployment/configuration"
    workplace.see(model_id, workplace.admin.command("PUT", url, body).json()["position"])
    with browser_context() as context:
        desk = Desk(context.new_page(), workplace.url)
        page = desk.page
        desk.sign_in("admin", ADMIN_PASSWORD)
        found: dict[str, list[str]] = {}
        desk.open("/deploy")
        expect(page.get_by_role("textbox", name="Model")).to_be_visible()
        found["/deploy"] = desk.faults_of_every_look()
        desk.open(f"/models/{model_id}/deploy")
        for step in STEPS:
            at_step(page, step)
            if step == "Review":
                expect(page.get_by_role("heading", name="Checks")).to_be_visible()
            found[step] = desk.faults_of_every_look()
            if step != "Review":
                desk.button("Next").click()
        desk.open(f"/models/{model_id}?tab=deployments")
        desk.button("Configuration, revision 1").click()
        desk.button("Show engine logs").click()
        expect(page.get_by_role("region", name="Engine log", exact=True)).to_contain_text("ready")
        found["deployments"] = desk.faults_of_every_look()
        assert {place: faults for place, faults in found.items() if faults} == {}
        assert desk.faults == []
