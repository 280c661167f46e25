"""The routing table as a fold of events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from backend.gateway.routing import RoutingTable
from backend.gateway.spreading import Replica, choose, conversation_of

AT = datetime(2026, 1, 2, tzinfo=UTC)
MODELS, REVISIONS, REPLICAS, KEYS = ("m1", "m2"), (1, 2, 3), ("a", "b"), ("k1", "k2")

Event = tuple[str, dict[str, Any]]


def fold(events: list[Event]) -> RoutingTable:
    table = RoutingTable()
    for position, (event_type, facts) in enumerate(events, start=1):
        table.apply(position, event_type, facts, AT)
    return table


def endpoints(table: RoutingTable, model_id: str) -> set[str]:
    route = table.models.get(model_id)
    serving = route.serving if route else None
    return {r.endpoint for r in serving.replicas.values()} if serving else set()


def events() -> st.SearchStrategy[list[Event]]:
    """Any events in any order, sensible or not."""

    def event(event_type: str, **facts: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
        return st.tuples(
            st.just(event_type),
            st.fixed_dictionaries({"model_id": st.sampled_from(MODELS), **facts}),
        )

    revision, replica = st.sampled_from(REVISIONS), st.sampled_from(REPLICAS)
    key, adapter = st.sampled_from(KEYS), st.sampled_from(MODELS)
    created = key.flatmap(
        lambda k: event("ApiKeyCreated", key_id=st.just(k), sha256=st.just(f"digest of {k}"))
    )
    return st.lists(
        st.one_of(
            event("ModelImportRequested", name=st.sampled_from(("tiny", "small"))),
            event("ModelDeleted"),
            event("ModelWithdrawn"),
            created,
            event("ApiKeyRevoked", key_id=key),
            event("DeploymentRequested", revision=revision, configuration=st.just({})),
            event(
                "ReplicaReady",
                revision=revision,
                replica_id=replica,
                endpoint=replica.map(lambda r: f"http://{r}"),
            ),
            event("ReplicaLost", revision=revision, replica_id=replica),
            event("ReplicaRetired", revision=revision, replica_id=replica),
            event("RevisionDeployed", revision=revision),
            event(
                "RevisionFailed",
                revision=revision,
                serving_revision=st.none() | st.sampled_from(REVISIONS),
            ),
            event("RevisionRetired", revision=revision),
            event("DeploymentStopRequested"),
            event("DeploymentStopped"),
            event("AdapterLoaded", adapter_model_id=adapter, adapter_name=st.just("fine")),
            event("AdapterUnloadRequested", adapter_model_id=adapter),
            event("AdapterUnloaded", adapter_model_id=adapter),
        ),
        max_size=40,
    )


@given(events())
def test_a_repeated_tail_changes_nothing(history: list[Event]) -> None:
    table = fold(history)
    before = [(m, endpoints(table, m)) for m in MODELS], [table.key(f"digest of {k}") for k in KEYS]
    for position, (event_type, facts) in enumerate(history, start=1):
        table.apply(position, event_type, facts, AT)
    after = [(m, endpoints(table, m)) for m in MODELS], [table.key(f"digest of {k}") for k in KEYS]
    assert after == before
    assert table.position == len(history)


@given(events())
def test_no_request_goes_to_a_lost_or_retired_replica_or_a_stopped_or_deleted_model(
    history: list[Event],
) -> None:
    table = fold(history)
    for model_id in MODELS:
        about = [event for event in history if event[1]["model_id"] == model_id]
        state: dict[tuple[int, str], bool] = {}
        stopped = deleted = False
        for event_type, facts in about:
            if event_type in {"ReplicaReady", "ReplicaLost", "ReplicaRetired"}:
                state[facts["revision"], facts["replica_id"]] = event_type == "ReplicaReady"
            if event_type in {"DeploymentStopRequested", "DeploymentStopped"}:
                stopped = True
            if event_type in {"DeploymentRequested", "ModelImportRequested"}:
                stopped = False
            if event_type in {"ModelDeleted", "ModelImportRequested"}:
                deleted = event_type == "ModelDeleted"
        used = endpoints(table, model_id)
        if stopped or deleted:
            assert not used
        if used:
            serving = table.models[model_id].serving_revision
            assert serving is not None
            assert used <= {f"http://{r}" for (n, r), up in state.items() if up and n == serving}


@given(events())
def test_a_key_is_worth_something_from_creation_to_revocation(history: list[Event]) -> None:
    table = fold(history)
    for key_id in KEYS:
        last = [t for t, f in history if f.get("key_id") == key_id][-1:]
        assert (table.key(f"digest of {key_id}") is not None) == (last == ["ApiKeyCreated"])


def deployed(revision: int = 1, *replicas: str, **parameters: Any) -> list[Event]:
    model = {"model_id": "m1", "revision": revision}
    return [
        ("DeploymentRequested", {**model, "configuration": {"parameters": parameters}}),
        *(
            ("ReplicaReady", {**model, "replica_id": r, "endpoint": f"http://{r}/v1/"})
            for r in replicas
        ),
        ("RevisionDeployed", model),
    ]


IMPORTED: Event = ("ModelImportRequested", {"model_id": "m1", "name": "tiny"})


def test_traffic_moves_with_the_deployed_revision_and_brings_its_defaults() -> None:
    table = fold(
        [IMPORTED, *deployed(1, "a", temperature=0.5, stop=[]), *deployed(2, "b", top_k=3)]
    )
    assert endpoints(table, "m1") == {"http://b"}
    serving = table.models["m1"].serving
    assert serving is not None
    assert serving.defaults == {"top_k": b"3"}


def test_replicas_take_turns_and_the_least_busy_one_is_chosen() -> None:
    route = fold([IMPORTED, *deployed(1, "a", "b")]).models["m1"]
    first, second = route.pick(), route.pick()
    assert isinstance(first, Replica)
    assert isinstance(second, Replica)
    assert first is not second
    first.outstanding = 1
    assert {id(route.pick()) for _ in range(4)} == {id(second)}
    second.ejected = True
    assert {id(route.pick()) for _ in range(4)} == {id(first)}
    assert route.pick(exclude=first) is None
    first.ejected = True
    assert route.pick() is None


def replicas(*outstanding: int) -> list[Replica]:
    made = [Replica(f"replica-{n}", f"http://{n}") for n in range(len(outstanding))]
    for replica, requests in zip(made, outstanding, strict=True):
        replica.outstanding = requests
    return made


CONVERSATIONS = st.integers(0, 2**64 - 1)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), CONVERSATIONS, st.integers(0, 4))
def test_no_replica_is_chosen_that_is_busier_than_the_slack_allows(
    outstanding: list[int], conversation: int, slack: int
) -> None:
    chosen = choose(replicas(*outstanding), conversation, slack)
    assert chosen.outstanding <= min(outstanding) + slack
    assert choose(replicas(*outstanding), None, slack).outstanding == min(outstanding)


@given(CONVERSATIONS, st.integers(2, 8), st.data())
def test_a_conversation_stays_with_its_replica_when_others_go(
    conversation: int, count: int, data: st.DataObject
) -> None:
    all_of_them = replicas(*[0] * count)
    own = choose(all_of_them, conversation, 0)
    fewer = [r for r in all_of_them if r is own or data.draw(st.booleans())]
    assert choose(data.draw(st.permutations(fewer)), conversation, 0) is own


def test_conversations_spread_evenly_over_equally_busy_replicas() -> None:
    made = replicas(0, 0, 0, 0)
    found = [choose(made, conversation_of("key", b"%d" % n), 2).endpoint for n in range(4000)]
    assert all(800 < found.count(replica.endpoint) < 1200 for replica in made)


def test_a_conversation_is_the_same_in_every_process_and_another_under_another_key() -> None:
    assert conversation_of("Bearer one", b"hello") == 7228713272366354559
    assert conversation_of("Bearer two", b"hello") != conversation_of("Bearer one", b"hello")


def test_a_quarter_of_a_batch_is_close_enough() -> None:
    route = fold([IMPORTED, *deployed(1, "a", "b", batch_size=8)]).models["m1"]
    own = route.pick(7)
    assert own is not None
    own.outstanding = 2
    assert route.pick(7) is own
    own.outstanding = 3
    assert route.pick(7) is not own


IMAGE = {
    "container_image": {
        "configuration": json.dumps(
            {
                "schemaVersion": 1,
                "port": 8080,
                "health": {"path": "/ready"},
                "apis": [
                    {"path": "/classify"},
                    {"path": "/labels", "method": "GET", "port": 8080},
                    {"path": "/admin", "port": 9090},
                ],
            }
        )
    }
}


def test_a_container_image_offers_what_its_own_version_lists_on_its_main_port() -> None:
    imported = {"model_id": "m1", "name": "tiny", "version": "0.0.1", "origin": IMAGE}
    asked = {"model_id": "m1", "revision": 1, "model_version": "0.0.1"}
    deployed = ("RevisionDeployed", {"model_id": "m1", "revision": 1})
    container = ("DeploymentRequested", {**asked, "configuration": {"engine": "container"}})
    table = fold([("ModelImportRequested", imported), container, deployed])
    serving = table.models["m1"].serving
    assert serving is not None
    assert set(serving.interfaces or ()) == {("POST", "/classify"), ("GET", "/labels")}


def test_models_that_are_no_images_have_no_such_interfaces() -> None:
    imported = {"model_id": "m1", "name": "tiny", "version": "0.0.1", "origin": None}
    asked = {"model_id": "m1", "revision": 1, "model_version": "0.0.1"}
    deployed = ("RevisionDeployed", {"model_id": "m1", "revision": 1})
    other = ("DeploymentRequested", {**asked, "configuration": {"engine": "vllm"}})
    table = fold([("ModelImportRequested", imported), other, deployed])
    serving = table.models["m1"].serving
    assert serving is not None
    assert serving.interfaces is None


def test_a_registered_server_is_called_by_the_form_of_its_address_that_its_key_has() -> None:
    revision = {"model_id": "m1", "revision": 1}
    asked = {**revision, "configuration": {"hardware": {"server": "gpu-7"}}}
    replica = {**revision, "replica_id": "a", "endpoint": "HTTPS://GPU-7:443/Pool-B"}
    table = fold(
        [
            IMPORTED,
            ("DeploymentRequested", asked),
            ("ReplicaReady", replica),
            ("RevisionDeployed", revision),
        ]
    )
    assert endpoints(table, "m1") == {"https://gpu-7/Pool-B"}


def imported(model_id: str, name: str) -> Event:
    return "ModelImportRequested", {"model_id": model_id, "name": name}


def served(model_id: str) -> list[Event]:
    revision = {"model_id": model_id, "revision": 1}
    replica = {"replica_id": "a", "endpoint": f"http://{model_id}"}
    return [
        ("DeploymentRequested", {**revision, "configuration": {}}),
        ("ReplicaReady", {**revision, **replica}),
        ("RevisionDeployed", revision),
    ]


def beside(event_type: str) -> Event:
    facts = {"model_id": "m1", "adapter_model_id": "m2", "adapter_name": "fine"}
    return event_type, facts


def answering(table: RoutingTable, key_of: str, name: str) -> str | None:
    target = table.target(table.models[key_of], name)
    return target.model_id if target is not None else None


def test_a_base_answers_for_the_adapters_beside_it_with_either_key() -> None:
    both = [imported("m1", "tiny"), imported("m2", "fine"), *served("m1")]
    table = fold([*both, beside("AdapterLoaded")])
    assert answering(table, "m1", "tiny") == "m1"
    assert answering(table, "m1", "fine") == "m1"
    assert answering(table, "m2", "fine") == "m1"
    assert answering(table, "m2", "tiny") is None
    assert answering(fold(both), "m1", "fine") is None
    for end in (beside("AdapterUnloadRequested"), ("DeploymentStopped", {"model_id": "m1"})):
        gone = fold([*both, beside("AdapterLoaded"), end])
        assert answering(gone, "m1", "fine") is None
        assert answering(gone, "m2", "fine") == "m2"


def test_an_adapter_that_serves_on_its_own_answers_for_itself() -> None:
    table = fold(
        [imported("m1", "tiny"), imported("m2", "fine"), *served("m1"), *served("m2"),
         beside("AdapterLoaded")]
    )  # fmt: skip
    assert answering(table, "m2", "fine") == "m2"
    assert answering(table, "m1", "fine") == "m1"
