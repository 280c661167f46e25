"""What the documentation says of settings is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from backend.infra.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]


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
