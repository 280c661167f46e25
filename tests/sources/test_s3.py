"""S3 stores, honest and hostile: pages, limits, signatures, regions, names that change."""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config  # type: ignore[import-untyped]

from backend.sources import s3_api
from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.rows import MOST_FILES
from backend.sources.s3_api import S3Access, S3Api
from backend.sources.s3_prefix import S3Prefix
from backend.sources.transport import resolve
from backend.sources.trying import try_connection
from tests.rig.s3 import s3_store
from tests.sources.answering import AnsweringServer, Asked, answer, says

Speak = Callable[[dict[str, str], Asked], bytes]
ODD = ["a b+c%20.txt", "brüder#1.txt", "semi;colon&and=.txt", "tilde~(x)!*'.txt", "q?.txt"]


@contextmanager
def guarded(resolver: Callable[[str, int], list[str]] | None = None) -> Iterator[GuardedClient]:
    rules = AddressRules([ip_network("127.0.0.1/32")])
    few = Persistence(2, 0.01, 0.02)
    with GuardedClient(rules, persistence=few, resolver=resolver or resolve) as client:
        yield client


@contextmanager
def store(speak: Speak) -> Iterator[AnsweringServer]:
    """A store whose answers are made from the parameters of the question."""

    def reply(asked: Asked, connection: socket.socket) -> None:
        query = {name: found[-1] for name, found in parse_qs(urlsplit(asked.path).query).items()}
        connection.sendall(speak(query, asked))

    with AnsweringServer(reply) as server:
        yield server


def listing(*keys: str, more: str = "", size: object = 1) -> bytes:
    entries = "".join(f"<Contents><Key>{k}</Key><Size>{size}</Size></Contents>" for k in keys)
    truncated = "true" if more else "false"
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return answer(
        "200 OK",
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{truncated}</IsTruncated>{entries}{token}</ListBucketResult>".encode(),
    )


def error(status: str, code: str, **facts: str) -> bytes:
    said = "".join(f"<{name}>{value}</{name}>" for name, value in facts.items())
    return answer(status, f"<Error><Code>{code}</Code>{said}</Error>".encode())


def access(endpoint: str) -> S3Access:
    return S3Access(endpoint, "key", "secret")


def prefix(server: AnsweringServer, client: GuardedClient) -> S3Prefix:
    return S3Prefix("s3://bucket/models/", access(server.url), client)


def test_a_bucket_of_millions_is_read_up_to_the_limit_only() -> None:
    def endless(query: dict[str, str], _: Asked) -> bytes:
        assert query["max-keys"] == "1000"
        begin = int(query.get("continuation-token", "0"))
        keys = [f"models/{number:09}.gguf" for number in range(begin, begin + 1000)]
        return listing(*keys, more=str(begin + 1000))

    with store(endless) as server, guarded() as client:
        for ask in (prefix(server, client).files, prefix(server, client).rows):
            server.asked.clear()
            with pytest.raises(FetchRefused, match="holds more than 10000") as refused:
                ask()
            assert refused.value.remedy == "Give a longer prefix."
            assert len(server.asked) == MOST_FILES // 1000 + 1


def test_a_listing_that_never_gets_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_api, "LISTING_SECONDS", 0.5)
    pages = iter(range(10**9))
    with store(lambda *_: listing(more=str(next(pages)))) as server, guarded() as client:
        with pytest.raises(FetchFailed, match="takes longer than it may"):
            prefix(server, client).files()
        # What is asked next has its own time.
        assert client.get(f"{server.url}/other", limit_bytes=10_000)
    with store(lambda *_: listing(more="again")) as server, guarded() as client:
        with pytest.raises(FetchFailed, match="does not lead to the next"):
            prefix(server, client).files()
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><ListBucketResult/>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x><ListBucketResult/>'.encode("utf-16"),
        b"<a>" * 100,
        b"<html></html>",
        b"",
        b"\xff\xfe\x00",
        b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>-1</Size></Contents></ListBucketResult>",
        listing("%ff")
        .partition(b"\r\n\r\n")[2]
        .replace(b"<IsTruncated>", b"<EncodingType>url</EncodingType><IsTruncated>"),
    ],
)
def test_what_is_no_listing_is_refused(body: bytes) -> None:
    with (
        store(lambda *_: answer("200 OK", body)) as server,
        guarded() as client,
        pytest.raises(FetchFailed, match="does not answer as an S3 store does"),
    ):
        prefix(server, client).files()


