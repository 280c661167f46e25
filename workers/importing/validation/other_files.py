"""Files that run code when they are loaded, and files that nobody expects."""

from __future__ import annotations

from pathlib import PurePosixPath

from workers.importing.names import listed
from workers.importing.validation.config import CONFIG
from workers.importing.validation.files import ModelFiles, Unreadable, read_json
from workers.importing.validation.layout import Layout
from workers.importing.validation.report import Outcome, Report

_PICKLE_SUFFIXES = {
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill",
}  # fmt: skip
_EXPECTED_SUFFIXES = {
    ".safetensors", ".json", ".jsonl", ".txt", ".md", ".model", ".jinja", ".py", ".yaml", ".yml",
    ".tiktoken", ".spm", ".vocab", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".csv",
    ".gitattributes", ".gitignore",
}  # fmt: skip
_EXPECTED_NAMES = ("license", "licence", "notice", "readme", "copying", "use_policy")
# What may follow the protocol number of a pickle: marks, frames, containers, globals, numbers and
# text. A safetensors length that begins like a pickle is followed by none of these.
_PICKLE_OPCODES = frozenset(
    b"(})]c\x8c\x8d\x95\x8aKMJIXVUST\x8bN\x88\x89\x8f\x8ePQ\x85\x86\x87GFLCB"
)
_HEAD_BYTES = 16


def check_unsafe_files(files: ModelFiles, layout: Layout | None, report: Report) -> None:
    """Refuses pickles by name and by content. Nothing is ever unpickled to find out.

    A file that belongs to the layout may have the name of a pickle, but not its content.
    """
    found: dict[str, str] = {}
    for path in files.sizes:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in _PICKLE_SUFFIXES and not (layout and layout.owns(path)):
            found[path] = f"ends in {suffix}"
        elif suffix != ".safetensors":
            with files.open(path) as source:
                kind = disguise(source.read(_HEAD_BYTES))
            if kind is not None:
                found[path] = f"is {kind} inside"
    if not found:
        report.add(
            "unsafe_files",
            "No file runs code when it is loaded",
            Outcome.PASS,
            f"{len(files.sizes)} files looked at by name and content.",
        )
        return
    first = next(iter(found))
    report.add(
        "unsafe_files",
        "No file runs code when it is loaded",
        Outcome.FAIL,
        f"{listed(found)}: pickle files can run any program when they are loaded; "
        f"'{first}' {found[first]}.",
        "Convert the weights to safetensors, leave these files out, and pack the model again.",
    )


def disguise(head: bytes) -> str | None:
    """What dangerous kind of file begins with these bytes, or None."""
    if len(head) >= 3 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] in _PICKLE_OPCODES:
        return "a pickle"
    if head.startswith(b"PK\x03\x04"):
        return "an archive, as PyTorch writes pickles,"
    return None


def check_custom_code(files: ModelFiles, report: Report) -> None:
    """Names code that comes with the model. It is stored but never run."""
    scripts = [path for path in files.sizes if path.lower().endswith(".py")]
    try:
        config = read_json(files, CONFIG) if CONFIG in files.sizes else {}
    except Unreadable:
        config = {}
    mapped = sorted(config.get("auto_map") or {})
    if not scripts and not mapped:
        report.add(
            "custom_code", "No code of its own", Outcome.PASS, "No Python files, no auto_map."
        )
        return
    evidence = []
    if scripts:
        evidence.append(f"Python files: {listed(scripts)}.")
    if mapped:
        evidence.append(f"config.json maps {listed(map(str, mapped))} to code of the model.")
    report.add(
        "custom_code",
        "No code of its own",
        Outcome.WARN,
        " ".join(evidence),
        "Loggia never runs a model's own code (trust_remote_code stays off). The model works only "
        "if the engine knows its architecture.",
    )


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
