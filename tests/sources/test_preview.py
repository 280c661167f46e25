"""What an address offers, from every kind of list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network

import pytest

from backend.domain.errors import Invalid
from backend.sources.addresses import AddressRules
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.html_index import directory
from backend.sources.preview import Preview, preview, s3_access
from backend.sources.s3_prefix import S3Prefix
from tests.rig.hub import Hub as HubServer
from tests.rig.s3 import s3_store
from tests.sources.answering import AnsweringServer, Asked, answer


@dataclass
class Connection:
    kind: str
    endpoint: str
    secret: str


Pages = dict[str, tuple[str, bytes]]


def a_client() -> GuardedClient:
    rules = AddressRules([ip_network("127.0.0.0/8")])
    return GuardedClient(rules, persistence=Persistence(attempts=1))


@contextmanager
def pages(contents: Pages) -> Iterator[AnsweringServer]:
    def speak(asked: Asked, connection: object) -> None:
        path = asked.path.split("?")[0]
        if path in contents:
            kind, body = contents[path]
            connection.sendall(answer("200 OK", body, content_type=kind))  # type: ignore[attr-defined]
        else:
            connection.sendall(answer("404 Not Found"))  # type: ignore[attr-defined]

    with AnsweringServer(speak) as server:
        yield server


def shown(body: bytes, kind: str = "text/plain", path: str = "/lists/models") -> Preview:
    with pages({path: (kind, body)}) as server, a_client() as client:
        found = preview(server.url + path, client)
        port = str(server.port)
    assert found.manifest == body
    assert found.manifest_sha256 == hashlib.sha256(body).hexdigest()
    for row in found.rows:
        object.__setattr__(row, "address", row.address.replace(port, "PORT"))
    return found


def test_a_json_manifest_with_everything_it_may_say() -> None:
    digest = "ab" * 32
    manifest = {
        "title": "Our models",
        "models": [
            {
                "name": "tiny",
                "address": "tiny.zip",
                "sizeBytes": 10,
                "sha256": digest,
                "description": "A tiny one.",
            },
            {
                "name": "parts",
                "files": [
                    {"path": "config.json", "address": "/p/config.json", "size_bytes": 3},
                    {"address": "https://example.org/p/model.safetensors", "size_bytes": 4},
                ],
            },
            {"name": "lora", "kind": "adapter", "base_model": "tiny", "address": "lora.zip"},
            "https://example.org/Qwen2.5-7B.tar.gz",
        ],
    }
    found = shown(json.dumps(manifest).encode())
    assert (found.format, found.title) == ("json", "Our models")
    tiny, parts, lora, bare = found.rows
    assert [row.problem for row in found.rows] == [None] * 4
    assert tiny.address == "http://127.0.0.1:PORT/lists/tiny.zip"
    assert (tiny.size_bytes, tiny.files[0].sha256, tiny.description) == (10, digest, "A tiny one.")
    assert [file.path for file in parts.files] == ["config.json", "model.safetensors"]
    assert parts.size_bytes == 7
    assert (lora.kind, lora.base_model) == ("adapter", "tiny")
    assert bare.name == "Qwen2_5-7B"
    assert bare.origin("ours") == {
        "url": {"address": bare.address, "connection": "ours", "files": []}
    }


def test_yaml_csv_and_plain_lists_say_the_same() -> None:
    yaml = b"title: T\nmodels:\n  - name: one\n    address: one.zip\n  - two.gguf\n"
    table = b"name;address;size_bytes;kind\none;one.zip;;\n;two.gguf;77;base\n"
    lines = b"# ours\n\none.zip\n  two.gguf\n"
    for body, kind, form in [
        (yaml, "application/yaml", "yaml"),
        (table, "text/csv", "csv"),
        (lines, "text/plain", "list"),
        (yaml, "text/plain", "yaml"),
        (table, "text/plain", "csv"),
    ]:
        found = shown(body, kind)
        assert found.format == form
        assert [(row.name, row.address, row.problem) for row in found.rows] == [
            ("one", "http://127.0.0.1:PORT/lists/one.zip", None),
            ("two", "http://127.0.0.1:PORT/lists/two.gguf", None),
        ]


def test_a_bad_row_says_what_is_wrong_and_spoils_no_other() -> None:
    bad = [
        ({"name": "a", "address": "file:///etc/passwd"}, "'file:' are not opened"),
        ({"name": "a", "address": "http://me:pw@example.org/x"}, "a user name or a password"),
        ({"name": "b c", "address": "x.zip"}, "contains a space"),
        ({"name": "d", "address": "x.zip", "kind": "lora"}, "'lora' is unknown"),
        ({"name": "d", "address": "x.zip", "kind": ["base"]}, "is unknown"),
        ({"name": "e", "address": "x.zip", "size_bytes": -1}, "'-1' is not a size"),
        ({"name": "e", "address": "x.zip", "size_bytes": True}, "is not a size"),
        ({"name": "f", "address": "x.zip", "sha256": "abc"}, "is not a SHA-256"),
        ({"name": "g"}, "neither an address nor files"),
        ({"name": "h", "files": ["a/x", "b/x"]}, "'x' is listed twice"),
        ({"name": "h", "files": "x"}, "is not a list"),
        ({"name": "i", "kind": "adapter", "address": "x.zip"}, "names its base model"),
        ({"name": "j", "address": {"a": 1}}, "is not a text"),
        (7, "is not an object"),
        ({"name": "Good", "address": "y.zip"}, "more than once"),
    ]
    models = [{"name": "good", "address": "x.zip"}, *(row for row, _ in bad)]
    found = shown(json.dumps(models).encode())
    assert found.rows[0].problem is None
    for row, (_, words) in zip(found.rows[1:], bad, strict=True):
        assert row.problem is not None, row
        assert words in row.problem


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nmodels: [*b, *b]\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "cannot be read as JSON"),
        (b'{"models": 3}', "holds no list of models"),
        (b"[" * 100_000, "nests too deeply"),
        (b'{"models": [' + b"1" * 5000 + b"]}", "cannot be read as JSON"),
        (b"---\n" + BOMB.encode(), "aliases"),
        (b"---\n" + b"[" * 100_000, "nests too deeply"),
        (b"---\n!!python/object/apply:os.system ['true']\n", "cannot be read as YAML"),
        (b'name,size,address\n"x', "line"),
        (b"http://example.org/\xff", "not encoded as UTF-8"),
        (b"", "Nothing that could be imported"),
        (b"[]", "Nothing that could be imported"),
        (b"\n".join(b"m%d.zip" % n for n in range(10_001)), "more than 10000 models"),
    ],
)
def test_a_list_that_cannot_be_read_says_why(body: bytes, words: str) -> None:
    with pytest.raises(FetchRefused) as refused:
        shown(body)
    assert words in refused.value.reason
    assert refused.value.remedy


def test_a_list_of_thousands_is_read() -> None:
    models = [{"name": f"m{n}", "address": f"m{n}.zip"} for n in range(10_000)]
    assert len(shown(json.dumps(models).encode()).rows) == 10_000


NGINX = b"""<html><head><title>Index of /models/</title></head><body><h1>Index of /models/</h1><hr>
<pre><a href="../">../</a>
<a href="Tiny%20Llama/">Tiny Llama/</a>          21-Nov-2025 07:00       -
<a href="phi.tar.gz">phi.tar.gz</a>              21-Nov-2025 07:00     12345
<a href="README.md">README.md</a>                21-Nov-2025 07:00        10
<a href="model.gguf">model.gguf</a>
</pre><hr></body></html>"""
APACHE = b"""<!DOCTYPE HTML><html><body><table><tr><th><a href="?C=N;O=D">Name</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td></tr>
<tr><td><a href="/models/Tiny%20Llama/">Tiny Llama/</a></td></tr>
<tr><td><a href="phi.tar.gz">phi.tar.gz</a></td></tr>
<tr><td><a href="http://elsewhere.example/x.zip">x</a></td></tr>
<tr><td><a href="javascript:alert(1)">x</a><a href="//evil.example/y.zip">y</a></td></tr>
<tr><td><a href="deep/er.zip">z</a><a href="..%2fup.zip">z</a></td></tr>
<tr><td><a href="model.gguf">model.gguf</a></td></tr></table></body></html>"""


@pytest.mark.parametrize("page", [NGINX, APACHE])
def test_a_directory_index_lists_folders_and_model_files(page: bytes) -> None:
    found = shown(page, "text/html", "/models/")
    assert found.format == "html"
    assert [(row.name, row.address.split("PORT")[1]) for row in found.rows] == [
        ("Tiny-Llama", "/models/Tiny%20Llama/"),
        ("phi", "/models/phi.tar.gz"),
        ("model", "/models/model.gguf"),
    ]


def _index(*names: str) -> tuple[str, bytes]:
    return "text/html", "".join(f'<a href="{name}">{name}</a>' for name in names).encode()


def test_an_index_that_is_a_models_own_folder_is_one_model() -> None:
    found = shown(_index("config.json", "model.safetensors", "onnx/")[1], path="/models/tiny/")
    assert [row.name for row in found.rows] == ["tiny"]


def test_the_files_below_an_index_are_found() -> None:
    tree = {
        "/tiny/": _index("../", "config.json", "onnx/"),
        "/tiny/onnx/": _index("../", "model.onnx"),
    }
    with pages(tree) as server, a_client() as client:
        files = directory(f"{server.url}/tiny/", client)
    assert [(file.path, file.address.removeprefix(server.url)) for file in files] == [
        ("config.json", "/tiny/config.json"),
        ("onnx/model.onnx", "/tiny/onnx/model.onnx"),
    ]


def test_an_index_without_end_is_given_up() -> None:
    def speak(_: Asked, connection: object) -> None:
        kind, body = _index("deeper/")
        connection.sendall(answer("200 OK", body, content_type=kind))  # type: ignore[attr-defined]

    with AnsweringServer(speak) as server, a_client() as client:
        with pytest.raises(FetchRefused, match="folders"):
            directory(f"{server.url}/", client)
        assert len(server.asked) < 20


def test_an_address_that_does_not_answer_says_so() -> None:
    with pages({}) as server, a_client() as client, pytest.raises(FetchFailed, match="404"):
        preview(f"{server.url}/no", client)


def test_an_organisation_and_a_collection_of_a_hub_are_lists() -> None:
    connection = Connection("huggingface", "", "hf_good")
    with HubServer() as hub, a_client() as client:
        hub.tokens = {"hf_good": "ana"}
        hub.add("acme/tiny.1", {"config.json": b"{}"})
        hub.add("acme/other", {"config.json": b"{}"})
        connection.endpoint = hub.endpoint
        found = preview(f"{hub.endpoint}/acme", client, connection)
    assert found.format == "huggingface"
    assert {(row.name, row.address) for row in found.rows} == {
        ("tiny_1", "acme/tiny.1"),
        ("other", "acme/other"),
    }
    assert found.rows[0].origin("hub")["huggingface"]["connection"] == "hub"
    assert json.loads(found.manifest)["models"]


def test_an_s3_prefix_is_a_list_of_models() -> None:
    with s3_store() as store, a_client() as client:
        store.put("models/tiny/config.json", b"{}")
        store.put("models/tiny/sub/model.safetensors", b"12345")
        store.put("models/phi.gguf", b"123")
        store.put("models/notes.txt", b"")
        connection = Connection("s3", store.endpoint, f"{store.key}:{store.secret}")
        found = preview(f"s3://{store.bucket}/models/", client, connection)
        assert [(row.name, row.address, row.size_bytes) for row in found.rows] == [
            ("phi", f"s3://{store.bucket}/models/phi.gguf", 3),
            ("tiny", f"s3://{store.bucket}/models/tiny/", None),
        ]
        with pytest.raises(FetchFailed, match="does not exist"):
            preview("s3://nowhere/models/", client, connection)
        prefix = S3Prefix(f"s3://{store.bucket}/models/tiny/", s3_access(connection), client)
        files = prefix.files()
        assert [(file.path, file.size_bytes) for file in files] == [
            ("config.json", 2),
            ("sub/model.safetensors", 5),
        ]
        assert client.get(prefix.signed(files[1].address), limit_bytes=10) == b"12345"


def test_an_s3_endpoint_is_judged_like_any_address() -> None:
    with a_client() as client:
        connection = Connection("s3", "http://169.254.169.254", "a:b")
        with pytest.raises(FetchRefused, match="a link-local address"):
            preview("s3://bucket/models/", client, connection)


def test_rows_with_secrets_in_their_addresses_say_so_and_keep_none_of_them() -> None:
    listed = {
        "models": [
            {"name": "signed", "address": "/m.zip?X-Amz-Signature=abc"},
            {"name": "named", "address": "https://ana:abc@example.org/m.zip"},
            {"name": "store", "address": "s3://key:abc@bucket/m/"},
            {"name": "parts", "files": [{"path": "a", "address": "/a?token=abc"}]},
            {"name": "sound", "address": "/sound.zip?download=1"},
        ]
    }
    found = shown(json.dumps(listed).encode())
    problems = {row.name: row.problem for row in found.rows}
    assert problems.pop("sound") is None
    assert all(each and "for everybody to read" in each for each in problems.values())
    assert all(each and "Save" in each for name, each in problems.items() if name != "named")
    assert not any("abc" in repr(row) for row in found.rows)


def test_the_address_of_a_list_carries_no_secret() -> None:
    with a_client() as client, pytest.raises(Invalid, match="for everybody to read"):
        preview("https://example.org/list?sig=abc", client)


def test_a_connection_is_shown_only_to_its_own_host() -> None:
    with pages({"/models/list.txt": ("text/plain", b"one.zip")}) as server, a_client() as client:
        connection = Connection("http", f"{server.url}/models", "token")
        preview(f"{server.url}/models/list.txt", client, connection)
        assert server.asked[0].headers["authorization"] == "Bearer token"
        for other in (f"{server.url}/elsewhere", "http://127.0.0.2/models/list.txt"):
            with pytest.raises(FetchRefused, match="lies elsewhere"):
                preview(other, client, connection)
