"""Every way a model comes in, from beginning to end on the running platform: over HTTP, and by
commands. The hub, the registry and the web server are test servers of our own."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.api.sources import CONFIGURATION
from tests.builders.models import tiny_llama, write_folder
from tests.importing.kept_adapters import kept
from tests.journeys.archives import tiny_llama_archive
from tests.journeys.world import READY, World
from tests.rig.client import JSON
from tests.rig.waiting import eventually

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]

PICKLES = Path(__file__).resolve().parents[1] / "importing" / "pickles"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack, tmp_path_factory.mktemp("configuration"))


def steps(model: JSON) -> list[tuple[str, str]]:
    return [(step["step"], step["state"]) for step in model["importSteps"]]


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


# -- over HTTP -----------------------------------------------------------------------------------


def test_uploads_of_a_base_and_of_its_adapter(world: World) -> None:
    admin = world.admin
    base_id = admin.import_archive("base-model.tar.gz", tar_gz(tiny_llama()))
    base = admin.wait_for_model(base_id, *READY)
    assert base["state"] == "ready_to_deploy", base["failure"]
    assert steps(base) == [("upload", "done"), ("extract", "done"), ("validate", "done")]
    adapter = tar_gz(kept("lora"))
    upload = admin.begin_upload("lora.tar.gz", len(adapter))
    asked = {"kind": "adapter", "baseModelId": base_id, "uploadId": upload}
    model_id = world.begin("upload", **asked)
    admin.send(upload, 0, adapter)
    model = admin.wait_for_model(model_id, *READY)
    assert model["state"] == "ready_to_deploy", model["failure"]
    assert model["format"] == "peft"
    assert model["baseModelId"] == base_id
    assert model["card"]["adapter"]["rank"] >= 1


def test_a_repository_of_a_hub_with_what_a_connection_opens(world: World) -> None:
    world.hub.add("acme/hub-model", tiny_llama(seed=1), gated="manual", readers={"hf_good"})
    failure = world.failure("huggingface", repository="acme/hub-model", name="shut-out")
    assert failure["step"] == "fetch"
    assert failure["remedy"]
    world.admin.command(
        "POST",
        "/api/connections",
        {
            "name": "hub", "kind": "huggingface", "endpoint": world.hub.endpoint,
            "secret": "hf_good",
        },
    )  # fmt: skip
    model = world.bring_in("huggingface", repository="acme/hub-model", connection="hub")
    assert model["name"] == "hub-model"
    assert model["resolved"]["revision"] == world.hub.repositories["acme/hub-model"].commit
    assert steps(model) == [("fetch", "done"), ("validate", "done")]
    assert "hf_good" not in json.dumps(world.admin.events(modelId=model["id"]))


def test_an_address_of_an_archive_and_a_wrong_one(world: World) -> None:
    address = world.web.add("/by-url.zip", tiny_llama_archive(seed=2))
    model = world.bring_in("url", address=address)
    assert model["name"] == "by-url"
    assert model["origin"]["url"]["address"] == address
    assert model["resolved"]["sha256"] == hashlib.sha256(world.web.files["/by-url.zip"]).hexdigest()
    failure = world.failure("url", address=world.web.url + "/missing.zip")
    assert "404" in failure["reason"]
    world.web.add("/missing.zip", tiny_llama_archive(seed=3))
    world.admin.command("POST", f"/api/models/{failure['id']}/import/retry")
    again = world.admin.wait_for_model(failure["id"], *READY)
    assert again["state"] == "ready_to_deploy", again["failure"]


def test_a_directory_stays_where_it_is_and_its_template_can_be_changed(world: World) -> None:
    folder = write_folder(world.roots / "shared" / "on-the-server", tiny_llama(seed=4))
    template = "PARAMETER temperature 0.2\n"
    model = world.bring_in(
        "path", path="shared/on-the-server", mode="reference", name="on-the-server",
        technicalName="srv1", template=template,
    )  # fmt: skip
    assert (model["technicalName"], model["template"]) == ("srv1", template)
    assert model["resolved"]["path"] == str(folder)
    blobs = world.platform.data_dir / "objects" / "blobs"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert not (blobs / "sha256" / digest[:2] / digest).exists(), "it was not copied"
    world.admin.command(
        "PUT", f"/api/models/{model['id']}/template", {"template": "PARAMETER top_k 3\n"}
    )
    assert world.admin.model(model["id"])["template"] == "PARAMETER top_k 3\n"
    kinds = [event["type"] for event in world.admin.events(modelId=model["id"])]
    assert "ModelTemplateUpdated" in kinds
    copied = world.bring_in("path", path=str(folder), mode="copy", name="copied")
    assert copied["manifestSha256"] != model["manifestSha256"]
    assert (blobs / "sha256" / digest[:2] / digest).exists()


def test_a_container_image_is_inspected_and_pinned(world: World) -> None:
    digest = world.registry.push("acme/serve", "1.0")
    world.connect_registry()
    model = world.bring_in(
        "container_image",
        reference=f"{world.registry.host}/acme/serve:1.0",
        connection="registry",
        name="served-by-itself",
        version="1.0.0",
        labels=["a", "b"],
        deploymentType="real_time",
        configuration=json.dumps(CONFIGURATION),
        inputSchema='{"type": "object"}',
        minimum={"cpu": 2, "memoryGib": 4},
        documentationLinks=["https://example.org/model"],
    )
    assert model["card"]["image"]["digest"] == digest
    assert model["card"]["image"]["ports"] == ["8080"]
    assert model["modelVersion"] == "1.0.0"
    assert steps(model) == [("inspect", "done"), ("validate", "done")]
    failure = world.failure(
        "container_image",
        reference=f"{world.registry.host}/acme/none:1.0",
        connection="registry",
        deploymentType="batch",
        configuration=json.dumps(CONFIGURATION),
    )
    assert "acme/none" in failure["reason"]


def test_a_model_is_created_from_a_description_with_and_without_weights(world: World) -> None:
    described = world.bring_in(
        "manual", name="described", type="embedding", runtime="ONNX Runtime 1.20", version="2.0.0",
        resources={"cpu": 1, "memoryGib": 2}, description="Only described.",
    )  # fmt: skip
    assert described["format"] == "external"
    assert described["modelVersion"] == "2.0.0"
    address = world.web.add("/weights.zip", tiny_llama_archive(seed=5))
    found = world.bring_in("manual", name="weighed", type="llm", runtime="vLLM", weights=address)
    assert found["card"]["architecture"] == "LlamaForCausalLM"


def test_a_list_of_models_with_partial_success(world: World) -> None:
    rows = []
    for number in range(4):
        address = world.web.add(f"/batch-{number}.zip", tiny_llama_archive(seed=10 + number))
        rows.append({"name": f"batch-{number}", "address": address})
    missing = world.web.files.pop("/batch-2.zip")
    listed = world.web.add("/models.json", json.dumps({"models": rows}).encode())
    admin = world.admin
    seen = admin.http.post(
        "/api/imports/preview", json={"address": listed}, headers=admin.headers()
    )
    names = [row["name"] for row in seen.json()["rows"]]
    digest = seen.json()["manifestSha256"]
    begun = admin.command(
        "POST", "/api/imports/batch",
        {"address": listed, "manifestSha256": digest, "names": names[:3]},
    )  # fmt: skip
    url = f"/api/imports/batches/{begun['id']}"

    def ended() -> JSON:
        batch = admin.get(url)
        return batch if not {"importing", "validating"} & set(batch["states"]) else {}

    batch = eventually(ended, "the batch has ended", seconds=60)
    assert batch["states"] == {"ready_to_deploy": 2, "import_failed": 1}
    (failed,) = (row for row in batch["rows"] if row["state"] == "import_failed")
    assert failed["name"] == "batch-2"
    world.web.add("/batch-2.zip", missing)
    fetched = world.web.seen.count("GET /batch-0.zip")
    admin.command("POST", f"{url}/retry")
    assert eventually(ended, "the retry has ended", seconds=60)["states"] == {"ready_to_deploy": 3}
    assert world.web.seen.count("GET /batch-0.zip") == fetched
    again = admin.http.post(
        "/api/imports/preview", json={"address": listed}, headers=admin.headers()
    )
    existing = [row["existingModelId"] for row in again.json()["rows"]]
    assert existing == [*(row["id"] for row in batch["rows"]), None]


def test_a_pickle_is_blocked_until_somebody_answers_for_it(world: World) -> None:
    pickled = {"pytorch_model.bin": (PICKLES / "weights.bin").read_bytes()}
    write_folder(world.roots / "pickled", {**tiny_llama(), **pickled})
    failure = world.failure("path", path="pickled", mode="copy")
    assert "pickle" in failure["reason"].lower()
    accepted = {"risks": ["pickle"], "reason": "Made by ourselves."}
    world.admin.command(
        "POST", f"/api/models/{failure['id']}/import/retry", {"acceptedRisks": accepted}
    )
    model = world.admin.wait_for_model(failure["id"], *READY)
    (risk,) = model["acceptedRisks"]
    assert (risk["risks"], risk["reason"], risk["actor"]) == (
        ["pickle"], "Made by ourselves.", "user:admin",
    )  # fmt: skip
    outcomes = {check["id"]: check["outcome"] for check in model["report"]["checks"]}
    assert "fail" not in [o for id, o in outcomes.items() if "pickle" in id]


def test_a_further_version_is_compared_and_an_earlier_one_chosen(world: World) -> None:
    address = world.web.add("/versioned.zip", tiny_llama_archive(seed=6))
    model = world.bring_in("url", address=address)
    write_folder(world.roots / "second", {**tiny_llama(seed=7), "NEW.md": b"# new"})
    url = f"/api/models/{model['id']}"
    world.begin("path", path="second", mode="copy", modelId=model["id"])
    ready = eventually(
        lambda: found if (found := world.admin.model(model["id"]))["modelVersion"] == "0.0.2"
        and found["state"] == "ready_to_deploy" else None,
        "the second version is current",
    )  # fmt: skip
    assert ready is not None
    versions = world.admin.get(f"{url}/versions")["items"]
    assert [(v["version"], v["source"], v["current"]) for v in versions] == [
        ("0.0.2", "path", True), ("0.0.1", "url", False),
    ]  # fmt: skip
    compared = world.admin.get(f"{url}/versions/compare", **{"from": "0.0.1", "to": "0.0.2"})
    changes = {file["path"]: file["change"] for file in compared["files"]}
    assert changes["NEW.md"] == "added"
    assert changes["model.safetensors"] == "changed"
    world.admin.command("PUT", f"{url}/versions/current", {"version": "0.0.1"})
    assert world.admin.model(model["id"])["currentVersion"] == "0.0.1"


# -- by commands ---------------------------------------------------------------------------------


def test_every_source_has_its_command(world: World, tmp_path: Path) -> None:
    shell, web = world.shell, world.web
    world.hub.add("acme/typed", tiny_llama(seed=20))
    world.registry.push("acme/typed", "1")
    world.connect_registry()
    write_folder(world.roots / "typed-path", tiny_llama(seed=21))
    archive = tmp_path / "typed-file.zip"
    archive.write_bytes(tiny_llama_archive(seed=22))
    config = tmp_path / "configuration.json"
    config.write_text(json.dumps(CONFIGURATION))
    url = web.add("/typed-url.zip", tiny_llama_archive(seed=23))
    reference = f"{world.registry.host}/acme/typed:1"
    commands: dict[str, list[str]] = {
        "typed-file": ["upload", str(archive), "--label", "typed"],
        "typed": ["hf", "acme/typed", "--revision", "main"],
        "typed-url": ["url", url, "--description", "From an address."],
        "typed-path": ["path", "typed-path", "--copy", "--technical-name", "tp"],
        "typed-image": [
            "image", reference, "--config", web.add("/c.json", config.read_bytes()),
            "--name", "typed-image",
            "--connection", "registry", "--cpu", "1",
        ],
        "typed-form": ["create", "typed-form", "--type", "llm", "--runtime", "vLLM"],
    }  # fmt: skip
    for name, command in commands.items():
        rehearsed = shell.run("import", *command, "--dry-run")
        assert "Would be written: ModelImportRequested" in rehearsed, name
        assert name not in [m["name"] for m in shell.json("models", "list", "--search", name)]
        shown = shell.json("import", *command, "--watch")
        assert (shown["name"], shown["state"]) == (name, "ready_to_deploy")
    assert shell.json("models", "show", "typed-file")["labels"] == ["typed"]
    assert shell.json("models", "show", "typed-path")["technicalName"] == "tp"

    second = ["import", str(archive), "--model", "typed", "--watch"]
    assert shell.json(*second)["modelVersion"] == "0.0.2"
    listed = shell.run("versions", "list", "typed")
    assert "0.0.1" in listed
    assert "0.0.2" in listed
    assert "model.safetensors" in shell.run("versions", "compare", "typed", "0.0.1", "0.0.2")
    assert shell.run("versions", "select", "typed", "0.0.1") == "typed is at 0.0.1 now\n"
    assert "9.9.9" in shell.refusal("versions", "select", "typed", "9.9.9")

    exported = tmp_path / "exported.zip"
    assert "exported.zip" in shell.run("export", "typed", "--output", str(exported))
    with zipfile.ZipFile(exported) as found:
        assert set(found.namelist()) == {*tiny_llama(), "deployconfig.json"}
    assert "exists already" in shell.refusal("export", "typed", "--output", str(exported))
    assert "has no files" in shell.refusal("export", "typed-form", "-o", str(tmp_path / "x.zip"))
    assert not (tmp_path / "x.zip").exists()


def test_commands_tell_what_was_refused_and_what_helps(world: World, tmp_path: Path) -> None:
    shell = world.shell
    config = tmp_path / "configuration.json"
    config.write_text(json.dumps({**CONFIGURATION, "port": 0}))
    image = shell.refusal("import", "image", "registry.example/m:1", "--config", str(config))
    assert "configuration/port" in image
    outside = shell.refusal("import", "path", "/etc")
    assert "does not lie below a directory from which models may be imported" in outside
    assert f"Use a path below {world.roots}" in outside
    risky = shell.refusal("import", "hf", "acme/typed", "--accept-risk", "pickle")
    assert "--accept-risk needs a reason" in risky
    missing = world.web.url + "/no-such.zip"
    assert "404" in shell.refusal("import", "url", missing, "--watch")
    rehearsed = shell.attempt("import", "url", world.web.url + "/never-there.zip", "--dry-run")
    assert rehearsed.returncode == 1
    assert "ModelImportFailed" in rehearsed.stdout
    assert "404" in rehearsed.stderr


def test_a_batch_by_commands(world: World) -> None:
    shell = world.shell
    rows = []
    for number in range(3):
        address = world.web.add(f"/listed-{number}.zip", tiny_llama_archive(seed=30 + number))
        rows.append({"name": f"listed-{number}", "address": address})
    gone = world.web.files.pop("/listed-1.zip")
    address = world.web.add("/listed.json", json.dumps({"models": rows}).encode())
    shown = shell.run("import", "batch", address)
    assert all(row["name"] in shown for row in rows)
    assert shell.json("models", "list", "--search", "listed-") == []
    one = shell.run("import", "batch", address, "--only", "listed-0", "--watch")
    assert "ready_to_deploy" in one
    assert "exists: " in shell.run("import", "batch", address)
    partly = shell.attempt("import", "batch", address, "--all", "--watch")
    assert partly.returncode == 1
    assert "1 of 2 imports failed" in partly.stderr
    batch = partly.stderr.partition("retry-batch ")[2].split("`")[0]
    world.web.add("/listed-1.zip", gone)
    assert "import_failed" not in shell.run("import", "retry-batch", batch, "--watch")
    assert "is here already" in shell.refusal("import", "batch", address, "--all")
    assert "no-such" in shell.refusal("import", "batch", address, "--only", "no-such")


def test_connections_by_commands_keep_their_secret(world: World) -> None:
    shell, place = world.shell, ["--kind", "huggingface", "--endpoint", world.hub.endpoint]
    assert "ana" in shell.run("connections", "test", *place, typed="hf_good\n")
    wrong = shell.attempt("connections", "save", "typed", *place, typed="hf_wrong\n")
    assert wrong.returncode == 1
    assert "hf_wrong" not in wrong.stderr
    shell.run("connections", "save", "typed", *place, typed="hf_good\n")
    listed = shell.run("connections", "list")
    assert "typed" in listed
    assert "hf_good" not in listed
    assert shell.run("connections", "remove", "typed") == "typed is forgotten\n"
    assert "typed" in shell.refusal("connections", "remove", "typed")
    assert "hf_good" not in world.platform.output
