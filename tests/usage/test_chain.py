"""From requests at the gateway to the sums: what engines served is what is summed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.gateway.metrics import Metrics
from backend.gateway.usage import UsagePublisher
from backend.infra import kafka
from backend.infra.postgres import Pool
from backend.infra.settings import Settings
from projections.usage import Usage
from tests.gateway.conftest import engine, gateway, start_engine
from tests.gateway.engine_double import EngineDouble
from tests.gateway.running import GatewayUnderTest
from tests.rig.servers import BrokerServer
from tests.rig.waiting import eventually
from tests.usage.records import sums

__all__ = ["engine", "gateway", "start_engine"]

REQUESTS = 300


@pytest.fixture
def chain(settings: Settings, pool: Pool, topic: None, gateway: GatewayUnderTest) -> Iterator[None]:
    """The gateway tells the topic, and the topic is summed."""
    stop = threading.Event()
    summing = threading.Thread(target=Usage(settings, pool).run, args=(stop,), daemon=True)
    summing.start()
    publisher = UsagePublisher(settings, Metrics().usage)
    gateway.tell = publisher.publish
    yield
    publisher.close()
    stop.set()
    summing.join(timeout=20)


@pytest.mark.usefixtures("chain")
def test_under_load_with_a_broker_that_forgets_the_sums_are_what_the_engines_served(
    settings: Settings,
    pool: Pool,
    broker: BrokerServer,
    gateway: GatewayUnderTest,
    start_engine: Callable[[], EngineDouble],
) -> None:
    engines = [start_engine(), start_engine()]
    model_id = gateway.model()
    gateway.deploy(model_id, *(each.endpoint for each in engines), accelerators=1)
    key = gateway.key(model_id)

    def ask(number: int) -> int:
        return gateway.chat(key, stream=number % 2 == 0).status_code

    with ThreadPoolExecutor(8) as many:
        statuses = many.map(ask, range(REQUESTS))
        eventually(lambda: len(gateway.answered) > REQUESTS // 3, "some are answered")
        broker.restart()
        kafka.ensure_topics(settings)
        assert set(statuses) == {200}
    served = sum(each.seen["count"] for each in engines)
    assert served == REQUESTS
    eventually(lambda: sums(pool)["requests"] >= served, "everything is summed", seconds=60)
    found = sums(pool)
    assert found["requests"] == served
    assert (found["input_tokens"], found["output_tokens"]) == (3 * served, 4 * served)
    assert found["accelerator_microseconds"] > 0
