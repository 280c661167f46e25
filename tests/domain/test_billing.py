"""What use costs: divided as finely as one likes, the parts add up to the whole."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain import billing
from backend.domain.billing import MICROSECONDS_PER_HOUR, Hardware
from backend.domain.errors import Invalid
from backend.domain.events import Cause, caused_by
from backend.domain.price_list import HardwarePrice, PriceList, Prices, TokenPrice

ADA = Cause("user:ada", uuid4())
MODEL = str(uuid4())
amounts = st.decimals(0, 10**9 - 1, places=9, allow_nan=False).map(lambda d: f"{d:f}")
hardware = st.one_of(
    st.just(Hardware("cpu")),
    st.builds(
        Hardware,
        st.just("gpu"),
        st.integers(1, 64),
        st.lists(st.sampled_from(["NVIDIA H200", "Other"]), max_size=3).map(tuple),
    ),
)
prices = st.builds(
    lambda cpu, gpu, own, general, model: Prices(
        "EUR",
        [HardwarePrice("cpu", cpu), HardwarePrice("gpu", gpu), HardwarePrice("NVIDIA H200", own)],
        [TokenPrice(None, *general), TokenPrice(MODEL, *model)],
    ),
    *[amounts] * 3,
    *[st.tuples(amounts, amounts)] * 2,
)
cuts = st.lists(st.integers(0, 10**13), max_size=10)


@given(prices, hardware, cuts)
def test_time_costs_the_same_however_it_is_divided(
    prices: Prices, hardware: Hardware, parts: list[int]
) -> None:
    whole = billing.of_time(prices, hardware, sum(parts))
    divided = [billing.of_time(prices, hardware, part) for part in parts]
    assert (billing.total(divided) or 0) == whole


@given(prices, st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=10))
def test_tokens_cost_the_same_however_they_are_divided(
    prices: Prices, parts: list[tuple[int, int]]
) -> None:
    whole = billing.of_tokens(prices, MODEL, sum(i for i, _ in parts), sum(o for _, o in parts))
    divided = [billing.of_tokens(prices, MODEL, i, o) for i, o in parts]
    assert (billing.total(divided) or 0) == whole


@given(prices, hardware, st.integers(0, 64), st.integers(1, 10_000))
def test_the_estimate_for_hours_is_the_bill_for_these_hours(
    prices: Prices, hardware: Hardware, replicas: int, hours: int
) -> None:
    """As the wizard shows it, and as replicas that ran so long, each a little later, are billed."""
    hourly = billing.hourly(prices, hardware)
    assert hourly is not None
    bill = [
        billing.of_time(prices, hardware, MICROSECONDS_PER_HOUR)
        for _ in range(min(replicas * hours, 500))
    ]
    assert (billing.total(bill) or 0) == hourly * len(bill)


def test_a_kind_of_gpu_and_a_model_have_prices_of_their_own_or_the_general_one() -> None:
    prices = Prices(
        "EUR",
        [HardwarePrice("gpu", "2"), HardwarePrice("NVIDIA H200", "5")],
        [TokenPrice(None, "1", "2"), TokenPrice(MODEL, "0.5", "0.25")],
    )
    assert billing.hourly(prices, Hardware("gpu", 2, ("NVIDIA H200", "NVIDIA H200"))) == 10
    assert billing.hourly(prices, Hardware("gpu", 2, ("NVIDIA H200", "NVIDIA L4"))) == 7
    assert billing.hourly(prices, Hardware("gpu", 3, ("NVIDIA H200",))) == 9
    assert billing.hourly(prices, Hardware("gpu", 2)) == 4
    assert billing.of_tokens(prices, MODEL, 10**6, 2 * 10**6) == 1
    assert billing.of_tokens(prices, "another", 10**6, 0) == 1


def test_what_has_no_price_costs_nobody_knows_what() -> None:
    nothing = Prices("EUR")
    own = Prices("EUR", [HardwarePrice("NVIDIA H200", "5")])
    assert billing.hourly(own, Hardware("gpu", 2, ("NVIDIA H200",))) is None
    assert billing.hourly(Prices("EUR", [HardwarePrice("gpu", "2")]), Hardware("cpu")) is None
    assert billing.hourly(nothing, Hardware("cpu")) is None
    assert billing.of_time(None, Hardware("cpu"), 1) is None
    assert billing.of_tokens(nothing, MODEL, 1, 1) is None
    assert billing.total([None, None]) is None
    assert billing.total([None, Fraction(1)]) == 1
    assert billing.shown(None) is None


@given(st.fractions(0, 10**12))
def test_amounts_are_shown_to_a_millionth(amount: Fraction) -> None:
    text = billing.shown(amount)
    assert text is not None
    assert abs(Fraction(text) - amount) <= Fraction(1, 2_000_000)
    assert len(text.partition(".")[2]) == 6


@pytest.mark.parametrize(
    ("prices", "field"),
    [
        (Prices("euro"), "currency"),
        (Prices("EUR", [HardwarePrice("", "1")]), "hardware.0.kind"),
        (Prices("EUR", [HardwarePrice("cpu", "-1")]), "hardware.0.per_hour"),
        (Prices("EUR", [HardwarePrice("cpu", "1e3")]), "hardware.0.per_hour"),
        (Prices("EUR", [HardwarePrice("cpu", "1")] * 2), "hardware.1.kind"),
        (Prices("EUR", [], [TokenPrice(None, "1", "free")]), "tokens.0.per_million_output"),
        (Prices("EUR", [], [TokenPrice(None, "1", "1")] * 2), "tokens.1.model_id"),
        (Prices("EUR", [HardwarePrice(f"kind {n}", "1") for n in range(201)]), "hardware"),
    ],
)
def test_a_price_list_that_breaks_a_rule_is_refused(prices: Prices, field: str) -> None:
    begin: list[Callable[[], object]] = [lambda: PriceList.begin(prices)]
    with caused_by(ADA):
        there = PriceList.begin(Prices("EUR"))
        begin.append(lambda: there.set(prices))
        for attempt in begin:
            with pytest.raises(Invalid) as refused:
                attempt()
            assert refused.value.field == field
