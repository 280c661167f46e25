"""What people do wrong and what attackers try, on the running platform.

Everybody is told what is wrong and what to do, and nothing of it stays.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import openai
import psycopg
import pytest

from tests.builders.models import config, sharded, tiny_llama
from tests.importing.hostile import Member, archive, named, zeros
from tests.journeys.archives import tiny_llama_archive, zipped
from tests.rig.client import Administrator
from tests.rig.platform import RunningPlatform
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

QUOTA = 8 * 1024**2
TUS = {"Tus-Resumable": "1.0.0"}
ROWS = {
    "uploads": "SELECT id::text FROM loggia.uploads",
    "names": "SELECT name_key FROM loggia.model_names",
    "unfinished jobs": "SELECT id::text FROM loggia.jobs WHERE state IN ('queued', 'running')",
    "jobs with files": "SELECT id::text FROM loggia.jobs WHERE journal -> 'files' <> '{}' "
    "OR journal ->> 'manifest' IS NOT NULL",
}
# Of the running processes, not of the models.
NOT_THE_MODELS = {"postgres", "logs", "run"}
SAVE_AGAIN = (
    "Save the weights again with the safetensors library (for example model.save_pretrained of "
    "transformers) and pack the model again."
)


@dataclass(frozen=True)
class Bad:
    """An archive, what a person reads about it, and which checks of the report fail."""

    archive: bytes
    step: str
    reason: str
    remedy: str
    checks: tuple[str, ...] = ()


def broken(change: dict[str, bytes | None], base: dict[str, bytes] | None = None) -> bytes:
    """An archive of the tiny model with files replaced, added, or left out where None."""
    files = {**(base or tiny_llama()), **change}
    return zipped({path: data for path, data in files.items() if data is not None})


def weights(header: dict[str, Any], data: int, *, length: int | None = None) -> bytes:
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + bytes(data)


OVERLAPPING = {
    "a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
    "b": {"dtype": "U8", "shape": [8], "data_offsets": [4, 12]},
}
BAD: dict[str, Bad] = {
    "not a zip": Bad(
        b"%PDF-1.7 " * 100,
        "extract",
        "The file is not a zip archive, whatever its name says.",
        "Pack the model's folder as a zip archive and upload that.",
    ),
    "truncated zip": Bad(
        tiny_llama_archive()[:-30],
        "extract",
        "The archive's end is missing: it was cut off on its way.",
        "Check that the archive opens on your computer, then upload it again.",
    ),
    "zip bomb": Bad(
        archive(zeros(50 << 20)),
        "extract",
        "'model.safetensors' would grow to more than 200 times its packed size, as a "
        "decompression bomb does.",
        "Leave the file out, or pack the model without compression.",
    ),
    "path escape": Bad(
        named("../../etc/cron.d/evil"),
        "extract",
        "'../../etc/cron.d/evil' leads out of the archive's folder.",
        "Pack the model's folder again with a current zip program and upload that archive.",
    ),
    "symlink": Bad(
        archive(Member("link", b"/etc/passwd", mode=0o120777)),
        "extract",
        "'link' is a symbolic link; only plain files are accepted.",
        "Replace links by the files they point to (zip without --symlinks) and pack again.",
    ),
    "missing config": Bad(
        broken({"config.json": None}),
        "validate",
        "config.json is missing, and the metadata of 'model.safetensors' names no architecture.",
        "Pack one folder that holds config.json, tokenizer.json and the weights as .safetensors "
        "files.",
        ("config",),
    ),
    "missing shard": Bad(
        broken({"model-00002-of-00002.safetensors": None}, sharded(tiny_llama())),
        "validate",
        "model.safetensors.index.json names shards that are missing: "
        "'model-00002-of-00002.safetensors'.",
        "Take the index and all its shards from the model's source again.",
        ("weights",),
    ),
    "wrong header length": Bad(
        broken({"model.safetensors": weights({}, 0, length=1 << 40)}),
        "validate",
        "'model.safetensors' claims a header of 1099511627776 bytes; the format allows 100000000.",
        SAVE_AGAIN,
        ("weights",),
    ),
    "overlapping offsets": Bad(
        broken({"model.safetensors": weights(OVERLAPPING, 12)}),
        "validate",
        "'model.safetensors' lets the tensor 'b' overlap with another one.",
        SAVE_AGAIN,
        ("weights",),
    ),
    "shape against the config": Bad(
        broken({"config.json": json.dumps({**config(), "vocab_size": 600}).encode()}),
        "validate",
        "The tensor 'model.embed_tokens.weight' has the shape 512 x 128; config.json promises "
        "600 x 128.",
        "Weights and config.json belong to different models; take both from one source.",
        ("shapes",),
    ),
    "pickle weights": Bad(
        broken({"pytorch_model.bin": b"\x80\x04N."}),
        "validate",
        "'pytorch_model.bin': pickle files can run any program when they are loaded; "
        "'pytorch_model.bin' ends in .bin.",
        "Convert the weights to safetensors and leave these files out, or, if you must and know "
        "who made them, accept the risk 'pickle' for this import and give a reason.",
        ("unsafe_files",),
    ),
}


@pytest.fixture(scope="module")
def platform_up() -> Iterator[RunningPlatform]:
    """The whole platform, with little room for uploads."""
    platform = RunningPlatform({"LOGGIA_UPLOAD_QUOTA_BYTES": str(QUOTA)})
    try:
        platform.start()
        yield platform
    finally:
        platform.remove()


@pytest.fixture(scope="module")
def admin(platform_up: RunningPlatform) -> Administrator:
    return Administrator.of(platform_up)


@pytest.fixture(scope="module")
def sound(admin: Administrator) -> str:
    """A model that is in order, for commands that go wrong."""
    model_id = admin.import_archive("sound.zip", tiny_llama_archive())
    assert admin.wait_for_model(model_id, "ready_to_deploy", "import_failed")["failure"] is None
    return model_id


def traces(platform: RunningPlatform) -> dict[str, set[str]]:
    """Everything that an upload or an import could leave: files and rows."""
    with psycopg.connect(platform.dsn, connect_timeout=5) as connection:
        found = {
            place: {row[0] for row in connection.execute(query.encode())}
            for place, query in ROWS.items()
        }
    top = platform.data_dir
    # Folders may vanish while they are looked at.
    found["files"] = {
        str(path)
        for folder, _, names in os.walk(top)
        for path in (Path(folder, name).relative_to(top) for name in names)
        if path.parts[0] not in NOT_THE_MODELS
    }
    return found


@pytest.fixture
def nothing_stays(platform_up: RunningPlatform, sound: str) -> Iterator[None]:
    """After the test, everything is as it was before."""
    eventually(lambda: not traces(platform_up)["unfinished jobs"], "the import before has ended")
    before = traces(platform_up)
    yield
    eventually(lambda: traces(platform_up) == before, f"nothing stays beside {before}")


@pytest.mark.usefixtures("nothing_stays")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_archive_is_refused_in_words_and_leaves_nothing(
    platform_up: RunningPlatform, admin: Administrator, name: str
) -> None:
    bad = BAD[name]
    before = traces(platform_up)["files"]
    # Always the same file name: had the model before kept it, this one would be refused for it.
    model_id = admin.import_archive("bad.zip", bad.archive)
    try:
        refused_in_words(admin, model_id, bad)

        def only_the_archive() -> bool:
            stays = traces(platform_up)["files"] - before
            return {Path(path).parts[:2] for path in stays} == {("objects", "uploads")}

        eventually(only_the_archive, "of a failed import only the archive stays, for a retry")
    finally:
        admin.command("DELETE", f"/api/models/{model_id}")


def refused_in_words(admin: Administrator, model_id: str, bad: Bad) -> None:
    """The import fails with the words, in the model, in the list and in the report."""
    model = admin.wait_for_model(model_id, "import_failed", "ready_to_deploy")
    assert model["failure"] == {"step": bad.step, "reason": bad.reason, "remedy": bad.remedy}
    listed = next(m for m in admin.get("/api/models")["items"] if m["id"] == model_id)
    assert listed["failure"] == model["failure"]
    report = model["report"] or {"checks": []}
    failed = {check["id"]: check for check in report["checks"] if check["outcome"] == "fail"}
    assert tuple(failed) == bad.checks
    if bad.checks:
        assert failed[bad.checks[0]]["evidence"] in bad.reason
        assert failed[bad.checks[0]]["hint"] == bad.remedy


def refusal(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem that a person reads."""
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    return problem


