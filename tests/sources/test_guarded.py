"""What the guarded client opens, what it refuses, and how it bears bad servers."""

from __future__ import annotations

import gzip
import socket
import threading
from ipaddress import ip_network

import pytest

from backend.infra.settings import Settings
from backend.sources.addresses import parse_networks
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.transport import Patience
from tests.sources.answering import Answer, AnsweringServer, Asked, answer, says
from tests.sources.guarding import LIMIT, client, serving

CLOSED = [
    ("http://127.0.0.1/", "'127.0.0.1' is a loopback address"),
    ("http://2130706433/", "'2130706433' leads to 127.0.0.1, a loopback address"),
    ("http://017700000001/", "leads to 127.0.0.1, a loopback address"),
    ("http://0x7f000001/", "leads to 127.0.0.1, a loopback address"),
    ("http://0x7f.1/", "leads to 127.0.0.1, a loopback address"),
    ("http://127.1/", "leads to 127.0.0.1, a loopback address"),
    ("http://0/", "leads to 0.0.0.0, an unspecified address"),
    ("http://localhost/", "'localhost' leads to"),
    ("http://169.254.169.254/latest/meta-data/", "a link-local address"),
    ("http://10.0.0.1/", "a private address"),
    ("http://172.16.0.1/", "a private address"),
    ("http://192.168.1.1/", "a private address"),
    ("http://100.64.0.1/", "a reserved address"),
    ("http://198.18.0.1/", "a private address"),
    ("http://224.0.0.1/", "a multicast address"),
    ("http://240.0.0.1/", "a private address"),
    ("http://255.255.255.255/", "a private address"),
    ("http://[::1]/", "a loopback address"),
    ("http://[::]/", "an unspecified address"),
    ("http://[fe80::1]/", "a link-local address"),
    ("http://[fd00::1]/", "a private address"),
    ("http://[ff02::1]/", "a multicast address"),
    ("http://[fec0::1]/", "a private address"),
    ("http://[::ffff:127.0.0.1]/", "a loopback address (127.0.0.1 inside)"),
    ("http://[::ffff:a9fe:a9fe]/", "a link-local address (169.254.169.254 inside)"),
    ("http://[::127.0.0.1]/", "a reserved address"),
    ("http://[64:ff9b::10.0.0.1]/", "a private address (10.0.0.1 inside)"),
    ("http://[2002:7f00:1::]/", "a loopback address (127.0.0.1 inside)"),
    ("http://127.0.0.1#@example.org/", "a loopback address"),
    ("http://127.0.0.1?@example.org/", "a loopback address"),
]


@pytest.mark.parametrize(("address", "words"), CLOSED)
def test_a_closed_address_is_refused_whatever_way_it_is_written(address: str, words: str) -> None:
    with client(ip_network("203.0.113.0/24")) as guarded, pytest.raises(FetchRefused) as refused:
        guarded.get(address, limit_bytes=LIMIT)
    assert refused.value.code == "address_closed"
    assert words in refused.value.reason
    assert "LOGGIA_FETCH_ALLOWED_NETWORKS" in refused.value.remedy


MALFORMED = [
    ("file:///etc/passwd", "scheme", "Addresses that begin with 'file:' are not opened."),
    ("gopher://example.org/1", "scheme", "'gopher:'"),
    ("ftp://example.org/model.zip", "scheme", "'ftp:'"),
    ("data:text/plain,x", "scheme", "'data:'"),
    ("example.org/models.json", "scheme", "'nothing:'"),
    ("//example.org/x", "scheme", "'nothing:'"),
    ("http://user:secret@example.org/", "credentials_in_address", "a user name or a password"),
    ("http://example.org@127.0.0.1/", "credentials_in_address", "a user name"),
    ("http://example.org\\@127.0.0.1/", "credentials_in_address", "a user name"),
    ("http:///x", "address_malformed", "names no host"),
    ("http://①②⑦.0.0.1/", "address_malformed", "is not an address"),
    ("http://example.org:99999/", "address_malformed", "no port 99999"),
    ("http://example.org/\r\nHost: x", "address_malformed", "is not an address"),
    ("http://" + "a" * 5000, "address_too_long", "5007 characters; 4096 are allowed"),
]


@pytest.mark.parametrize(("address", "code", "words"), MALFORMED)
def test_an_address_whose_form_is_wrong_is_refused(address: str, code: str, words: str) -> None:
    with client() as guarded, pytest.raises(FetchRefused) as refused:
        guarded.get(address, limit_bytes=LIMIT)
    assert refused.value.code == code
    assert words in refused.value.reason
    assert "secret" not in refused.value.reason


