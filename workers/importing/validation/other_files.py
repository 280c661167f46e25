"""Files that nobody expects in a model."""

from __future__ import annotations

from pathlib import PurePosixPath

from workers.importing.names import listed
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.layout import Layout
from workers.importing.validation.report import Outcome, Report

_EXPECTED_SUFFIXES = {
    ".safetensors", ".json", ".jsonl", ".txt", ".md", ".model", ".jinja", ".py", ".yaml", ".yml",
    ".tiktoken", ".spm", ".vocab", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".csv",
    ".gitattributes", ".gitignore",
}  # fmt: skip
_EXPECTED_NAMES = ("license", "licence", "notice", "readme", "copying", "use_policy")


def check_other_files(
    files: ModelFiles, layout: Layout | None, leftovers: list[str], report: Report
) -> None:
    """Names files that no engine reads."""
    other = [
        path for path in files.sizes if not _expected(path) and not (layout and layout.owns(path))
    ]
    evidence = []
    if other:
        evidence.append(f"Of unknown kind, kept as they are: {listed(other)}.")
    if leftovers:
        evidence.append(f"Left by an operating system, not imported: {listed(leftovers)}.")
    report.add(
        "other_files",
        "Only files that belong to a model",
        Outcome.WARN if evidence else Outcome.PASS,
        " ".join(evidence) or "Every file is of a known kind.",
        "Leave them out if nobody needs them." if evidence else "",
    )


def _expected(path: str) -> bool:
    file = PurePosixPath(path.lower())
    # A name like '.gitattributes' is a suffix to nobody but people.
    suffix = file.suffix or (file.name if file.name.startswith(".") else "")
    return suffix in _EXPECTED_SUFFIXES or file.name.startswith(_EXPECTED_NAMES)
