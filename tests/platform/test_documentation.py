"""What the documentation says is there, and is what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from backend.infra.settings import Settings
from tests.builders.models import tiny_llama

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `LOGGIA_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(rows)


def test_every_setting_stands_in_the_table() -> None:
    text = (REPOSITORY / "docs/operating.md").read_text()
    found = re.search(r"<!-- settings:begin -->\n(.*?)\n?<!-- settings:end -->", text, re.DOTALL)
    assert found, "docs/operating.md has lost its table"
    assert found.group(1) == settings_table()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_leads_somewhere(page: Path) -> None:
    targets = [each for each in LINK.findall(page.read_text()) if "://" not in each]
    assert [each for each in targets if not (page.parent / each).exists()] == []


def test_the_command_that_makes_a_model_to_try_makes_one(tmp_path: Path) -> None:
    command = ["-m", "tests.builders.models", "tiny-llama.zip"]
    assert f".venv/bin/python {' '.join(command)}" in (REPOSITORY / "README.md").read_text()
    command[-1] = str(tmp_path / "tiny-llama.zip")
    subprocess.run([sys.executable, *command], cwd=REPOSITORY, timeout=60, check=True)
    with zipfile.ZipFile(tmp_path / "tiny-llama.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert names == set(tiny_llama())
