"""Models for Ollama: a Modelfile and the files that it names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from backend.domain.errors import Invalid
from backend.domain.modelfile import MAX_CHARACTERS, Modelfile, parse_modelfile
from workers.importing.names import listed, shown
from workers.importing.validation import gguf, transformers
from workers.importing.validation.card import Facts
from workers.importing.validation.files import ModelFiles, Unreadable, read_whole
from workers.importing.validation.layout import TITLE, Layout, Wanted
from workers.importing.validation.report import Outcome, Report, plain

MODELFILE = "Modelfile"
_BESIDE = "Put the file beside the Modelfile and name it as './model.gguf'."


def recognises(files: ModelFiles) -> bool:
    """A Modelfile at the top."""
    return MODELFILE in files.sizes


def check(files: ModelFiles, wanted: Wanted, report: Report) -> Facts | None:
    """The Modelfile's grammar, the files that it names, and the weights as such."""
    report.add("layout", TITLE, Outcome.PASS, "Ollama (Modelfile).")
    modelfile = _parsed(files, report)
    if modelfile is None:
        return None
    title = "Files of the Modelfile are there"
    source = _named(files, modelfile.source)
    missing = [name for name in modelfile.adapters if not _named(files, name)]
    if source is None or missing:
        report.add(
            "modelfile_files", title, Outcome.FAIL,
            f"The Modelfile names {listed(missing or [modelfile.source])}, which is not among the "
            "model's files.",
            _BESIDE,
        )  # fmt: skip
        return None
    report.add(
        "modelfile_files", title, Outcome.PASS,
        f"FROM {shown(modelfile.source)}, {len(modelfile.adapters)} adapters.",
    )  # fmt: skip
    if source == ".":
        facts = transformers.check(files, wanted, report)
    else:
        facts = gguf.check_gguf(files, [source], report)
    if facts is None:
        return None
    return replace(
        facts,
        chat_template=facts.chat_template or bool(modelfile.template),
        context_length=_context(modelfile) or facts.context_length,
        license=facts.license
        or (plain(modelfile.licenses[0], 200) if modelfile.licenses else None),
        summary=facts.summary or plain(modelfile.system),
    )


def _parsed(files: ModelFiles, report: Report) -> Modelfile | None:
    title = "Modelfile is valid"
    try:
        # A character of UTF-8 has at most four bytes.
        raw = read_whole(files, MODELFILE, limit=4 * MAX_CHARACTERS)
        modelfile = parse_modelfile(raw.decode("utf-8"))
    except Invalid as error:
        report.add("modelfile", title, Outcome.FAIL, error.detail, error.remedy)
    except UnicodeDecodeError:
        report.add(
            "modelfile", title, Outcome.FAIL, "The Modelfile is not text in UTF-8.",
            "Save it as UTF-8.",
        )  # fmt: skip
    except Unreadable as error:
        report.add("modelfile", title, Outcome.FAIL, str(error), "Shorten it.")
    else:
        set_by = len(modelfile.parameters)
        report.add(
            "modelfile", title, Outcome.PASS,
            f"{set_by} parameters, "
            + ("a template of its own." if modelfile.template else "no template of its own."),
        )  # fmt: skip
        return modelfile
    return None


def _named(files: ModelFiles, name: str) -> str | None:
    """The path that a Modelfile means, '.' for its own folder, or None where nothing is there."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        return None
    if str(path) == ".":
        return "." if any(p.endswith(".safetensors") for p in files.sizes) else None
    return str(path) if str(path) in files.sizes else None


def _context(modelfile: Modelfile) -> int | None:
    value = int(modelfile.parameters.get("num_ctx", ["0"])[0])
    return value if value > 0 else None


LAYOUT = Layout(
    "ollama",
    "Ollama",
    "Modelfile and the .gguf file that it names",
    recognises,
    check,
    own=(MODELFILE, "*.gguf"),
)