def test_one_closed_address_among_several_closes_the_name() -> None:
    def both(host: str, port: int) -> list[str]:
        return ["127.0.0.1", "10.0.0.7"]

    with client(resolver=both) as guarded, pytest.raises(FetchRefused, match=r"10\.0\.0\.7"):
        guarded.get("http://twofold.example/", limit_bytes=LIMIT)


def test_a_name_that_changes_between_check_and_connection_gains_nothing() -> None:
    resolved: list[list[str]] = []

    def rebinding(host: str, port: int) -> list[str]:
        resolved.append(["127.0.0.1"] if not resolved else ["127.0.0.2"])
        return resolved[-1]

    with (
        AnsweringServer(says(answer("200 OK", b"inside")), host="127.0.0.2") as inside,
        client(resolver=rebinding) as guarded,
    ):
        # The first, judged answer counts: nothing listens there. The second is judged itself.
        with pytest.raises(FetchFailed, match="cannot be reached"):
            guarded.get(f"http://rebind.example:{inside.port}/", limit_bytes=LIMIT)
        with pytest.raises(FetchRefused, match=r"leads to 127\.0\.0\.2"):
            guarded.get(f"http://rebind.example:{inside.port}/", limit_bytes=LIMIT)
        assert inside.asked == []
        assert resolved == [["127.0.0.1"], ["127.0.0.2"]]


def test_the_name_stays_in_the_host_header() -> None:
    with serving(says(answer("200 OK", b"x")), resolver=lambda *_: ["127.0.0.1"]) as (
        server,
        guarded,
    ):
        assert guarded.get(f"http://files.example:{server.port}/a", limit_bytes=LIMIT) == b"x"
        assert server.asked[0].headers["host"] == f"files.example:{server.port}"


def test_ranges_that_the_operator_allows_are_open() -> None:
    settings = Settings(_env_file=None, fetch_allowed_networks="127.0.0.1/32, fd00::/8")
    with (
        AnsweringServer(says(answer("200 OK", b"x"))) as server,
        GuardedClient.from_settings(settings) as guarded,
    ):
        assert guarded.get(server.url, limit_bytes=LIMIT) == b"x"
        assert guarded.get(f"http://[::ffff:127.0.0.1]:{server.port}/", limit_bytes=LIMIT) == b"x"
        with pytest.raises(FetchRefused):
            guarded.get("http://127.0.0.2/", limit_bytes=LIMIT)


def test_a_range_that_is_none_is_refused_when_the_settings_are_read() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        Settings(_env_file=None, fetch_allowed_networks="10.0.0.0/33")
    assert parse_networks(" , ") == ()


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(says(answer("200 OK", b"x"))) as (server, guarded):
        assert guarded.get(server.url, limit_bytes=LIMIT) == b"x"


@pytest.mark.parametrize(
    ("location", "code", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", "address_closed", "a link-local address"),
        ("http://[::ffff:169.254.169.254]/", "address_closed", "a link-local address"),
        ("http://127.0.0.2:80/", "address_closed", "a loopback address"),
        ("//10.0.0.1/x", "address_closed", "a private address"),
        ("file:///etc/passwd", "scheme", "'file:'"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "scheme", "'gopher:'"),
        ("http://me:secret@example.org/", "credentials_in_address", "a password"),
    ],
)
def test_every_redirect_is_judged_like_the_first_address(
    location: str, code: str, words: str
) -> None:
    with serving(says(answer("302 Found", location=location))) as (server, guarded):
        with pytest.raises(FetchRefused) as refused:
            guarded.get(server.url, limit_bytes=LIMIT)
        assert refused.value.code == code
        assert words in refused.value.reason


def test_a_redirect_loop_ends() -> None:
    with serving(says(answer("302 Found", location="/again"))) as (server, guarded):
        with pytest.raises(FetchRefused, match="more than 5 times"):
            guarded.get(server.url, limit_bytes=LIMIT)
        assert len(server.asked) == 6


def test_credentials_do_not_follow_to_another_host() -> None:
    with AnsweringServer(says(answer("200 OK", b"x"))) as other:
        leads = says(answer("302 Found", location=f"{other.url}/file"))
        with serving(leads) as (server, guarded):
            guarded.get(server.url, limit_bytes=LIMIT, headers={"Authorization": "Bearer s"})
            assert server.asked[0].headers["authorization"] == "Bearer s"
            assert "authorization" not in other.asked[0].headers


