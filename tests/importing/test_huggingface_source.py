"""Imports from a hub, read through the real client from a test hub of our own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from backend.sources.addresses import AddressRules
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub
from tests.rig.hub import Hub as HubServer
from tests.rig.waiting import eventually
from workers.importing.refusals import ImportRefused
from workers.importing.sources.huggingface import HuggingFaceSource

FILES = {
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "config.json": b"{}",
    "model.safetensors": os.urandom(3_000_000),
    "pytorch_model.bin": b"pickle",
}

# Reads one file into another from where that one ends, as a worker does after it was killed.
_READER = """
import sys
from ipaddress import ip_network
from pathlib import Path
from backend.sources.addresses import AddressRules
from backend.sources.guarded import GuardedClient
from backend.sources.hub import Hub
from workers.importing.sources.huggingface import HuggingFaceSource

endpoint, commit, target = sys.argv[1:]
with GuardedClient(AddressRules([ip_network("127.0.0.1/32")])) as client:
    with Hub(endpoint, None, client) as hub:
        source = HuggingFaceSource(hub, "acme/tiny", "main", [], commit=commit or None)
        file = next(f for f in source.files() if f.path == "model.safetensors")
        with Path(target).open("ab", buffering=0) as sink:
            for chunk in file.chunks(sink.tell()):
                sink.write(chunk)
"""


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as hub:
        hub.add("acme/tiny", FILES)
        yield hub


@pytest.fixture
def hub(server: HubServer) -> Iterator[Hub]:
    with (
        GuardedClient(AddressRules([ip_network("127.0.0.1/32")])) as client,
        Hub(server.endpoint, None, client) as opened,
    ):
        yield opened


def source(hub: Hub, *patterns: str, **options: Any) -> HuggingFaceSource:
    return HuggingFaceSource(hub, "acme/tiny", "main", patterns, **options)


def test_the_recommended_weights_come_with_what_belongs_to_them(
    server: HubServer, hub: Hub
) -> None:
    opened = source(hub)
    assert {file.path for file in opened.files()} == {"config.json", "model.safetensors"}
    assert opened.resolved == {
        "repository": "acme/tiny",
        "revision": server.repositories["acme/tiny"].commit,
    }
    for file in opened.files():
        assert b"".join(file.chunks()) == FILES[file.path]


def test_other_weights_can_be_chosen(hub: Hub) -> None:
    paths = {file.path for file in source(hub, "pytorch").files()}
    assert paths == {"config.json", "pytorch_model.bin"}
    with pytest.raises(ImportRefused) as refusal:
        source(hub, "gguf")
    assert "no weights that fit 'gguf'" in refusal.value.reason
    assert "'safetensors', 'pytorch'" in refusal.value.remedy


def test_several_quantisations_are_a_persons_choice(server: HubServer, hub: Hub) -> None:
    server.repositories["acme/tiny"].files = {"m.Q4_0.gguf": b"4", "m.Q8_0.gguf": b"8"}
    with pytest.raises(ImportRefused) as refusal:
        source(hub)
    assert refusal.value.code == "weights_not_chosen"
    assert "'gguf:m.Q4_0'" in refusal.value.remedy
    assert [file.path for file in source(hub, "gguf:m.Q8_0").files()] == ["m.Q8_0.gguf"]


def test_a_killed_reader_goes_on_where_it_stopped(server: HubServer, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    commit = server.repositories["acme/tiny"].commit
    reading: list[subprocess.Popen[bytes]] = []

    def kill_in_the_middle(path: str, start: int) -> None:
        if start >= 1_500_000 and len(reading) == 1 and reading[0].poll() is None:
            eventually(lambda: target.exists() and target.stat().st_size, "bytes arrived")
            reading[0].send_signal(signal.SIGKILL)
            reading[0].wait(timeout=20)

    server.on_chunk = kill_in_the_middle
    for attempt in ("", commit):
        command = [sys.executable, "-c", _READER, server.endpoint, attempt, str(target)]
        reading.append(subprocess.Popen(command))
        reading[-1].wait(timeout=60)
        if not attempt:
            assert reading[0].returncode == -signal.SIGKILL
            held = target.stat().st_size
            assert 0 < held < len(FILES["model.safetensors"])
    assert reading[1].returncode == 0
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert digest == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    offsets = {seen.offset for seen in server.seen if seen.path.endswith("model.safetensors")}
    assert offsets == {0, held}