def test_the_region_that_the_store_names_is_used() -> None:
    def elsewhere(query: dict[str, str], _: Asked) -> bytes:
        if "/eu-central-1/s3/" in query["X-Amz-Credential"]:
            return listing("models/config.json")
        return error("400 Bad Request", "AuthorizationQueryParametersError", Region="eu-central-1")

    with store(elsewhere) as server, guarded() as client:
        (file,) = prefix(server, client).files()
        assert (file.path, file.address) == ("config.json", "s3://bucket/models/config.json")
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        ("404 Not Found", "NoSuchBucket", "does not exist"),
        ("403 Forbidden", "AccessDenied", "does not let us read"),
        ("403 Forbidden", "InvalidAccessKeyId", "does not accept the connection's keys"),
        ("403 Forbidden", "SignatureDoesNotMatch", "does not accept the connection's keys"),
        ("400 Bad Request", "InvalidRequest", "refuses: InvalidRequest"),
    ],
)
def test_what_the_store_refuses_is_said_in_words(status: str, code: str, said: str) -> None:
    with store(lambda *_: error(status, code)) as server, guarded() as client:
        with pytest.raises((FetchFailed, FetchRefused), match=said) as refused:
            prefix(server, client).files()
        assert refused.value.remedy  # type: ignore[attr-defined]
        assert "Signature=" not in str(refused.value)


def test_a_store_whose_name_changes_after_the_check_gains_nothing() -> None:
    def rebinding(_host: str, _port: int) -> list[str]:
        resolved.append("127.0.0.2" if resolved else "127.0.0.1")
        return [resolved[-1]]

    asks: list[Callable[[str, GuardedClient], object]] = [
        lambda endpoint, client: S3Prefix("s3://b1/m/", access(endpoint), client).files(),
        lambda endpoint, client: S3Prefix("s3://b1/m/", access(endpoint), client).rows(),
        lambda endpoint, client: try_connection("s3", endpoint, "key:secret", client),
    ]
    resolved: list[str] = []
    with AnsweringServer(says(listing("m/config.json")), host="127.0.0.2") as inside:
        for ask in asks:
            resolved.clear()
            # The first, judged answer is connected to, where nothing listens; the next is judged.
            with guarded(rebinding) as client, pytest.raises(FetchRefused) as refused:
                ask(f"http://rebind.example:{inside.port}", client)
            assert refused.value.code == "address_closed"
            assert resolved == ["127.0.0.1", "127.0.0.2"]
        assert inside.asked == []


@pytest.mark.parametrize("key", ["models/tiny/config.json", *ODD, "a//b", "sub/"])
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9000", "https://s3.example.org"])
def test_signatures_are_those_of_the_vendors_client(
    key: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: moment)
    theirs = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
        config=Config(signature_version="s3v4"),
    ).generate_presigned_url("get_object", {"Bucket": "bucket", "Key": key}, ExpiresIn=60)
    with guarded() as client:
        ours = S3Api(access(endpoint), client).signed("bucket", key, seconds=60)
    assert urlsplit(ours)[:3] == urlsplit(theirs)[:3]
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(theirs).query)


def test_every_page_and_every_name_of_a_real_store_is_read() -> None:
    with s3_store() as real, guarded() as client:
        for number in range(1003):
            real.put(f"many/{number:04}.bin", b"12")
        for name in ODD:
            real.put(f"odd/{name}", name.encode())
        keys = S3Access(real.endpoint, real.key, real.secret)
        many = S3Prefix(f"s3://{real.bucket}/many/", keys, client).files()
        assert [file.path for file in many] == [f"{number:04}.bin" for number in range(1003)]
        odd = S3Prefix(f"s3://{real.bucket}/odd", keys, client)
        files = odd.files()
        assert [file.path for file in files] == sorted(ODD)
        for file in files:
            assert client.get(odd.signed(file.address), limit_bytes=100) == file.path.encode()


def test_an_object_is_a_file_by_itself() -> None:
    with s3_store() as real, guarded() as client:
        real.put("models/phi.gguf", b"123")
        keys = S3Access(real.endpoint, real.key, real.secret)
        for place in ("models/phi.gguf", "models"):
            found = S3Prefix(f"s3://{real.bucket}/{place}", keys, client)
            (file,) = found.files()
            assert (file.path, file.size_bytes) == ("phi.gguf", 3)
            (row,) = found.rows()
            assert (row.name, row.size_bytes) == ("phi", 3)
        with pytest.raises(FetchFailed, match="does not exist"):
            S3Prefix(f"s3://{real.bucket}/other", keys, client).rows()
        with pytest.raises(FetchFailed, match="holds no files"):
            S3Prefix(f"s3://{real.bucket}/other", keys, client).files()


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/../m.zip", "s3://bucket/a/./m.zip", "s3://key:secret@bucket/m", "s3://a:1/m"],
)
def test_addresses_that_lead_elsewhere_are_refused(address: str) -> None:
    with guarded() as client, pytest.raises(FetchRefused) as refused:
        S3Prefix(address, access("http://127.0.0.1:1"), client).signed(address)
    assert refused.value.code == "address_malformed"
