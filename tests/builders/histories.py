"""Random histories that the product could really have had: made by the aggregates themselves.

history = History(seed=7)
events = history.public(500)        # as they would be on the topic, positions 1 to 500
write(store, history)               # or into a real event store, in one go
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any
from uuid import UUID, uuid4, uuid5

from eventsourcing.persistence import DatetimeAsISO, JSONTranscoder, Mapper, UUIDAsHex
from psycopg.sql import SQL, Identifier

from backend.application.store import SCHEMA, TABLE, EventStore
from backend.application.translate import tell
from backend.contracts.codec import PublicEvent
from backend.domain.api_key import ApiKey
from backend.domain.configuration import DeployConfiguration
from backend.domain.deployment import Deployment
from backend.domain.deployment_events import DeploymentState
from backend.domain.events import Aggregate, Cause, caused_by
from backend.domain.import_batch import ImportBatch
from backend.domain.model import AcceptedRisks, ImportRequest, Model, ModelState
from backend.domain.user import Role, User

LABELS = ["chat", "code", "vision", "small", "中文", "8-bit", "experimental"]
ACTORS = ["user:admin", "user:ada", "user:grace", "worker:import", "worker:deploy"]
ORIGINS: list[dict[str, Any]] = [
    {"huggingface": {"repository": "some/model", "files": ["*.safetensors"]}},
    {"url": {"address": "https://example.org/m.tar.zst"}},
    {"path": {"path": "/models/m", "mode": "reference", "template": "TEMPLATE x"}},
    {
        "container_image": {
            "reference": "registry.example/server:1",
            "deployment_type": "real_time",
            "configuration": "{}",
            "minimum": {"cpu": 0.5, "memory_gib": 2, "gpu": 1},
        }
    },
    {"manual": {"type": "llm", "runtime": "vllm"}},
]
_TRANSCODER = JSONTranscoder()
for _transcoding in (UUIDAsHex(), DatetimeAsISO()):
    _TRANSCODER.register(_transcoding)
_MAPPER: Mapper[UUID] = Mapper(_TRANSCODER)
ARCHITECTURES = ["LlamaForCausalLM", "Qwen2ForCausalLM", "MistralForCausalLM"]


class _Life:
    """A model with its deployment and its keys, and what may happen to it next."""

    def __init__(self, dice: random.Random, name: str) -> None:
        self.dice = dice
        self.size = dice.randint(1, 10**12)
        self.model = Model.request_import(self.request(name))
        self.deployment: Deployment | None = None
        self.keys: list[ApiKey] = []

    def request(self, name: str) -> ImportRequest:
        """From any source, with and without what else may be said."""
        risks = AcceptedRisks(("pickle",), "our own file") if self.dice.random() < 0.1 else None
        if self.dice.random() < 0.5:
            return ImportRequest(
                file_name=f"{name}.zip",
                upload_id=uuid4(),
                size_bytes=self.size,
                accepted_risks=risks,
            )
        origin = self.dice.choice(ORIGINS)
        return ImportRequest(
            source=next(iter(origin)),
            origin=origin,
            name=name,
            technical_name=self.dice.choice([None, f"t-{name}"]),
            labels=self.dice.sample(LABELS, self.dice.randint(0, 3)),
            description="from elsewhere",
            batch_id=self.dice.choice([None, uuid4()]),
            accepted_risks=risks,
        )

    @property
    def aggregates(self) -> list[Aggregate]:
        deployment = [self.deployment] if self.deployment else []
        return [self.model, *deployment, *self.keys]

    def choices(self) -> list[Callable[[], None]]:
        """Everything that the rules allow now."""
        state, model = self.model.state, self.model
        if state is ModelState.DELETED:
            return []
        found: list[Callable[[], None]] = [self.edit, self.create_key]
        if model.latest.underway:
            found += [self.fail_import, *[self.advance_import] * 6]
            found += [model.cancel_import] * (self.dice.random() < 0.1)
        elif self.dice.random() < 0.3:
            found.append(lambda: model.request_version(self.request(model.name)))
        if model.latest.state is ModelState.FAILED and model.latest.retriable:
            found += [model.retry_import] * 3
        usable = [n for n, v in model.versions.items() if v.state is ModelState.READY]
        if len(usable) > 1:
            found.append(lambda: model.select_current_version(self.dice.choice(usable)))
        if self.dice.random() < 0.1:
            found.append(lambda: model.update_template(f"TEMPLATE {self.dice.randint(0, 9)}"))
        if state is ModelState.READY:
            found += [model.publish, *[self.deploy] * 2]
            if self.deployment is not None:
                found.append(self.keep_configuration)
        if model.publication == "published":
            found.append(model.withdraw)
        if self.deployment is None and self.dice.random() < 0.1:
            found.append(lambda: model.delete(ever_deployed=False))
        if self.deployment is not None:
            found += [self.serve] * 4
        if self.keys:
            found.append(self.dice.choice(self.keys).revoke)
        return found

    def edit(self) -> None:
        self.model.edit_configuration(
            description="".join(
                self.dice.choices("abc xyz '\"\\é模\n", k=self.dice.randint(0, 40))
            ),
            labels=self.dice.sample(LABELS, self.dice.randint(0, 4)),
            documentation_links=["https://example.org/a"][: self.dice.randint(0, 1)],
        )

    def create_key(self) -> None:
        self.keys.append(
            ApiKey.create(
                model_id=self.model.id,
                name=f"key {len(self.keys)}",
                prefix="lgk_abcdef",
                sha256=f"{self.dice.getrandbits(256):064x}",
                expires_at=None,
                requests_per_minute=self.dice.choice([None, 60]),
            )
        )

    def advance_import(self) -> None:
        model = self.model
        version = model.latest
        if version.upload_id is not None and not version.archive_received:
            model.receive_archive(version.upload_id, self.size)
        elif version.state is ModelState.VALIDATING or not (
            version.has_files or version.source == "container_image"
        ):
            model.record_validated(version.number, report=self.report("pass"), card=self.card())
        elif version.source == "container_image":
            model.record_image_inspected(
                version.number,
                reference="registry.example/server:1",
                digest=f"sha256:{self.dice.getrandbits(256):064x}",
                platform="linux/amd64",
                size_bytes=self.size,
                ports=["8000/tcp"],
                labels={"org.example.b": "2", "org.example.a": "1"},
            )
        elif version.upload_id is None and version.resolved is None:
            model.record_source_fetched(
                version.number,
                resolved={"revision": f"{self.dice.getrandbits(160):040x}"},
                file_count=3,
                total_bytes=self.size,
            )
        else:
            model.record_files_stored(
                version.number,
                manifest_uri="file:///manifests/a.json",
                manifest_sha256=f"{self.dice.getrandbits(256):064x}",
                file_count=self.dice.randint(1, 40),
                total_bytes=self.size,
            )

    def fail_import(self) -> None:
        step = "validate" if self.model.latest.state is ModelState.VALIDATING else "extract"
        self.model.record_import_failed(
            self.model.latest.number,
            step=step,
            reason="The archive is truncated.",
            remedy="Upload it again.",
            report=self.report("fail") if step == "validate" else None,
        )

    def report(self, outcome: str) -> dict[str, Any]:
        return {
            "checks": [
                {
                    "id": f"check-{number}",
                    "title": f"Check number {number}",
                    "outcome": outcome if number == 0 else "pass",
                    "evidence": "model.safetensors: 12 tensors, offsets without holes",
                    "hint": "",
                }
                for number in range(self.dice.randint(3, 6))
            ]
        }

    def card(self) -> dict[str, Any]:
        return {
            "architecture": self.dice.choice(ARCHITECTURES),
            "model_type": "llama",
            "task": "text-generation",
            "parameter_count": self.dice.randint(10**6, 10**11),
            "dtype": "bfloat16",
            "context_length": 4096,
            "license": self.dice.choice(["apache-2.0", "mit"]),
            "chat_template": True,
            "languages": ["en", "zh"],
            "summary": "A model made for tests. " * self.dice.randint(0, 8),
            "weight_format": "safetensors",
            "format": self.dice.choice(["transformers", "peft"]),
            "adapter": self.dice.choice(
                [None, {"rank": 8, "alpha": 16.0, "target_modules": ["q"]}]
            ),
            "memory": [
                {"dtype": "int8", "weights_bytes": 5 * 10**9, "kv_cache_bytes_per_token": 4096}
            ],
            "total_bytes": self.size,
        }

    def deploy(self) -> None:
        terms = {"terms_version": "1", "terms_sha256": "0" * 64}
        if self.deployment is None:
            self.deployment = Deployment.begin(model_id=self.model.id, **terms)
        elif self.deployment.state is DeploymentState.STOPPING:
            return
        else:
            self.deployment.accept_terms(**terms)
        configuration = DeployConfiguration.from_dict(
            {
                "parameters": {"temperature": round(self.dice.uniform(0, 2), 2)},
                "scaling": {"min_replicas": 0, "max_replicas": 3},
            }
        )
        self.deployment.request(
            configuration=configuration, model_version=self.model.current_version or "", reason=""
        )

    def keep_configuration(self) -> None:
        """Somebody changes the configuration without deploying it, or thinks better of it."""
        assert self.deployment is not None
        if self.deployment.saved_configuration is not None and self.dice.random() < 0.5:
            self.deployment.discard_configuration()
            return
        parameters = {"temperature": round(self.dice.uniform(0, 2), 2)}
        self.deployment.save_configuration(
            configuration=DeployConfiguration.from_dict({"parameters": parameters}), reason="later"
        )

    def serve(self) -> None:
        """What the deploy worker or an administrator does next."""
        deployment = self.deployment
        assert deployment is not None
        revision = deployment.desired_revision
        choice = self.dice.random()
        if deployment.state is DeploymentState.DEPLOYING:
            self._start(deployment, revision, choice)
        elif deployment.state is DeploymentState.DEPLOYED:
            if choice < 0.3:
                deployment.stop(reason="enough")
            elif choice < 0.5:
                deployment.roll_back(
                    revision=self.dice.randint(1, revision), reason="better before"
                )
            elif choice < 0.6 and deployment.replicas:
                self._lose(deployment, revision)
            elif choice < 0.8:
                self._scale(deployment, revision)
            elif choice < 0.95:
                self._change_adapters(deployment, revision)
            elif revision > 1:
                deployment.record_revision_retired(revision=revision - 1)
        elif deployment.state is DeploymentState.STOPPING:
            deployment.record_stopped()
        else:
            deployment.start()

    def _change_adapters(self, deployment: Deployment, revision: int) -> None:
        """Asks for one of three adapters, takes one back, or does what was asked."""
        adapter = uuid5(self.model.id, self.dice.choice("abc"))
        wanted = deployment.wanted_adapters.get(str(adapter))
        if wanted is None and str(adapter) in deployment.adapters:
            deployment.record_adapter_unloaded(
                revision=revision, adapter_model_id=adapter, name="x", reason="", failed=False
            )
        elif wanted is None:
            deployment.load_adapter(
                adapter_model_id=adapter, name=f"a-{adapter.hex[:6]}", version="0.0.1", rank=8
            )
        elif str(adapter) in deployment.adapters:
            deployment.unload_adapter(adapter_model_id=adapter, reason="enough")
        elif self.dice.random() < 0.2:
            deployment.record_adapter_unloaded(
                revision=revision,
                adapter_model_id=adapter,
                name=wanted["name"],
                reason="It did not fit.",
                failed=True,
            )
        else:
            deployment.record_adapter_loaded(
                revision=revision, adapter_model_id=adapter, warnings=["It has no effect."]
            )

    def _start(self, deployment: Deployment, revision: int, choice: float) -> None:
        replica_id = uuid4()
        deployment.record_revision_prepared(
            revision=revision,
            environment_seconds=round(self.dice.uniform(0, 90), 3),
            files_seconds=round(self.dice.uniform(0, 9), 3),
        )
        deployment.record_replica_started(
            revision=revision,
            replica_id=replica_id,
            server="local",
            engine="vllm",
            engine_version="1",
            devices=["0: NVIDIA H200"] if choice < 0.6 else [],
        )
        if choice < 0.2:
            self._lose(deployment, revision, replica_id)
        elif choice < 0.3:
            deployment.record_revision_failed(
                revision=revision,
                reason="The engine ended.",
                remedy="Give it more memory.",
                log_tail=["out of memory"],
            )
        elif choice < 0.8:
            deployment.record_replica_ready(
                revision=revision,
                replica_id=replica_id,
                endpoint="http://127.0.0.1:9000",
                startup_seconds=round(self.dice.uniform(1, 60), 3),
                warnings=["It answers oddly."] if choice > 0.7 else [],
            )
            deployment.record_revision_deployed(revision=revision)

    def _scale(self, deployment: Deployment, revision: int) -> None:
        before = deployment.wanted_replicas[revision]
        deployment.scale(
            revision=revision,
            replicas=self.dice.randint(0, 3),
            running=self.dice.randint(0, 99),
            waiting=self.dice.randint(0, 9),
            sustained_seconds=30.0,
            reason="Requests fill more batches, or fewer.",
        )
        if deployment.wanted_replicas[revision] < before and deployment.replicas:
            deployment.retire_replica(
                revision=revision,
                replica_id=UUID(self.dice.choice(sorted(deployment.replicas))),
                reason="Scaled down.",
            )

    def _lose(self, deployment: Deployment, revision: int, replica_id: UUID | None = None) -> None:
        deployment.record_replica_lost(
            revision=revision,
            replica_id=replica_id or UUID(self.dice.choice(sorted(deployment.replicas))),
            reason="killed",
            exit_code=self.dice.choice([None, -9]),
            log_tail=["bye"],
        )


class History:
    """An endless valid history; the same seed makes the same decisions (ids and times differ)."""

    def __init__(self, seed: int, *, models: int = 20) -> None:
        self._dice = random.Random(seed)
        self._models = models
        self._names = count(1)
        self._lives: list[_Life] = []

    def domain(self, events: int) -> list[Any]:
        """At least this many domain events, in the order of their positions."""
        found: list[Any] = []
        while len(found) < events:
            found.extend(self._step())
        return found

    def public(self, events: int) -> list[PublicEvent]:
        """The same in public form, with positions from 1."""
        stored = map(_MAPPER.to_stored_event, self.domain(events))
        return [
            tell((n, str(row.originator_id), row.originator_version, row.topic, row.state))[0]
            for n, row in enumerate(stored, start=1)
        ]

    def _step(self) -> Iterator[Any]:
        actor = self._dice.choice(ACTORS)
        with caused_by(Cause(actor, uuid4(), uuid4() if self._dice.random() < 0.5 else None)):
            if self._dice.random() < 0.02:
                user = User.register(username=f"user{next(self._names)}", role=Role.VIEWER)
                return iter(user.collect_events())
            if self._dice.random() < 0.02:
                batch = ImportBatch.request(
                    uuid4(),
                    address="https://example.org/models.json",
                    format="json",
                    manifest_uri="file:///manifests/b.json",
                    manifest_sha256="b" * 64,
                    model_ids=[life.model.id for life in self._lives[:20]] or [uuid4()],
                )
                return iter(batch.collect_events())
            if len(self._lives) < self._models and self._dice.random() < 0.3:
                life = _Life(self._dice, f"model-{next(self._names)}")
                self._lives.append(life)
            else:
                alive = [life for life in self._lives if life.model.state is not ModelState.DELETED]
                if not alive:
                    self._models += 1
                    return iter(())
                life = self._dice.choice(alive)
                self._dice.choice(life.choices())()
        return (event for aggregate in life.aggregates for event in aggregate.collect_events())


def write(store: EventStore, events: Sequence[Any], *, after: int = 0) -> int:
    """Puts domain events into the store behind a position, in one COPY; returns the last position.

    The store's own path is too slow for a hundred thousand of them; the rows are the same.
    """
    with store.recorder.datastore.transaction(commit=True) as cursor:
        columns = ("originator_id", "originator_version", "topic", "state", "notification_id")
        with cursor.copy(
            SQL("COPY {} ({}) FROM STDIN").format(
                Identifier(SCHEMA, TABLE), SQL(", ").join(map(Identifier, columns))
            )
        ) as copy:
            for position, event in enumerate(events, start=after + 1):
                stored = store.mapper.to_stored_event(event)
                copy.write_row(
                    (
                        stored.originator_id,
                        stored.originator_version,
                        stored.topic,
                        stored.state,
                        position,
                    )
                )
        cursor.execute(SQL("NOTIFY {}").format(Identifier(TABLE)))
    return after + len(events)
