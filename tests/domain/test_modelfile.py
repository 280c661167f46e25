"""What a Modelfile may say, and how its faults are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.errors import Invalid
from backend.domain.modelfile import MAX_CHARACTERS, Modelfile, parse_modelfile

WHOLE = '''# A comment
FROM ./tiny.gguf
parameter temperature 0.7
PARAMETER num_ctx 4096
PARAMETER stop "<|im_end|>"
PARAMETER stop [INST]
TEMPLATE """{{- if .System }}<|system|>{{ .System }}{{ end }}
{{ range .Messages }}{{ .Content }}{{ else }}nobody{{ end }}"""
SYSTEM "You are brief."
ADAPTER ./lora.gguf
LICENSE """
Do what you like.
"""
MESSAGE user Is Toronto in Canada?
MESSAGE assistant """yes
it is"""
'''


def test_every_instruction_is_understood() -> None:
    assert parse_modelfile(WHOLE) == Modelfile(
        source="./tiny.gguf",
        parameters={"temperature": ["0.7"], "num_ctx": ["4096"], "stop": ["<|im_end|>", "[INST]"]},
        template="{{- if .System }}<|system|>{{ .System }}{{ end }}\n"
        "{{ range .Messages }}{{ .Content }}{{ else }}nobody{{ end }}",
        system="You are brief.",
        adapters=["./lora.gguf"],
        licenses=["\nDo what you like.\n"],
        messages=[("user", "Is Toronto in Canada?"), ("assistant", "yes\nit is")],
    )


WRONG = {
    "": "The Modelfile has no FROM.",
    "SYSTEM x": "The Modelfile has no FROM.",
    "FROM": "Line 1 of the Modelfile: FROM has no value.",
    'FROM ""': "Line 1 of the Modelfile: FROM has no value.",
    "FROM a\nFROM b": "Line 2 of the Modelfile: FROM stands a second time.",
    "FROM a\n\nRUN rm -rf /": "Line 3 of the Modelfile: 'RUN' is no instruction.",
    "FROM a\nPARAMETER speed 9": "Line 2 of the Modelfile: the parameter 'speed' is not known.",
    "FROM a\nPARAMETER top_k many": "Line 2 of the Modelfile: the parameter top_k is 'many'.",
    "FROM a\nPARAMETER seed 1\nPARAMETER seed 2": "Line 3 of the Modelfile: the parameter seed "
    "stands a second time.",
    "FROM a\nPARAMETER": "Line 2 of the Modelfile: PARAMETER has no value.",
    "FROM a\nMESSAGE nobody hello": "Line 2 of the Modelfile: MESSAGE names no role and text.",
    'FROM a\nSYSTEM """open\nand open': 'Line 2 of the Modelfile: the text does not end with """.',
    'FROM a\nSYSTEM """x""" y': 'Line 2 of the Modelfile: something follows behind """.',
    "FROM a\nTEMPLATE {{ .Prompt": "Line 2 of the Modelfile: TEMPLATE has an action that is not "
    "closed.",
    "FROM a\nTEMPLATE {{ if .System }}": "Line 2 of the Modelfile: TEMPLATE has a 'if' without an "
    "end.",
    "FROM a\nTEMPLATE {{ end }}": "Line 2 of the Modelfile: TEMPLATE has an 'end' that closes "
    "nothing.",
    "FROM a\nTEMPLATE {{ else }}": "Line 2 of the Modelfile: TEMPLATE has an 'else' outside of any "
    "'if'.",
    "FROM a\nTEMPLATE {{ }}": "Line 2 of the Modelfile: TEMPLATE has an empty action.",
    "FROM a\0": "The Modelfile is longer than 65536 characters, or is not text.",
    "#" * (MAX_CHARACTERS + 1): "The Modelfile is longer than 65536 characters, or is not text.",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_fault_is_told_with_its_line(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_modelfile(text)
    assert refused.value.detail == WRONG[text]
    assert refused.value.remedy.endswith(".")
    assert refused.value.field == "template"


def test_a_deployment_template_needs_no_source() -> None:
    assert parse_modelfile("TEMPLATE {{ .Prompt }}", names_source=False).source == ""


@given(st.text(alphabet='FROMTEMPLATE abc{}"\n#.-if end', max_size=400))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = parse_modelfile(f"FROM a\n{text}")
    except Invalid:
        return
    assert found.source == "a"
