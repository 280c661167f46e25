from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backend.gateway.limits import Limits
from tests.gateway.engine_double import EngineDouble
from tests.gateway.running import GatewayUnderTest


@pytest.fixture
def start_engine() -> Iterator[Callable[[], EngineDouble]]:
    """Starts engine doubles; all of them end with the test."""
    started: list[EngineDouble] = []

    def start() -> EngineDouble:
        double = EngineDouble()
        started.append(double)
        double.start()
        return double

    yield start
    for double in started:
        double.stop()


@pytest.fixture
def engine(start_engine: Callable[[], EngineDouble]) -> EngineDouble:
    return start_engine()


@pytest.fixture
def gateway() -> Iterator[GatewayUnderTest]:
    """A gateway that loses patience soon, without any route."""
    gateway = GatewayUnderTest(
        Limits(
            body_bytes=100_000,
            held_bytes=150_000,
            body_seconds=2,
            connect_seconds=1,
            first_byte_seconds=2,
            silence_seconds=1,
            drain_seconds=3,
            wait_seconds=0.5,
        )
    )
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def model_id(gateway: GatewayUnderTest, engine: EngineDouble) -> str:
    """The model 'tiny', deployed on the engine double."""
    model_id = gateway.model()
    gateway.deploy(model_id, engine.endpoint)
    return model_id


@pytest.fixture
def key(gateway: GatewayUnderTest, model_id: str) -> str:
    return gateway.key(model_id)
