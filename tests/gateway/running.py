"""A gateway under test: real HTTP in a thread of this process, fed with events from memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import uvloop

from backend.application.feed import StoredEvent
from backend.contracts.codec import MESSAGES, PublicEvent
from backend.gateway.demand import Publish
from backend.gateway.limits import Limits
from backend.gateway.metering import Answered
from backend.gateway.rate_limits import RateLimits
from backend.gateway.worker import running
from backend.infra.playground_tokens import PlaygroundTokens
from tests.rig.waiting import eventually

PARAMETERS = {"temperature": 0.25, "max_tokens": 16, "top_p": 0.5, "top_k": 7, "stop": ["END"]}


class MemoryFeed:
    """The double of the event store's tail."""

    def __init__(self) -> None:
        self._events: list[StoredEvent] = []
        self._changed = threading.Condition()

    def append(self, event_type: str, **facts: Any) -> int:
        """Adds an event; its position."""
        with self._changed:
            position = len(self._events) + 1
            public = PublicEvent(
                position=position,
                type=event_type,
                time=datetime.now(UTC),
                actor="user:ada",
                partition_key=facts["model_id"],
                aggregate_id=facts["model_id"],
                aggregate_version=position,
                event_id=str(uuid4()),
                correlation_id=str(uuid4()),
                causation_id=None,
                message=MESSAGES[event_type](),
            )
            self._events.append(StoredEvent(public, facts))
            self._changed.notify_all()
        return position

    def follow(
        self, after: int, stop: threading.Event, types: Sequence[str] | None = None
    ) -> Iterator[list[StoredEvent]]:
        while not stop.is_set():
            with self._changed:
                batch = self._events[after:]
                if not batch:
                    self._changed.wait(0.02)
            after += len(batch)
            yield batch


class GatewayUnderTest:
    """Starts and ends it, and makes what it routes."""

    def __init__(self, limits: Limits | None = None, publish: Publish | None = None) -> None:
        self.feed = MemoryFeed()
        self.tokens = PlaygroundTokens(b"a secret of the tests")
        self._limits = limits
        self._publish = publish
        # What the records about usage are made of, in the order in which answers ended.
        self.answered: list[Answered] = []
        self.tell: Callable[[Answered], None] = lambda _: None
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=20)
        self._loop = uvloop.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()
        eventually(self._ready, "the gateway is ready")

    def begin_stop(self) -> None:
        """Asks it to end, as SIGTERM does."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def stop(self) -> None:
        if self._thread.is_alive():
            self.begin_stop()
            self._thread.join(timeout=20)
            assert not self._thread.is_alive()

    @property
    def tasks(self) -> int:
        """Tasks in its event loop."""

        async def count() -> int:
            return len(asyncio.all_tasks()) - 1

        return asyncio.run_coroutine_threadsafe(count(), self._loop).result(timeout=10)

    def publish(self, event_type: str, **facts: Any) -> None:
        """Adds an event and waits until the routes reflect it."""
        position = self.feed.append(event_type, **facts)
        eventually(
            lambda: self.http.get("/readyz").json()["position"] >= position,
            f"{event_type} is applied",
            every=0.005,
        )

    def model(self, name: str = "tiny") -> str:
        model_id = str(uuid4())
        self.publish("ModelImportRequested", model_id=model_id, name=name)
        return model_id

    def image(self, *interfaces: tuple[str, str]) -> str:
        """A model that is a container image with these methods and paths."""
        model_id = str(uuid4())
        apis = [{"method": method, "path": path} for method, path in interfaces]
        configuration = json.dumps({"port": 8080, "apis": apis})
        self.publish(
            "ModelImportRequested",
            model_id=model_id,
            name="image",
            version="0.0.1",
            origin={"container_image": {"configuration": configuration}},
        )
        return model_id

    def deploy(
        self,
        model_id: str,
        *endpoints: str,
        revision: int = 1,
        accelerators: int = 0,
        server: str = "local",
        engine: str = "vllm",
        **parameters: Any,
    ) -> list[str]:
        """A revision that serves at these endpoints; the ids of its replicas."""
        self.publish(
            "DeploymentRequested",
            model_id=model_id,
            revision=revision,
            model_version="0.0.1",
            configuration={
                "engine": engine,
                "parameters": {**PARAMETERS, **parameters},
                "hardware": {"accelerator_count": accelerators, "server": server},
            },
        )
        replicas = [self.replica(model_id, endpoint, revision) for endpoint in endpoints]
        self.publish("RevisionDeployed", model_id=model_id, revision=revision)
        return replicas

    def replica(self, model_id: str, endpoint: str, revision: int = 1) -> str:
        replica_id = str(uuid4())
        self.publish(
            "ReplicaReady",
            model_id=model_id,
            revision=revision,
            replica_id=replica_id,
            endpoint=endpoint,
        )
        return replica_id

    def key(
        self,
        model_id: str,
        *,
        valid_for: timedelta | None = None,
        requests_per_minute: int | None = None,
        key_id: str | None = None,
    ) -> str:
        secret = "lgk_" + secrets.token_urlsafe(32)
        self.publish(
            "ApiKeyCreated",
            model_id=model_id,
            key_id=key_id or str(uuid4()),
            sha256=hashlib.sha256(secret.encode()).hexdigest(),
            expires_at=(datetime.now(UTC) + valid_for).isoformat() if valid_for else None,
            requests_per_minute=requests_per_minute,
        )
        return secret

    def chat(
        self, key: str, *, model: str = "tiny", path: str = "/v1/chat/completions", **fields: Any
    ) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}
        return self.http.post(path, json=body, headers={"Authorization": f"Bearer {key}"})

    def metric(self, name: str, **labels: str) -> float:
        """The value of an instrument's series; 0 where there is none yet."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for line in self.http.get("/metrics").text.splitlines():
            series, _, value = line.rpartition(" ")
            head, _, rest = series.partition("{")
            if head == name and wanted <= set(rest.rstrip("}").split(",")):
                return float(value)
        return 0.0

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with running(
            self.feed,
            self.tokens,
            self._listener,
            RateLimits(),
            self._limits,
            self._publish,
            answered=self._note,
        ):
            await self._stop.wait()

    def _note(self, answered: Answered) -> None:
        self.answered.append(answered)
        self.tell(answered)

    def _ready(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False