def announce(admin: Administrator, file_name: str, size: int) -> httpx.Response:
    name = base64.b64encode(file_name.encode()).decode()
    headers = {"Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
    return admin.http.post("/api/uploads", headers=admin.headers(**TUS, **headers))


def give_up(admin: Administrator, upload_id: str) -> None:
    answer = admin.http.delete(f"/api/uploads/{upload_id}", headers=admin.headers(**TUS))
    assert answer.status_code == 204, answer.text


@pytest.mark.usefixtures("nothing_stays")
def test_a_name_that_is_taken_is_refused(admin: Administrator) -> None:
    upload_id = admin.begin_upload("SOUND.zip", 10)
    request = {"source": "upload", "kind": "base", "uploadId": upload_id}
    answer = admin.http.post("/api/imports", json=request, headers=admin.headers())
    problem = refusal(answer, 409)
    assert problem["detail"] == "There is a model named 'SOUND' already."
    assert problem["remedy"].startswith("Rename the file")
    assert problem["errors"][0]["field"] == "name"
    give_up(admin, upload_id)


@pytest.mark.usefixtures("nothing_stays")
def test_a_name_that_is_too_long_is_refused_before_any_byte(admin: Administrator) -> None:
    problem = refusal(announce(admin, "n" * 65 + ".zip", 10), 422)
    assert problem["detail"] == "The model name has 65 characters; allowed are 1 to 64."
    assert problem["remedy"].startswith("Rename the file")


@pytest.mark.usefixtures("nothing_stays")
def test_bytes_with_a_wrong_checksum_are_not_kept(
    platform_up: RunningPlatform, admin: Administrator
) -> None:
    upload_id = admin.begin_upload("checked.zip", 1000)
    before = traces(platform_up)["files"]
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    answer = admin.http.patch(
        f"/api/uploads/{upload_id}",
        content=b"x" * 1000,
        headers=admin.headers(**TUS, **headers, **{"Upload-Checksum": f"sha256 {wrong}"}),
    )
    problem = refusal(answer, 460)
    assert problem["detail"] == (
        "The bytes that arrived do not have the announced sha256 checksum; nothing of them was "
        "kept."
    )
    assert problem["remedy"] == "Send them again from the same offset."
    assert admin.received(upload_id) == 0
    assert traces(platform_up)["files"] == before
    give_up(admin, upload_id)


@pytest.mark.usefixtures("nothing_stays")
def test_an_upload_beyond_the_quota_is_refused_before_any_byte(admin: Administrator) -> None:
    problem = refusal(announce(admin, "large.zip", QUOTA + 1), 413)
    assert f"The file has {QUOTA + 1} bytes" in problem["detail"]
    assert f"the quota of {QUOTA} bytes" in problem["detail"]
    assert "LOGGIA_UPLOAD_QUOTA_BYTES" in problem["remedy"]


@pytest.mark.usefixtures("nothing_stays")
def test_a_change_of_what_was_not_seen_is_refused_with_the_present_state(
    admin: Administrator, sound: str
) -> None:
    seen = admin.model(sound)["version"]
    admin.command("PATCH", f"/api/models/{sound}", {"description": "by somebody else"})
    answer = admin.http.patch(
        f"/api/models/{sound}",
        json={"description": "too late"},
        headers=admin.headers(**{"If-Match": f'"{seen}"'}),
    )
    problem = refusal(answer, 409)
    assert f"you saw version {seen}" in problem["detail"]
    assert problem["remedy"] == "Look at the current state and decide again."
    assert problem["current"]["description"] == "by somebody else"
    assert admin.model(sound)["description"] == "by somebody else"


@pytest.mark.usefixtures("nothing_stays")
def test_an_unknown_model_is_named(
    platform_up: RunningPlatform, admin: Administrator, sound: str
) -> None:
    unknown = str(uuid4())
    answer = admin.http.delete(f"/api/models/{unknown}", headers=admin.headers())
    problem = refusal(answer, 404)
    assert unknown in problem["detail"]
    assert problem["remedy"]

    client = consumer(platform_up, admin, sound)
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.chat.completions.create(
            model="no-such-model", messages=[{"role": "user", "content": "hello"}]
        )


@pytest.mark.usefixtures("nothing_stays")
def test_a_revoked_key_is_refused(
    platform_up: RunningPlatform, admin: Administrator, sound: str
) -> None:
    client = consumer(platform_up, admin, sound)
    key_id = admin.get(f"/api/models/{sound}/api-keys")["items"][0]["id"]
    admin.command("DELETE", f"/api/models/{sound}/api-keys/{key_id}")
    said = eventually(lambda: refused(client), "the revoked key is refused", seconds=2)
    assert "wrong or has been revoked. Make a new one on the model's page." in said


def consumer(platform: RunningPlatform, admin: Administrator, model_id: str) -> openai.OpenAI:
    """Somebody with a new key that the gateway knows."""
    key = admin.command("POST", f"/api/models/{model_id}/api-keys", {"name": "consumer"})
    client = openai.OpenAI(
        base_url=f"{platform.gateway_url}/v1", api_key=key["secret"], max_retries=0
    )
    eventually(lambda: not refused(client), "the new key is known")
    return client


def refused(client: openai.OpenAI) -> str:
    """What the gateway says against the key; empty where it is good."""
    try:
        client.models.list()
    except openai.AuthenticationError as error:
        return str(error)
    return ""