def test_a_compressed_answer_is_refused_unopened() -> None:
    bomb = gzip.compress(b"\0" * (50 << 20))
    with serving(says(answer("200 OK", bomb, content_encoding="gzip"))) as (server, guarded):
        with pytest.raises(FetchRefused, match="compressed with 'gzip', which was not asked for"):
            guarded.get(server.url, limit_bytes=LIMIT)
        assert server.asked[0].headers["accept-encoding"] == "identity"


def _endless(_: Asked, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"\0" * 65536)


def test_an_endless_body_ends_at_the_limit() -> None:
    with serving(_endless) as (server, guarded), pytest.raises(FetchRefused) as refused:
        guarded.get(server.url, limit_bytes=LIMIT)
    assert (refused.value.code, str(LIMIT) in refused.value.reason) == ("too_large", True)


def _dripping(head: bytes, each: bytes) -> Answer:
    def speak(_: Asked, connection: socket.socket) -> None:
        connection.sendall(head)
        pause = threading.Event()
        while not pause.wait(0.1):
            connection.sendall(each)

    return speak


@pytest.mark.parametrize(
    "speak",
    [
        _dripping(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        _dripping(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        _dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"."),
        _dripping(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        _dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b"x"),
    ],
    ids=["head", "interim answers", "body", "chunks", "promised body"],
)
def test_a_server_that_trickles_is_given_up(speak: Answer) -> None:
    with serving(speak) as (server, guarded), pytest.raises(FetchFailed) as failed:
        guarded.get(server.url, limit_bytes=LIMIT)
    assert "did not answer, or too slowly" in failed.value.reason
    assert failed.value.retryable


def test_a_silent_server_is_given_up() -> None:
    silent = threading.Event()

    def silence(*_: object) -> None:
        silent.wait(10)

    with serving(silence) as (server, guarded):
        with pytest.raises(FetchFailed, match="did not answer"):
            guarded.get(server.url, limit_bytes=LIMIT)
        silent.set()


def test_waiting_can_be_broken_off() -> None:
    silent = threading.Event()

    def silence(*_: object) -> None:
        silent.wait(10)

    class Enough(Exception):
        pass

    def check() -> None:
        if server.asked:
            raise Enough

    patient = Patience(idle_seconds=60)
    with serving(silence, check=check, patience=patient) as (
        server,
        guarded,
    ):
        with pytest.raises(Enough):
            guarded.get(server.url, limit_bytes=LIMIT)
        silent.set()


@pytest.mark.parametrize("length", ["4", "-1", "1e3", "3, 4"])
def test_a_content_length_that_lies_is_noticed(length: str) -> None:
    lies = b"HTTP/1.1 200 OK\r\ncontent-length: " + length.encode() + b"\r\n\r\nxyz"
    with serving(says(lies)) as (server, guarded), pytest.raises(FetchFailed) as failed:
        guarded.get(server.url, limit_bytes=LIMIT)
    assert "broke off" in failed.value.reason


def test_bytes_beyond_the_content_length_are_not_read() -> None:
    with serving(says(answer("200 OK", b"abc") + b"HTTP/1.1 200 OK\r\n\r\n")) as (server, guarded):
        assert guarded.get(server.url, limit_bytes=LIMIT) == b"abc"


def test_what_passes_is_tried_again_and_what_stays_is_not() -> None:
    passing = says(
        answer("503 Service Unavailable"),
        answer("429 Too Many Requests", retry_after="0"),
        answer("200 OK", b"at last"),
    )
    with serving(passing, attempts=5) as (server, guarded):
        assert guarded.get(server.url, limit_bytes=LIMIT) == b"at last"
        assert len(server.asked) == 3
    with serving(says(answer("404 Not Found")), attempts=5) as (server, guarded):
        with pytest.raises(FetchFailed, match="answered 404 Not Found for /m") as failed:
            guarded.get(server.url + "/m", limit_bytes=LIMIT)
        assert (len(server.asked), failed.value.status) == (1, 404)
    with serving(says(answer("500 Oh")), attempts=3) as (server, guarded):
        with pytest.raises(FetchFailed, match="answered 500"):
            guarded.get(server.url, limit_bytes=LIMIT)
        assert len(server.asked) == 3
