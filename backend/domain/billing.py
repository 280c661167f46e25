"""What use costs. The wizard's estimate and the bill are made by the same functions.

Amounts are exact fractions until they are shown, so that the parts of a bill add up to the whole,
however finely it is divided. Where no price is set, the cost is not known: None, and not zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from backend.domain.price_list import CPU, GPU, Prices, TokenPrice

MICROSECONDS_PER_HOUR = 3_600_000_000
_TOKENS = 1_000_000
_SHOWN = Decimal("0.000001")


@dataclass(frozen=True)
class Hardware:
    """What one replica has: `count` GPUs, or none. `kinds` are their names as far as known."""

    accelerator: str
    count: int = 0
    kinds: tuple[str, ...] = ()

    @property
    def priced(self) -> Counter[str]:
        """What has a price in it, and how often; GPUs without a name count as any."""
        if self.accelerator == CPU:
            return Counter([CPU])
        known = Counter(self.kinds[: self.count])
        known[GPU] += self.count - known.total()
        return +known


def hourly(prices: Prices | None, hardware: Hardware) -> Fraction | None:
    """What one replica costs for an hour; None where a part of it has no price."""
    if prices is None:
        return None
    by_kind = {price.kind: price.per_hour for price in prices.hardware}
    general = None if hardware.accelerator == CPU else by_kind.get(GPU)
    amount = Fraction()
    for kind, count in hardware.priced.items():
        price = by_kind.get(kind, general)
        if price is None:
            return None
        amount += Fraction(price) * count
    return amount


def of_time(prices: Prices | None, hardware: Hardware, microseconds: int) -> Fraction | None:
    """What a replica costs for this time."""
    price = hourly(prices, hardware)
    return None if price is None else price * microseconds / MICROSECONDS_PER_HOUR


def token_price(prices: Prices | None, model_id: str) -> TokenPrice | None:
    """The model's own price, or else the general one."""
    if prices is None:
        return None
    by_model = {price.model_id: price for price in prices.tokens}
    return by_model.get(model_id, by_model.get(None))


def of_tokens(
    prices: Prices | None, model_id: str, input_tokens: int, output_tokens: int
) -> Fraction | None:
    """What these tokens cost."""
    price = token_price(prices, model_id)
    if price is None:
        return None
    return (
        Fraction(price.per_million_input) * input_tokens
        + Fraction(price.per_million_output) * output_tokens
    ) / _TOKENS


def total(parts: Iterable[Fraction | None]) -> Fraction | None:
    """The sum of what is known; None where nothing is."""
    known = [part for part in parts if part is not None]
    return sum(known, Fraction()) if known else None


def shown(amount: Fraction | None) -> str | None:
    """An amount as it is shown: decimal, to a millionth."""
    if amount is None:
        return None
    exact = Decimal(amount.numerator) / Decimal(amount.denominator)
    return f"{exact.quantize(_SHOWN, ROUND_HALF_EVEN):f}"
