"""Which records are in the sums, and what is no record."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.contracts.codec import MalformedEvent
from backend.contracts.usage import decode, headers_of
from projections.usage import Seen
from tests.usage.records import NOON, record


@given(st.lists(st.integers(1, 30), max_size=80))
def test_a_number_is_new_exactly_once(numbers: list[int]) -> None:
    seen, before = Seen(), set[int]()
    for number in numbers:
        assert seen.add(number) == (number not in before)
        before.add(number)
    gone = {n for first, last in seen.missing for n in range(first, last + 1)}
    assert gone == set(range(1, max(before, default=0) + 1)) - before
    assert seen.missing == sorted(seen.missing)


def test_another_type_of_record_is_no_record_of_these() -> None:
    headers = [("ce_type", b"loggia.usage.v2.RequestAnswered")]
    with pytest.raises(MalformedEvent, match="unknown to this version"):
        decode(record("a", 1).SerializeToString(), headers)
    good = record("a", 1)
    assert decode(good.SerializeToString(), headers_of(good)) == good
    assert good.time.ToDatetime(tzinfo=UTC) == NOON
