"""A person at a browser: the built SPA in Chromium."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
AXE = REPOSITORY / "frontend/node_modules/axe-core/axe.min.js"
PATIENCE_MS = 30_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """The browser on this machine."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    raise AssertionError("no Chromium here; `make chromium` installs it")


@contextmanager
def browser_context(
    *, width: int = 1440, height: int = 900, dark: bool = False
) -> Iterator[BrowserContext]:
    """A fresh browser profile. Content security policies are kept, except for axe's own script."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            bypass_csp=True,
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield context
        browser.close()


class Desk:
    """What an administrator does in the SPA, in the words that stand there."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))

    def sign_in(self, username: str, password: str) -> None:
        self.page.goto(self.url)
        self.page.get_by_label(re.compile("user ?name", re.I)).fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.button("Sign in").click()
        expect(self.page.get_by_role("heading", name="Model gallery")).to_be_visible()

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name).first

    def tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).click()

    def choose_archive(self, archive: Path) -> None:
        """Opens the import dialog and chooses a file, without importing it yet."""
        self.page.get_by_role("link", name="Import model").first.click()
        self.page.get_by_role("dialog").locator("input[type=file]").set_input_files(archive)

    def import_archive(self, archive: Path) -> None:
        self.choose_archive(archive)
        self.page.get_by_role("dialog").get_by_role("button", name="Import").click()

    def open_model(self, name: str) -> str:
        """Goes to the model's page; returns its id."""
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.wait_for_url(re.compile(r"/models/[0-9a-f-]{36}"))
        found = re.search(r"/models/([0-9a-f-]{36})", self.page.url)
        assert found
        return found.group(1)

    def serious_axe_violations(self) -> list[str]:
        """What axe calls serious or critical on the page as it is now."""
        self.page.add_script_tag(path=str(AXE))
        result = self.page.evaluate("async () => JSON.stringify(await axe.run(document))")
        return [
            f"{violation['id']}: {node['html'][:200]}"
            for violation in json.loads(result)["violations"]
            if violation["impact"] in {"serious", "critical"}
            for node in violation["nodes"]
        ]
