"""A person at a browser: the built SPA in Chromium."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, expect, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[2]
AXE = REPOSITORY / "frontend/node_modules/axe-core/axe.min.js"
PATIENCE_MS = 30_000
HEIGHT = 900
# Each width (pixels) in light and dark.
LOOKS = [(1440, False), (1440, True), (390, False), (390, True)]
# Until what moves or fades has come to rest.
SETTLED_MS = 400
# What the colours decide; everything else is the same in light and dark.
DARK_RULES = ["color-contrast", "link-in-text-block"]
AUDIT = """async (rules) => ({
    violations: (await axe.run(document, {
        resultTypes: ["violations"],
        ...(rules && { runOnly: { type: "rule", values: rules } }),
    })).violations,
    sideways: document.documentElement.scrollWidth > document.documentElement.clientWidth,
})"""
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
def browser_context() -> Iterator[BrowserContext]:
    """A fresh browser profile. Content security policies are kept, except for axe's own script."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        context = browser.new_context(
            viewport={"width": LOOKS[0][0], "height": HEIGHT}, bypass_csp=True
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
        self.fill_in_sign_in(username, password)

    def fill_in_sign_in(self, username: str, password: str) -> None:
        """On the page that stands there, which is not loaded anew."""
        self.page.get_by_label(re.compile("user ?name", re.I)).fill(username)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.button("Sign in").click()
        expect(self.page.get_by_role("heading", name="Model gallery")).to_be_visible()

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def sign_out(self) -> None:
        self.page.get_by_role("button", name=re.compile("^Account of")).click()
        self.page.get_by_role("menuitem", name="Sign out").click()
        expect(self.page.get_by_role("heading", name="Sign in")).to_be_visible()

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

    def faults_of_every_look(self) -> list[str]:
        """What is wrong with the page as it is now, at every width, in light and dark: what axe
        calls serious or critical, and scrolling sideways."""
        return [
            f"{width}, {'dark' if dark else 'light'}: {fault}"
            for width, dark in LOOKS
            for fault in self._faults_of_look(width, dark)
        ]

    def _faults_of_look(self, width: int, dark: bool) -> list[str]:
        self.page.set_viewport_size({"width": width, "height": HEIGHT})
        self.page.emulate_media(color_scheme="dark" if dark else "light")
        self.page.wait_for_timeout(SETTLED_MS)
        self.page.add_script_tag(path=str(AXE))
        found = self.page.evaluate(AUDIT, DARK_RULES if dark else None)
        faults = [
            f"{violation['id']}: {node['html'][:200]}"
            for violation in found["violations"]
            if violation["impact"] in {"serious", "critical"}
            for node in violation["nodes"]
        ]
        return [*faults, *(["scrolls sideways"] if found["sideways"] else [])]
