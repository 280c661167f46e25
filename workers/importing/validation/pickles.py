"""Pickles: refused unless somebody answers for the risk, and then scanned, never unpickled."""

from __future__ import annotations

import pickletools
import re
import sys
from io import BytesIO, StringIO
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from workers.importing.names import listed, shown
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.layout import Layout
from workers.importing.validation.report import Outcome, Report
from workers.importing.validation.sandbox import ParserFailed, examine

RISK = "pickle"
_SUFFIXES = {
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".ptl", ".npz",
}  # fmt: skip
# What may follow the protocol number of a pickle: marks, frames, containers, globals, numbers and
# text. A safetensors length that begins like a pickle is followed by none of these.
_OPCODES = frozenset(b"(})]c\x8c\x8d\x95\x8aKMJIXVUST\x8bN\x88\x89\x8f\x8ePQ\x85\x86\x87GFLCB")
# How pickles without a protocol number begin, if they import anything.
_OLD_BEGINNINGS = b"(c]}i"
_HEAD_BYTES = 1 << 16
_NAME = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
_CONVERT = "Convert the weights to safetensors and leave these files out"
_CONSENT = (
    "or, if you must and know who made them, accept the risk 'pickle' for this import and give a "
    "reason"
)
# The scanner knows none of them as harmless, though weights hold them. No other part of Python's
# own library has any business in weights: a list of bad ones would never be complete.
_HARMLESS = {
    "_codecs encode", "__builtin__ set", "__builtin__ frozenset", "__builtin__ object",
    "builtins object", "copyreg _reconstructor", "copy_reg _reconstructor", "argparse Namespace",
}  # fmt: skip
_PYTHON = sys.stdlib_module_names | {"__builtin__", "nt", "copy_reg", "commands", "distutils"}
_TITLE = "No file runs code when it is loaded"


def check_pickles(
    files: ModelFiles, layout: Layout | None, accepted: frozenset[str], report: Report
) -> None:
    """Finds pickles by name and by content. Nothing is ever unpickled to find out.

    A file that belongs to the layout may have the name of a pickle, but not its content.
    """
    found = pickles(files, layout)
    if not found:
        report.add(
            "unsafe_files", _TITLE, Outcome.PASS,
            f"{len(files.sizes)} files looked at by name and content.",
        )  # fmt: skip
        return
    first = next(iter(found))
    evidence = (
        f"{listed(found)}: pickle files can run any program when they are loaded; "
        f"{shown(first)} {found[first]}."
    )
    if RISK not in accepted:
        report.add("unsafe_files", _TITLE, Outcome.FAIL, evidence, f"{_CONVERT}, {_CONSENT}.")
        return
    report.add(
        "unsafe_files", _TITLE, Outcome.WARN, f"{evidence} The risk was accepted.", f"{_CONVERT}."
    )
    for path in found:
        _scan(files, path, report)


def pickles(files: ModelFiles, layout: Layout | None = None) -> dict[str, str]:
    """The files that are pickles or pass for them, each with what gives it away."""
    found: dict[str, str] = {}
    for path in files.sizes:
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in _SUFFIXES and not (layout and layout.owns(path)):
            found[path] = f"ends in {suffix}"
        elif suffix != ".safetensors":
            with files.open(path) as source:
                kind = disguise(source)
            if kind is not None:
                found[path] = f"is {kind} inside"
    return found


def disguise(source: BinaryIO) -> str | None:
    """What dangerous kind of file this is by its beginning, or None."""
    head = source.read(16)
    if len(head) >= 3 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] in _OPCODES:
        return "a pickle"
    if head.startswith(b"PK\x03\x04"):
        return "an archive, as PyTorch writes pickles,"
    if head.startswith(b"\x93NUMPY"):
        described = source.read(1 << 12)
        return "an array of objects, which NumPy pickles," if b"|O" in described else None
    if head[:1] in {bytes([first]) for first in _OLD_BEGINNINGS}:
        return "an old pickle" if _imports(head + source.read(_HEAD_BYTES)) else None
    return None


def _imports(head: bytes) -> bool:
    """Whether these bytes are the opcodes of a pickle that imports something and uses it."""
    imported = False
    try:
        for opcode, argument, at in pickletools.genops(BytesIO(head)):
            if opcode.name in {"GLOBAL", "INST"}:
                if not _NAME.fullmatch(str(argument)):
                    return False
                imported = True
            elif imported and opcode.name in {"REDUCE", "OBJ", "NEWOBJ", "BUILD", "STOP"}:
                return _runs(head[: at or 0] + opcode.code.encode("latin-1"))
    except Exception:  # the disassembler has no error of its own
        return False
    return False


def _runs(opcodes: bytes) -> bool:
    """Whether each of the opcodes finds on the stack what it takes; in a text, hardly one does."""
    try:
        pickletools.dis(opcodes + b".", out=StringIO())
    except ValueError as error:
        return not any(words in str(error) for words in ("tries to pop", "no MARK"))
    return True


def _scan(files: ModelFiles, path: str, report: Report) -> None:
    title = f"What {shown(path)} imports"
    try:
        with files.open(path) as source:
            result = examine("pickle", source, files.sizes[path])
    except ParserFailed as error:
        report.add(
            "pickle_scan", title, Outcome.FAIL, f"{shown(path)} cannot be scanned: {error}.",
            f"{_CONVERT}.",
        )  # fmt: skip
        return
    outcome, evidence = _judged(result)
    report.add(
        "pickle_scan", title, outcome, f"{shown(path)}: {evidence}",
        f"{_CONVERT}. What a scanner does not know can still be harmful."
        if outcome is Outcome.WARN else f"Do not load this file. {_CONVERT}.",
    )  # fmt: skip


def _judged(result: dict[str, Any]) -> tuple[Outcome, str]:
    """What the scanner's findings mean. No finding makes a pickle safe."""
    dangerous = [name for name, level in result["imports"].items() if _dangerous(name, level)]
    if dangerous:
        return Outcome.FAIL, f"it imports what can run any program: {listed(dangerous)}."
    if result["unreadable"]:
        return Outcome.FAIL, f"parts of it cannot be scanned: {listed(result['unreadable'])}."
    unknown = [name for name, level in result["imports"].items() if level != "innocuous"]
    if unknown:
        return Outcome.WARN, f"the scanner does not know {listed(unknown, most=10)}."
    return (
        Outcome.WARN,
        f"{len(result['imports'])} imports in {result['pickles']} pickles, all known from weights.",
    )


def _dangerous(name: str, level: str) -> bool:
    module, _, attribute = name.partition(" ")
    if level == "dangerous":
        return True
    if level == "innocuous" or name in _HARMLESS:
        return False
    # A path through attributes or a name between underscores reaches far more than it says.
    return module.partition(".")[0] in _PYTHON or "." in attribute or "__" in attribute
