"""Takes the picture of the gallery that the README shows, from a platform with a few models.

python -m tests.journeys.picture docs/images/gallery.png
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.journeys.archives import tiny_llama_archive
from tests.journeys.deploying import CONFIGURATION
from tests.rig.browser import Desk, browser_context
from tests.rig.client import Administrator
from tests.rig.platform import RunningPlatform

# Name, description, labels, bytes beside the weights; in the order of their imports.
MODELS: list[tuple[str, str, list[str], int]] = [
    ("harbour-base", "Plain completions, for evaluation", ["english"], 2_400_000),
    ("contract-reader", "Finds dates, parties and amounts in contracts", ["legal", "de"], 900_000),
    ("service-desk-zh", "Assistant for the service desk, in Chinese", ["chat", "zh"], 1_700_000),
    ("ticket-triage", "Sorts support tickets by team and urgency", ["support"], 300_000),
    ("tiny-llama", "Answers the questions of new colleagues", ["chat", "english"], 0),
]


def fill(admin: Administrator) -> None:
    """Models in different states: deployed, published, withdrawn, failed."""
    ids: dict[str, str] = {}
    for name, description, labels, padding in MODELS:
        archive = tiny_llama_archive(padding_bytes=padding // 2, seed=len(ids))
        ids[name] = admin.import_archive(f"{name}.zip", archive)
        model = admin.wait_for_model(ids[name], "ready_to_deploy", "import_failed")
        assert model["failure"] is None, model["failure"]
        about: dict[str, Any] = {"description": description, "labels": labels}
        admin.command("PATCH", f"/api/models/{ids[name]}", about)
    for name, state in (
        ("tiny-llama", "published"),
        ("service-desk-zh", "published"),
        ("harbour-base", "published"),
        ("harbour-base", "withdrawn"),
    ):
        admin.command("PUT", f"/api/models/{ids[name]}/publication", {"state": state})
    cut = admin.import_archive("speech-notes.zip", tiny_llama_archive()[:-30])
    admin.wait_for_model(cut, "import_failed")
    admin.deploy(ids["tiny-llama"], CONFIGURATION)
    deployed = admin.wait_for_deployment(ids["tiny-llama"], "deployed", "failed", seconds=900)
    assert deployed["state"] == "deployed", deployed["failure"]


def take(platform: RunningPlatform, file: Path) -> None:
    """The gallery at 1440 pixels, light."""
    assert platform.password
    with browser_context() as context:
        desk = Desk(context.new_page(), platform.url)
        desk.sign_in(platform.administrator, platform.password)
        expect(desk.page.get_by_role("row").filter(has_text="tiny-llama")).to_contain_text(
            "Deployed"
        )
        desk.page.mouse.move(700, 120)  # no row is under the pointer
        desk.page.wait_for_timeout(1000)  # fonts and transitions
        file.parent.mkdir(parents=True, exist_ok=True)
        desk.page.screenshot(path=str(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file.absolute()
    platform = RunningPlatform()
    try:
        platform.start()
        fill(Administrator.of(platform))
        take(platform, file)
    finally:
        platform.remove()
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
