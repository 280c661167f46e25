"""Nothing that lets somebody in enters the history by way of an address."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from backend.domain import origins, values
from backend.domain.addresses import bare, check_address
from backend.domain.connection import Connection
from backend.domain.errors import Invalid
from backend.domain.import_batch import ImportBatch

SECRETS = [
    "https://ana:secret@example.org/m.zip",
    "https://ana@example.org/m.zip",
    "//ana:secret@example.org/m.zip",
    "  HTTPS://ana:se\\cret@example.org/m.zip",
    "s3://key:secret@bucket/models/",
    "https://example.org/m.zip?X-Amz-Signature=abc",
    "https://example.org/m.zip?a=1&x-amz-credential=AKIA",
    "https://example.org/m.zip?X-Amz-Security-Token=abc",
    "https://example.org/m.zip?X-Goog-Signature=abc",
    "https://example.org/m.zip?AWSAccessKeyId=abc",
    "https://example.org/m.zip?GoogleAccessId=abc",
    "https://example.org/m.zip?sv=2024&sp=r&sig=abc",
    "https://example.org/m.zip?token=abc",
    "https://example.org/m.zip?access_token=abc",
    "https://example.org/m.zip?accessToken=abc",
    "https://example.org/m.zip?accesstoken=abc",
    "https://example.org/m.zip?private-token=abc",
    "https://example.org/m.zip?a=b;%74oken=abc",
    "https://example.org/m.zip?a?token=abc",
    "https://example.org/m.zip?key=abc",
    "https://example.org/m.zip?api_key=abc",
    "https://example.org/m.zip?password=abc",
    "https://example.org/m.zip#access_token=abc",
    "acme/tiny?token=abc",
]
HARMLESS = [
    "https://example.org/m.zip",
    "https://example.org/m.zip?download=true&tokenizer=bpe&author=ana&keyword=llm",
    "https://example.org/token=abc/m@1.zip",
    "https://example.org/m.zip?token=",
    "s3://bucket/models/",
    "/srv/models/tiny",
    "registry.example.org/acme/serve:1@sha256:" + "0" * 64,
]


@pytest.mark.parametrize("address", SECRETS)
def test_an_address_with_a_secret_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(Invalid, match="kept in the history for everybody to read") as refusal:
        check_address(address, field="address")
    assert refusal.value.field == "address"
    assert refusal.value.remedy == (
        "Save a connection and give the address without its token, user name or password."
    )
    assert "abc" not in str(refusal.value)
    assert "secret@" not in str(refusal.value)
    check_address(bare(address), field="address")


@pytest.mark.parametrize("address", HARMLESS)
def test_other_addresses_are_not(address: str) -> None:
    check_address(address, field="address")


@pytest.mark.parametrize(
    ("source", "facts", "field"),
    [
        ("url", {"address": SECRETS[0]}, "url.address"),
        (
            "url",
            {
                "address": "https://example.org/",
                "files": [
                    {"path": "a", "address": "https://e.org/a"},
                    {"path": "b", "address": SECRETS[5]},
                ],
            },
            "url.files[1].address",
        ),
        ("manual", {"type": "llm", "runtime": "x", "weights": SECRETS[11]}, "manual.weights"),
        ("huggingface", {"repository": "https://ana:secret@hub.org/m"}, "huggingface.repository"),
        ("path", {"path": "https://ana:secret@hub.org/m", "mode": "copy"}, "path.path"),
        (
            "container_image",
            {
                "reference": "https://ana:secret@r.org/m",
                "deployment_type": "edge",
                "configuration": "{}",
            },
            "container_image.reference",
        ),
    ],
)
def test_no_origin_takes_one(source: str, facts: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid, match="kept in the history") as refusal:
        origins.checked(source, {source: facts})
    assert refusal.value.field == field


def test_nor_do_batches_links_and_connections() -> None:
    signed = "https://example.org/list?X-Amz-Signature=abc"
    with pytest.raises(Invalid, match="kept in the history"):
        ImportBatch.request(
            uuid4(), address=signed, format="list", manifest_uri="file:///m",
            manifest_sha256="0" * 64, model_ids=[uuid4()],
        )  # fmt: skip
    with pytest.raises(Invalid, match="kept in the history"):
        values.documentation_links([signed])
    with pytest.raises(Invalid, match="kept in the history"):
        Connection.begin(name="c", kind="http", endpoint=signed)
