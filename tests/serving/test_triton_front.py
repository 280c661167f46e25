"""What the front before Triton understands of requests, without a server behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from workers.serving.engines.ctranslate2_backend.decoding import Text
from workers.serving.engines.triton_front.requests import Refused, read
from workers.serving.engines.triton_front.server import pending_in


def _read(chat: bool = False, **document: Any) -> Any:
    given = {"model": "tiny", **({} if chat else {"prompt": "Hello"}), **document}
    return read(json.dumps(given).encode(), chat=chat, name="tiny")


def test_what_is_asked_is_read_as_the_openai_protocol_has_it() -> None:
    asked = _read(
        prompt=["one", "two"], n=2, stream=True, stream_options={"include_usage": True},
        temperature=0, top_p=0.5, top_k=-1, max_tokens=4, stop="end", seed=None,
    )  # fmt: skip
    assert (asked.prompts, asked.choices, asked.stream, asked.with_usage) == (
        ["one", "two"], 2, True, True,
    )  # fmt: skip
    assert asked.sampling == {
        "temperature": 0, "top_p": 0.5, "top_k": -1, "max_tokens": 4, "stop": ["end"],
    }  # fmt: skip


def test_the_newer_name_of_the_length_and_parts_of_a_message_are_known() -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    asked = _read(chat=True, messages=[{"role": "user", "content": parts}], max_completion_tokens=3)
    assert json.loads(asked.prompts[0]) == [{"role": "user", "content": "Hello"}]
    assert asked.sampling == {"max_tokens": 3}


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"model": "other"}, "model"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"stop": [1]}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"logprobs": 1}, "logprobs"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"seed": 7}, "seed"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(document: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refused:
        _read(**document)
    assert refused.value.field == field


@pytest.mark.parametrize("messages", [None, [], ["hello"], [{"content": "no role"}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]])  # fmt: skip
def test_odd_conversations_are_refused(messages: Any) -> None:
    with pytest.raises(Refused, match=r"(?i)message|text only"):
        _read(chat=True, messages=messages)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        read(body, chat=False, name="tiny")


def test_neutral_values_of_what_is_unknown_are_let_through() -> None:
    assert _read(logprobs=None, frequency_penalty=0, logit_bias={}, echo=False, best_of=1)


def _shown(pieces: list[str | None], stop: list[str]) -> tuple[list[str], str, bool]:
    text = Text(lambda token: pieces[token], stop)
    shown = [text.take(token) for token in range(len(pieces))]
    return shown, text.rest(), text.stopped


def test_text_is_held_only_while_it_may_begin_a_stop_sequence() -> None:
    assert _shown(["a", "b", "c"], []) == (["a", "b", "c"], "", False)
    assert _shown(["one ", "E", "ND", " more"], ["END"]) == (["one ", "", "", ""], "", True)
    assert _shown(["one E", "x"], ["END"]) == (["one ", "Ex"], "", False)
    assert _shown(["one EN"], ["END"]) == (["one "], "EN", False)
    assert _shown(["aXbY"], ["Y", "Xb"]) == (["a"], "", True)
    assert _shown([None, "é"], ["END"]) == (["", "é"], "", False)


def test_the_queues_of_all_models_are_counted() -> None:
    text = (
        "# HELP nv_inference_pending_request_count Instantaneous number of pending requests\n"
        'nv_inference_pending_request_count{model="a",version="1"} 2\n'
        'nv_inference_pending_request_count{model="b",version="1"} 3.000000\n'
        'nv_inference_count{model="a",version="1"} 17\n'
    )
    assert pending_in(text) == 5
    assert pending_in("") == 0
