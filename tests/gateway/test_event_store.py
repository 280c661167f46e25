"""`loggia gateway` on the real event store: what commands decide, consumers feel."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from backend.infra.settings import Settings
from tests.gateway.engine_double import TEXT, EngineDouble
from tests.gateway.gallery import CONTEXT, Gallery, gallery
from tests.rig.ports import free_port
from tests.rig.servers import BrokerServer, PostgresServer
from tests.rig.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]


class GatewayProcess:
    """`loggia gateway` as production runs it."""

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "gateway"],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "LOGGIA_DATA_DIR": str(settings.data),
                "LOGGIA_POSTGRES_DSN": settings.dsn,
                "LOGGIA_KAFKA_BOOTSTRAP_SERVERS": str(settings.kafka_bootstrap_servers),
                "LOGGIA_GATEWAY_PORT": str(self.port),
                "LOGGIA_GATEWAY_WORKERS": str(workers),
            },
        )

    def ready(self) -> bool:
        assert self.process.poll() is None
        try:
            # A connection for each question, so that every process is asked in its turn.
            return all(httpx.get(f"{self.url}/readyz").status_code == 200 for _ in range(8))
        except httpx.TransportError:
            return False

    def chat(self, key: str | None, model: str = "tiny") -> int:
        """The status of a request over a connection of its own."""
        response = httpx.post(
            f"{self.url}/v1/chat/completions",
            json={"model": model, "messages": []},
            headers={"Authorization": f"Bearer {key}", "Connection": "close"},
            timeout=20,
        )
        assert response.status_code != 200 or TEXT in response.text
        return response.status_code

    def end(self) -> None:
        self.process.kill()
        self.process.wait(timeout=10)


@pytest.fixture
def start_gateway(settings: Settings) -> Iterator[Callable[..., GatewayProcess]]:
    started: list[GatewayProcess] = []

    def start(workers: int = 1) -> GatewayProcess:
        gateway = GatewayProcess(settings, workers)
        started.append(gateway)
        eventually(gateway.ready, "the gateway is ready")
        return gateway

    yield start
    for gateway in started:
        gateway.end()


@pytest.fixture
def made(settings: Settings) -> Iterator[Gallery]:
    with gallery(settings) as made:
        yield made


def test_a_deployments_whole_life_reaches_consumers_also_while_kafka_is_down(
    made: Gallery,
    engine: EngineDouble,
    start_engine: Callable[[], EngineDouble],
    start_gateway: Callable[..., GatewayProcess],
    broker: BrokerServer,
) -> None:
    model_id = made.model("tiny")
    key = made.key(model_id)
    gateway = start_gateway()
    broker.kill()
    assert gateway.chat(key.secret) == 503
    made.deploy(model_id, engine.endpoint, temperature=0.5)
    eventually(lambda: gateway.chat(key.secret) == 200, "the deployment answers")
    assert engine.last_body["temperature"] == 0.5
    fresh = start_engine()
    made.deploy(model_id, fresh.endpoint, temperature=0.75)
    eventually(lambda: gateway.chat(key.secret) == 200 and fresh.seen["count"], "it switches")
    assert fresh.last_body["temperature"] == 0.75
    made.models.publish(CONTEXT, model_id)
    made.models.withdraw(CONTEXT, model_id)
    assert gateway.chat(key.secret) == 200
    made.revoke(model_id, key.id)
    eventually(lambda: gateway.chat(key.secret) == 401, "the key is refused")
    other = made.key(model_id)
    eventually(lambda: gateway.chat(other.secret) == 200, "a new key works")
    made.deployments.stop(CONTEXT, model_id)
    eventually(lambda: gateway.chat(other.secret) == 503, "the stopped model is refused")


def test_what_happened_before_the_start_counts(
    made: Gallery, engine: EngineDouble, start_gateway: Callable[..., GatewayProcess]
) -> None:
    model_id = made.model("tiny")
    made.deploy(model_id, engine.endpoint)
    good, revoked = made.key(model_id), made.key(model_id)
    made.revoke(model_id, revoked.id)
    gateway = start_gateway()
    assert (gateway.chat(good.secret), gateway.chat(revoked.secret)) == (200, 401)


def test_the_last_routes_stay_in_force_while_the_store_is_away(
    tmp_path: Path, engine: EngineDouble
) -> None:
    server = PostgresServer()
    try:
        server.start()
        settings = Settings(
            _env_file=None, data_dir=tmp_path / "data", postgres_dsn=server.database()
        )
        with gallery(settings) as made:
            model_id = made.model("tiny")
            made.deploy(model_id, engine.endpoint)
            key, revoked = made.key(model_id), made.key(model_id)
        gateway = GatewayProcess(settings)
        try:
            eventually(gateway.ready, "the gateway is ready")
            server.kill()
            assert gateway.chat(key.secret) == 200
            server.start()
            with gallery(settings) as made:
                made.revoke(model_id, revoked.id)
            eventually(lambda: gateway.chat(revoked.secret) == 401, "it follows again")
            assert gateway.chat(key.secret) == 200
        finally:
            gateway.end()
    finally:
        server.remove()


def test_several_processes_keep_one_rate_limit_one_report_and_end_together(
    made: Gallery, engine: EngineDouble, start_gateway: Callable[..., GatewayProcess]
) -> None:
    model_id = made.model("tiny")
    made.deploy(model_id, engine.endpoint)
    limited = made.key(model_id, requests_per_minute=2)
    gateway = start_gateway(workers=2)
    began = time.monotonic()
    statuses = [gateway.chat(limited.secret) for _ in range(12)]
    refilled = (time.monotonic() - began) / 60 * 2
    assert 2 <= statuses.count(200) <= 2 + refilled
    report = httpx.get(f"{gateway.url}/metrics").text
    served = next(
        line for line in report.splitlines() if "requests_total" in line and '"200"' in line
    )
    assert float(served.rpartition(" ")[2]) == statuses.count(200)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(timeout=20) == 0


def test_processes_do_not_outlive_a_killed_parent(
    made: Gallery, start_gateway: Callable[..., GatewayProcess]
) -> None:
    gateway = start_gateway(workers=2)
    gateway.process.kill()
    gateway.process.wait(timeout=10)

    def silent() -> bool:
        try:
            httpx.get(f"{gateway.url}/healthz")
        except httpx.TransportError:
            return True
        return False

    eventually(silent, "nobody listens any more")


def test_a_busy_port_is_named(settings: Settings) -> None:
    first = GatewayProcess(settings)
    try:
        eventually(first.ready, "the gateway is ready")
        second = subprocess.run(
            [sys.executable, "-m", "backend.cli", "gateway"],
            cwd=REPOSITORY,
            env={
                **os.environ,
                "LOGGIA_DATA_DIR": str(settings.data),
                "LOGGIA_POSTGRES_DSN": settings.dsn,
                "LOGGIA_GATEWAY_PORT": str(first.port),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode != 0
        assert f"127.0.0.1:{first.port}" in second.stderr
        assert "LOGGIA_GATEWAY_PORT" in second.stderr
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=20) == 0
    finally:
        first.end()
