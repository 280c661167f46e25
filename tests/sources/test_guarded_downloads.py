"""Downloads of the guarded client: continued where they broke off, and never mixed."""

from __future__ import annotations

import socket

import pytest

from backend.sources.errors import ContentChanged, FetchFailed, FetchRefused
from tests.sources.answering import Answer, Asked, answer, file_server, says
from tests.sources.guarding import serving

DATA = bytes(range(256)) * 4096


def test_a_download_that_breaks_off_goes_on_where_it_was() -> None:
    with serving(file_server(DATA, cut_after=[300_000, 0, 400_000]), attempts=4) as (
        server,
        guarded,
    ):
        with guarded.stream(server.url) as body:
            assert body.size == len(DATA)
            assert b"".join(body.chunks) == DATA
        begins = [asked.headers.get("range") for asked in server.asked]
        assert begins[:2] == [None, "bytes=300000-"]
        assert begins[-1] == "bytes=700000-"
        assert {asked.headers.get("if-range") for asked in server.asked[1:]} == {'"v1"'}


def test_a_download_begins_where_an_earlier_one_ended() -> None:
    with serving(file_server(DATA, cut_after=[])) as (server, guarded):
        with guarded.stream(server.url, offset=1000, validator='"v1"') as body:
            assert b"".join(body.chunks) == DATA[1000:]
        with (
            pytest.raises(ContentChanged),
            guarded.stream(server.url, offset=1000, validator='"v0"'),
        ):
            pass


def test_a_server_without_ranges_is_read_again_from_the_start() -> None:
    def speak(_: Asked, connection: socket.socket) -> None:
        whole = answer("200 OK", DATA, etag='"v1"')
        connection.sendall(whole if len(server.asked) > 1 else whole[:500_000])

    with serving(speak, attempts=3) as (server, guarded), guarded.stream(server.url) as body:
        assert b"".join(body.chunks) == DATA


def test_a_file_that_changes_while_it_is_read_is_never_mixed() -> None:
    first = answer("200 OK", DATA, etag='"v1"')[:400_000]
    second = answer("200 OK", DATA[::-1], etag='"v2"')
    with (
        serving(says(first, second), attempts=3) as (server, guarded),
        guarded.stream(server.url) as body,
        pytest.raises(ContentChanged, match="changed while it was being read"),
    ):
        b"".join(body.chunks)


def test_a_download_that_cannot_be_identified_is_not_continued() -> None:
    with (
        serving(file_server(DATA, cut_after=[1000], etag=None), attempts=3) as (server, guarded),
        guarded.stream(server.url) as body,
        pytest.raises(FetchFailed) as failed,
    ):
        b"".join(body.chunks)
    assert failed.value.retryable
    assert len(server.asked) == 1


def test_another_part_than_was_asked_for_is_refused() -> None:
    wrong = answer("206 Partial Content", b"x", content_range="bytes 0-0/1", etag='"v1"')
    with serving(says(answer("200 OK", DATA, etag='"v1"')[:9000], wrong), attempts=2) as (
        server,
        guarded,
    ):
        with guarded.stream(server.url) as body, pytest.raises(FetchFailed, match="another part"):
            b"".join(body.chunks)
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    "speak",
    [
        says(answer("302 Found", location="/again?X-Amz-Signature=abc")),
        says(answer("403 Forbidden")),
        says(answer("200 OK", DATA, etag='"v1"')[:9000], answer("200 OK", DATA, etag='"v2"')),
        says(
            answer("200 OK", DATA, etag='"v1"')[:9000],
            answer("206 Partial Content", b"x", content_range="bytes 0-0/1", etag='"v1"'),
        ),
        says(answer("200 OK", DATA, etag='"v1"')[:9000]),
        says(b""),
    ],
    ids=["loop", "refused", "changed", "other-part", "torn", "silent"],
)
def test_what_is_said_of_a_signed_address_repeats_no_signature(speak: Answer) -> None:
    with (
        serving(speak, attempts=2) as (server, guarded),
        pytest.raises((FetchRefused, FetchFailed)) as failed,
        guarded.stream(f"{server.url}/m.zip?X-Amz-Signature=abc") as body,
    ):
        b"".join(body.chunks)
    assert "abc" not in f"{failed.value} {vars(failed.value)}"
