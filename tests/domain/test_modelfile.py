"""Deployment templates are checked as Modelfiles, line by line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.errors import Invalid
from backend.domain.modelfile import INSTRUCTIONS, check_template, parse

TEXT = '''# how we serve it
TEMPLATE """{{ if .System }}<|system|>
{{ .System }}{{ end }}
<|user|>{{ .Prompt }}"""
parameter stop "<|user|>"
PARAMETER temperature 0.7

SYSTEM "You are
brief."
MESSAGE user Hello
'''


def test_a_modelfile_is_read_as_it_is_written() -> None:
    found = parse(TEXT)
    assert [(each.name, each.line) for each in found] == [
        ("TEMPLATE", 2),
        ("PARAMETER", 5),
        ("PARAMETER", 6),
        ("SYSTEM", 8),
        ("MESSAGE", 10),
    ]
    assert found[0].value.endswith("<|user|>{{ .Prompt }}")
    assert found[3].value == "You are\nbrief."
    assert check_template(TEXT) == TEXT
    assert parse("FROM ./model.gguf")[0].value == "./model.gguf"
    assert check_template("") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ .Prompt }}", r"Line 1 .*'\{\{' is not an instruction"),
        ("SYSTEM hi\nDO this", r"Line 2 .*'DO' is not"),
        ('TEMPLATE """{{ .Prompt }}', "Line 1 .*has no end"),
        ('SYSTEM "a" b', "Line 1 .*'b' stands behind"),
        ("\nFROM /etc/passwd", "Line 2 .*FROM is written by Loggia"),
        ("ADAPTER ./a", "ADAPTER is written by Loggia"),
        ("PARAMETER top_k", "needs a name and a value"),
        ("MESSAGE robot hi", "begins with its role"),
        ("TEMPLATE {{ .Prompt", "without its"),
        ("SYSTEM", "says nothing"),
        ("SYSTEM " + "x" * 70_000, "at most 65536"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refusal:
        check_template(text)
    assert refusal.value.field == "template"
    assert refusal.value.remedy


PIECES = st.sampled_from([*INSTRUCTIONS, " ", "\n", '"', '"""', "{{", "}}", "x", "#", "\r", "\0"])


@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except Invalid:
        return
    assert all(each.value in text for each in found)
    assert [each.line for each in found] == sorted({each.line for each in found})
