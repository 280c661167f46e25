"""The gateway's small parts: bodies, streams, rate limits and playground tokens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backend.gateway.payload import Payload
from backend.gateway.rate_limits import RateLimits
from backend.gateway.streams import EventStream
from backend.infra.playground_tokens import InvalidToken, PlaygroundTokens

MODEL = UUID("00000000-0000-4000-8000-000000000001")
DEFAULTS = {"temperature": b"0.5", "max_tokens": b"16", "stop": b'["a"]'}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["temperature", "max_tokens", "max_completion_tokens", "stop", "user", "é"])


@given(
    st.dictionaries(NAMES, JSON, max_size=5),
    st.sampled_from(["", " ", "\n\t"]),
    st.booleans(),
)
@example({"temperature": None, "max_completion_tokens": None}, " ", True)
def test_defaults_are_added_and_nothing_else_changes(
    fields: dict[str, object], space: str, model_first: bool
) -> None:
    model = {"model": "tiny"}
    request = {**model, **fields} if model_first else {**fields, **model}
    body = space + json.dumps(request, indent=len(space) or None) + space
    payload = Payload(body.encode())
    completed = json.loads(payload.completed(payload.left_out(dict(DEFAULTS))))
    longest = fields.get("max_completion_tokens") is not None
    for name, value in DEFAULTS.items():
        if fields.get(name) is not None:
            assert completed[name] == fields[name]
        elif name == "max_tokens" and longest:
            assert completed.get(name) is None
        else:
            assert completed[name] == json.loads(value)
    untouched = request.keys() - DEFAULTS.keys()
    assert {name: completed[name] for name in untouched} == {n: request[n] for n in untouched}
    assert completed.keys() <= request.keys() | DEFAULTS.keys()


def test_a_conversation_begins_the_same_in_all_its_turns_and_differs_from_others() -> None:
    def beginning(*contents: object, system: bool = True) -> bytes:
        roles = ("user", "assistant")
        turns = [{"role": roles[n % 2], "content": c} for n, c in enumerate(contents)]
        head = [{"role": "system", "content": "Be kind."}] if system else []
        return Payload(json.dumps({"model": "m", "messages": head + turns}).encode()).beginning

    assert beginning("a") == beginning("a", "b", "c") != b""
    assert beginning("a") != beginning("b")
    assert beginning("a") != beginning("a", system=False)
    prompts = [{"model": "m", "prompt": "x" * 5000 + end} for end in "ab"]
    assert len({Payload(json.dumps(prompt).encode()).beginning for prompt in prompts}) == 1


@pytest.mark.parametrize("messages", ["none", None, 7, [1, "two"], {"role": "user"}, []])
def test_a_request_that_is_no_conversation_has_no_beginning_and_no_error(messages: object) -> None:
    assert Payload(json.dumps({"model": "m", "messages": messages}).encode()).beginning is not None


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), max_size=8),
    st.sampled_from([b"\n\n", b"\r\n\r\n"]),
    st.data(),
)
def test_a_stream_cut_anywhere_passes_whole_events_and_loses_nothing(
    texts: list[str], end: bytes, data: st.DataObject
) -> None:
    sent = b"".join(b"data: " + json.dumps({"t": t}).encode() + end for t in texts)
    sent += b"data: [DONE]" + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=12)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    stream = EventStream()
    passed = [out for piece in pieces if (out := stream.feed(piece))]
    assert b"".join(passed) == sent
    assert all(out.endswith(end) for out in passed)
    assert stream.complete
    assert stream.chunks == len(texts)


def test_an_event_is_passed_on_as_soon_as_it_is_complete() -> None:
    stream = EventStream()
    assert stream.feed(b"data: {1}\n\ndata: {") == b"data: {1}\n\n"
    assert stream.feed(b"2}\n") == b""
    assert stream.feed(b"\n") == b"data: {2}\n\n"
    assert not stream.complete


def test_an_endless_event_is_not_kept() -> None:
    stream = EventStream()
    passed = sum(len(stream.feed(b"x" * 65_536)) for _ in range(64))
    assert passed >= 2 * 1024**2


def test_the_usage_of_a_stream_is_its_last_report() -> None:
    stream = EventStream()
    stream.feed(b'data: {"usage": null}\n\n')
    stream.feed(
        b'data: {"usage": {"prompt_tokens": 3, "completion_tokens": 5}}\n\ndata: [DONE]\n\n'
    )
    assert stream.usage is not None
    assert (stream.usage.prompt_tokens, stream.usage.completion_tokens) == (3, 5)


@given(
    st.integers(1, 1_000_000),
    st.lists(st.floats(0, 30), min_size=1, max_size=60),
)
def test_a_bucket_never_gives_more_than_its_rate(limit: int, pauses: list[float]) -> None:
    limits = RateLimits()
    now, taken = 1_000.0, 0
    for pause in pauses:
        now += pause
        wait = limits.take(0, limit, now)
        taken += wait == 0
        if wait:
            assert limits.take(0, limit, now + wait) == 0
            taken += 1
            now += wait
        assert taken <= limit + (now - 1_000.0) * limit / 60 + 1e-3


def test_a_bucket_refills_and_keys_do_not_share() -> None:
    limits = RateLimits()
    assert [limits.take(7, 2, 100.0) for _ in range(3)] == [0, 0, 30]
    assert limits.take(8, 2, 100.0) == 0
    assert limits.take(7, 2, 129.0) == 1
    assert limits.take(7, 2, 130.0) == 0


@given(st.uuids(), st.integers(0, 2**40))
def test_a_token_names_its_model_until_its_end(model_id: UUID, end: int) -> None:
    tokens = PlaygroundTokens(b"secret")
    token = tokens.sign(model_id, end)
    assert tokens.verify(token, end - 1) == model_id
    with pytest.raises(InvalidToken, match="expired"):
        tokens.verify(token, end)


@given(st.binary(max_size=80))
def test_no_other_bytes_are_a_token(noise: bytes) -> None:
    tokens = PlaygroundTokens(b"secret")
    for text in (noise.decode("latin-1"), "lgs_" + noise.hex(), "lgs_" + noise.decode("latin-1")):
        with pytest.raises(InvalidToken, match="not a playground token"):
            tokens.verify(text, 0)


@given(st.integers(0, 55), st.integers(1, 255))
def test_a_changed_token_is_refused(place: int, change: int) -> None:
    tokens = PlaygroundTokens(b"secret")
    raw = bytearray(urlsafe_b64decode(tokens.sign(MODEL, 10)[4:] + "="))
    raw[place] ^= change
    with pytest.raises(InvalidToken):
        tokens.verify("lgs_" + urlsafe_b64encode(bytes(raw)).decode().rstrip("="), 0)


def test_another_secret_signs_other_tokens() -> None:
    token = PlaygroundTokens(b"one").sign(MODEL, 10)
    with pytest.raises(InvalidToken):
        PlaygroundTokens(b"two").verify(token, 0)
