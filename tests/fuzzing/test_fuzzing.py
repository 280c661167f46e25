"""Every parser of hostile files takes any bytes: it reads them or refuses them, and soon."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.fuzzing.__main__ import fuzz
from tests.fuzzing.mutations import mutate
from tests.fuzzing.targets import CORPUS, REFUSALS, TARGETS, Target

# A new one in each run; to run the same again, set FUZZ_SEED to the one that was printed.
SEED = int(os.environ.get("FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
_CASE_SECONDS = 10


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def late(*_: object) -> NoReturn:
        raise AssertionError(f"not done within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _run(target: Target, data: bytes) -> None:
    with _at_most(_CASE_SECONDS):
        refusal: Exception | None = None
        try:
            target.run(data)
        except REFUSALS as error:
            refusal = error
    assert refusal is None or (str(refusal) and getattr(refusal, "remedy", None))


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_was_found_once_is_read_or_refused(name: str) -> None:
    for data in TARGETS[name].cases():
        _run(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused(name: str) -> None:
    print(f"FUZZ_SEED={SEED}")
    cases = TARGETS[name].cases()

    @seeded(SEED)
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(cases), st.randoms(use_true_random=False), st.binary(max_size=64))
    def changed(data: bytes, chance: random.Random, other: bytes) -> None:
        _run(TARGETS[name], mutate(data, [*cases, other], chance))

    changed()


def test_the_corpus_has_every_parser_and_no_other() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == TARGETS.keys()


def test_a_long_run_ends_and_says_that_the_parser_held(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz("safetensors", seconds=2, seed=SEED)
    assert "safetensors: " in capfd.readouterr().out
