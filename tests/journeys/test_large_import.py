"""A large model goes through every process in pieces."""

from __future__ import annotations

import pytest

from tests.rig.large_import import import_large
from tests.rig.platform import RunningPlatform

GIB = 1 << 30
MOST_MIB = 300


@pytest.mark.journey
@pytest.mark.timeout(300)
def test_a_gigabyte_needs_little_memory_in_every_process(platform_up: RunningPlatform) -> None:
    done = import_large(platform_up, GIB, seconds=200)
    print(done)
    assert {"api", "relay", "project", "work import", "gateway"} <= set(done.peaks)
    assert {name: peak for name, peak in done.peaks.items() if peak >= MOST_MIB} == {}
