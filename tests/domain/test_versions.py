"""Versions of a model: whatever people and workers do, the rules hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backend.domain import origins
from backend.domain.errors import DomainError, Invalid, NotAllowed, NotFound
from backend.domain.events import Cause, caused_by
from backend.domain.model import AcceptedRisks, ImportRequest, Model, ModelState
from backend.domain.version import checked_number, next_number

PATH: dict[str, Any] = {"path": {"path": "/models/m", "mode": "copy"}}
IMAGE: dict[str, Any] = {
    "container_image": {
        "reference": "registry.example/m:1",
        "deployment_type": "real_time",
        "configuration": "{}",
    }
}
FORM: dict[str, Any] = {"manual": {"type": "llm", "runtime": "vllm"}}
HUB: dict[str, Any] = {"huggingface": {"repository": "some/model"}}
ORIGINS = [{}, PATH, IMAGE, FORM, HUB]


@contextmanager
def ada() -> Iterator[None]:
    with caused_by(Cause("user:ada", uuid4())):
        yield


@pytest.fixture(autouse=True)
def cause() -> Iterator[None]:
    with ada():
        yield


def topics(model: Model) -> list[str]:
    return [type(event).TOPIC for event in model.pending_events]  # type: ignore[attr-defined]


def request(origin: dict[str, Any], **more: Any) -> ImportRequest:
    if not origin:
        return ImportRequest(file_name="m.zip", upload_id=uuid4(), size_bytes=1, **more)
    return ImportRequest(source=next(iter(origin)), origin=origin, **({"name": "m"} | more))


def advance(model: Model) -> None:
    """The next thing that a worker records about the version under way."""
    version = model.latest
    if version.upload_id is not None and not version.archive_received:
        model.receive_archive(version.upload_id, 1)
    elif version.state is ModelState.VALIDATING or version.source == "manual":
        model.record_validated(version.number, report={"checks": []}, card={"n": version.number})
    elif version.source == "container_image":
        model.record_image_inspected(
            version.number,
            reference="r",
            digest="sha256:0",
            platform="linux/amd64",
            size_bytes=1,
            ports=[],
            labels={},
        )
    else:
        model.record_files_stored(
            version.number,
            manifest_uri="u",
            manifest_sha256=version.number,
            file_count=1,
            total_bytes=1,
        )


def ready(origin: dict[str, Any] = PATH) -> Model:
    model = Model.request_import(request(origin))
    while model.latest.underway:
        advance(model)
    return model


class Versions(RuleBasedStateMachine):
    """Commands in any order, refused or not."""

    def __init__(self) -> None:
        super().__init__()
        with ada():
            self.model = Model.request_import(request({}))
        self.was_ready = False

    def attempt(self, act: Any) -> None:
        before = (self.model.version, self.model.state, self.model.current_version)
        with ada():
            try:
                act()
            except DomainError:
                after = (self.model.version, self.model.state, self.model.current_version)
                assert after == before, "a refused command changes nothing"

    @rule(
        origin=st.sampled_from(ORIGINS),
        number=st.sampled_from([None, "0.0.1", "0.0.2", "1.0.0", "2.1.0-rc.1"]),
        risks=st.sampled_from([None, AcceptedRisks(("pickle",), "ours"), AcceptedRisks((), "")]),
    )
    def ask_for_a_version(
        self, origin: dict[str, Any], number: str | None, risks: AcceptedRisks | None
    ) -> None:
        wanted = request(origin, version=number, accepted_risks=risks)
        self.attempt(lambda: self.model.request_version(wanted))

    @precondition(lambda self: self.model.latest.underway)
    @rule()
    def advance(self) -> None:
        self.attempt(lambda: advance(self.model))

    @rule(pick=st.integers(0, 9), what=st.sampled_from(["fail", "stored", "valid", "fetched"]))
    def a_worker_that_is_late(self, pick: int, what: str) -> None:
        """Reports about any version, also one that ended long ago."""
        number = list(self.model.versions)[pick % len(self.model.versions)]
        version = self.model.versions[number]
        before = (version.state, version.manifest_sha256)
        acts = {
            "fail": lambda: self.model.record_import_failed(
                number, step="fetch", reason="r", remedy="r", report=None
            ),
            "stored": lambda: self.model.record_files_stored(
                number, manifest_uri="u", manifest_sha256="x", file_count=1, total_bytes=1
            ),
            "valid": lambda: self.model.record_validated(number, report={}, card={}),
            "fetched": lambda: self.model.record_source_fetched(
                number, resolved={"revision": "c"}, file_count=1, total_bytes=1
            ),
        }
        self.attempt(acts[what])
        if before[0] is ModelState.READY:
            assert (version.state, version.manifest_sha256) == before, "a usable version stays"

    @rule()
    def cancel(self) -> None:
        self.attempt(self.model.cancel_import)

    @rule()
    def retry(self) -> None:
        self.attempt(self.model.retry_import)

    @rule(pick=st.integers(0, 9))
    def select(self, pick: int) -> None:
        number = list(self.model.versions)[pick % len(self.model.versions)]
        self.attempt(lambda: self.model.select_current_version(number))

    @rule(pick=st.integers(0, 9), reason=st.sampled_from(["", "our own file"]))
    def accept(self, pick: int, reason: str) -> None:
        number = list(self.model.versions)[pick % len(self.model.versions)]
        accepted = AcceptedRisks(("pickle",), reason)
        self.attempt(lambda: self.model.accept_risks(number, accepted))

    @rule()
    def publish(self) -> None:
        self.attempt(self.model.publish)

    @invariant()
    def one_is_under_way_at_most_and_it_is_the_latest(self) -> None:
        underway = [v for v in self.model.versions.values() if v.underway]
        assert underway in ([], [self.model.latest])

    @invariant()
    def the_current_version_is_usable(self) -> None:
        current = self.model.current
        assert current is None or current.state is ModelState.READY
        usable = any(v.state is ModelState.READY for v in self.model.versions.values())
        assert usable == (current is not None)

    @invariant()
    def once_ready_it_stays_ready(self) -> None:
        if self.was_ready:
            assert self.model.state is ModelState.READY
        self.was_ready = self.model.state is ModelState.READY

    @invariant()
    def replaying_the_events_gives_the_same_model(self) -> None:
        replayed = None
        for event in self.model.pending_events:
            replayed = event.mutate(replayed)
        assert replayed is not None
        assert replayed.versions == self.model.versions
        assert replayed.current_version == self.model.current_version


TestVersions = Versions.TestCase
TestVersions.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("origin", ORIGINS[1:])
def test_every_source_comes_to_a_ready_model(origin: dict[str, Any]) -> None:
    model = ready(origin)
    assert model.state is ModelState.READY
    assert model.current_version == "0.0.1"


def test_a_new_version_that_fails_leaves_the_model_ready() -> None:
    model = ready()
    model.request_version(request(HUB))
    assert model.state is ModelState.READY
    model.record_import_failed("0.0.2", step="fetch", reason="r", remedy="r", report=None)
    assert (model.state, model.current_version) == (ModelState.READY, "0.0.1")
    model.retry_import()
    assert model.latest.state is ModelState.IMPORTING


def test_a_later_version_takes_over_and_an_earlier_one_can_be_chosen_again() -> None:
    model = ready()
    model.request_version(request(PATH, version="1.0.0"))
    while model.latest.underway:
        advance(model)
    assert model.current_version == "1.0.0"
    model.select_current_version("0.0.1")
    model.select_current_version("0.0.1")
    assert model.current is not None
    assert model.current.card == {"n": "0.0.1"}
    assert topics(model).count("ModelCurrentVersionSelected") == 1
    with pytest.raises(NotFound, match="no version 9"):
        model.select_current_version("9.0.0")


def test_a_version_number_is_used_once() -> None:
    model = ready()
    with pytest.raises(Invalid, match=r"has a version 0\.0\.1 already") as refusal:
        model.request_version(request(PATH, version="0.0.1"))
    assert "0.0.2" in refusal.value.remedy


@given(st.lists(st.tuples(*[st.integers(0, 99999)] * 3), max_size=6))
def test_the_next_number_is_higher_than_all(numbers: list[tuple[int, int, int]]) -> None:
    found = next_number(".".join(map(str, number)) for number in numbers)
    assert checked_number(found) == found
    assert all(tuple(map(int, found.split("."))) > number for number in numbers)


@pytest.mark.parametrize("text", ["1", "1.0", "01.0.0", "1.0.0 ", "v1.0.0", "1.0.0-", "٣.0.0", ""])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="not a version"):
        checked_number(text)


@pytest.mark.parametrize(
    ("risks", "reason", "words"),
    [((), "r", "No risk"), (("fire",), "r", "'fire'"), (("pickle",), "  ", "needs a reason")],
)
def test_a_risk_is_accepted_by_name_and_with_a_reason(
    risks: tuple[str, ...], reason: str, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        Model.request_import(request(PATH, accepted_risks=AcceptedRisks(risks, reason)))


def test_risks_are_accepted_for_one_version_and_before_it_is_judged() -> None:
    model = ready()
    with pytest.raises(NotAllowed):
        model.accept_risks("0.0.1", AcceptedRisks(("pickle",), "late"))
    model.request_version(request(PATH, accepted_risks=AcceptedRisks(("pickle",), "ours")))
    assert model.versions["0.0.1"].accepted_risks == []
    assert model.latest.accepted_risks == ["pickle"]


def test_an_adapter_needs_a_base_model_that_is_ready() -> None:
    with pytest.raises(Invalid, match="needs the base model"):
        Model.request_import(request(PATH, kind="adapter"))
    with pytest.raises(NotAllowed, match="while it is importing"):
        Model.request_import(
            request(PATH, kind="adapter"), base=Model.request_import(request(PATH))
        )
    base = ready()
    adapter = Model.request_import(request(PATH, kind="adapter"), base=base)
    assert adapter.latest.base_model_id == base.id
    with pytest.raises(Invalid, match="Only an adapter"):
        Model.request_import(request(PATH), base=base)
    with pytest.raises(Invalid, match="needs the base model"):
        Model.request_import(request(PATH, kind="adapter"), base=adapter)


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ({"huggingface": {"repository": "Qwen/Qwen2.5-7B"}}, "Qwen2_5-7B"),
        ({"url": {"address": "https://example.org/a/tiny-1.0.tar.gz?x=y"}}, "tiny-1_0"),
        ({"path": {"path": "/models/llama/", "mode": "reference"}}, "llama"),
        (IMAGE, "m"),
    ],
)
def test_other_sources_suggest_a_name(origin: dict[str, Any], name: str) -> None:
    assert Model.request_import(request(origin, name=None)).name == name


@pytest.mark.parametrize(
    ("source", "origin", "field"),
    [
        ("ftp", {}, "source"),
        ("upload", PATH, "origin"),
        ("path", {}, "origin"),
        ("path", {"path": {"path": "/m"}}, "path.mode"),
        ("path", {"path": {"path": "/m", "mode": "move"}}, "path.mode"),
        ("path", {"path": {"path": "/m", "mode": "copy", "more": 1}}, "path"),
        ("manual", {"manual": {"type": "cat", "runtime": "vllm"}}, "manual.type"),
        ("url", {"url": {"address": " "}}, "url.address"),
        ("url", {"url": {"address": "a", "files": [{"path": "p"}]}}, "url.files[0].address"),
        (
            "container_image",
            {"container_image": {**IMAGE["container_image"], "configuration": "[1]"}},
            "container_image.configuration",
        ),
        (
            "container_image",
            {"container_image": {**IMAGE["container_image"], "minimum": {"gpu": -1}}},
            "container_image.minimum.gpu",
        ),
    ],
)
def test_an_origin_that_says_too_little_or_too_much_is_refused_by_field(
    source: str, origin: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        origins.checked(source, origin)
    assert refusal.value.field == field
    assert refusal.value.remedy


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each),
    max_leaves=8,
)


@given(st.sampled_from(origins.SOURCES), st.dictionaries(st.sampled_from(origins.SOURCES), _JSON))
def test_any_origin_is_complete_or_refused(source: str, origin: dict[str, Any]) -> None:
    try:
        found = origins.checked(source, origin)
    except Invalid:
        return
    assert origins.checked(source, found) == found


def test_the_template_comes_from_the_path_and_can_be_replaced() -> None:
    origin = {"path": {"path": "/m", "mode": "reference", "template": "TEMPLATE {{ .Prompt }}"}}
    model = Model.request_import(request(origin))
    assert model.template == "TEMPLATE {{ .Prompt }}"
    model.update_template("SYSTEM hello")
    model.update_template("SYSTEM hello")
    assert model.template == "SYSTEM hello"
    assert topics(model).count("ModelTemplateUpdated") == 1
    with pytest.raises(Invalid, match="Line 1 of the Modelfile"):
        model.update_template("hello")
