"""Models for Ollama: a Modelfile beside what it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.models import tiny_llama
from tests.importing.formats.made import gguf_model
from tests.importing.memory import MemoryFiles
from workers.importing.validation import validate

Files = dict[str, bytes]


def with_modelfile(folder: Path, text: str) -> Files:
    return {**gguf_model(folder), "Modelfile": text.encode("utf-8", "surrogateescape")}


def test_a_modelfile_beside_its_weights_becomes_a_card(tmp_path: Path) -> None:
    text = 'FROM ./tiny.gguf\nPARAMETER num_ctx 128\nTEMPLATE """{{ .Prompt }}"""\nSYSTEM Be brief.'
    result = validate(MemoryFiles(with_modelfile(tmp_path, text)))
    assert result.report.failures == []
    assert result.card is not None
    assert result.card["format"] == "ollama"
    assert result.card["architecture"] == "llama"
    assert result.card["context_length"] == 128
    assert result.card["chat_template"]


def test_a_folder_of_safetensors_may_be_the_source() -> None:
    result = validate(MemoryFiles({**tiny_llama(), "Modelfile": b"FROM ."}))
    assert result.report.failures == []
    assert result.card is not None
    assert (result.card["format"], result.card["weight_format"]) == ("ollama", "safetensors")


@pytest.mark.parametrize(
    ("text", "check", "words"),
    [
        ("FRUM x", "modelfile", "Line 1 of the Modelfile: 'FRUM' is no instruction."),
        ("FROM llama3.2", "modelfile_files", "The Modelfile names 'llama3.2', which is not among"),
        ("FROM /etc/passwd", "modelfile_files", "The Modelfile names '/etc/passwd'"),
        ("FROM ../tiny.gguf", "modelfile_files", "The Modelfile names '../tiny.gguf'"),
        ("FROM .", "modelfile_files", "The Modelfile names '.'"),
        ("FROM ./tiny.gguf\nADAPTER ./gone.gguf", "modelfile_files", "'./gone.gguf', which is not"),
        ("FROM ./Modelfile", "weights", "'Modelfile' does not begin with a GGUF header."),
        ("\udcff", "modelfile", "not text in UTF-8"),
        ("#" * 300_000, "modelfile", "files of this kind have at most"),
    ],
)
def test_a_wrong_modelfile_says_what_is_wrong(
    text: str, check: str, words: str, tmp_path: Path
) -> None:
    result = validate(MemoryFiles(with_modelfile(tmp_path, text)))
    assert result.card is None
    failure = next(found for found in result.report.failures if found.id == check)
    assert words in failure.evidence
    assert failure.hint.endswith(".")
