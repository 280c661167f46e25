"""The PriceList aggregate: what hardware and tokens cost. There is one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from backend.domain.errors import Invalid
from backend.domain.events import Aggregate, event_header

PRICE_LIST = UUID("0b6f8f0e-52a4-5f5c-9a55-6c1f1d0a7a11")
# Hardware whose price counts where a kind of GPU has none of its own, and where there is no GPU.
CPU, GPU = "cpu", "gpu"
MOST_PRICES = 200
_CURRENCY = re.compile(r"[A-Z]{3}")
_AMOUNT = re.compile(r"\d{1,9}(\.\d{1,9})?")
_MAX_KIND = 100


@dataclass(frozen=True)
class HardwarePrice:
    """For an hour of a replica without GPUs (`cpu`), or of one GPU of the kind (`gpu`: of any)."""

    kind: str
    per_hour: str


@dataclass(frozen=True)
class TokenPrice:
    """For a million tokens of a model; `model_id` None: of those without a price of their own."""

    model_id: str | None
    per_million_input: str
    per_million_output: str


@dataclass(frozen=True)
class Prices:
    """Everything that costs something. The currency is an ISO 4217 code; amounts are decimal."""

    currency: str
    hardware: Sequence[HardwarePrice] = ()
    tokens: Sequence[TokenPrice] = ()

    def check(self) -> None:
        """Raises `Invalid` for the first value that breaks a rule."""
        if not _CURRENCY.fullmatch(self.currency):
            raise Invalid(
                f"'{self.currency[:20]}' is not a currency.",
                remedy="Give its code of three capital letters, such as EUR.",
                field="currency",
            )
        for name, prices in (("hardware", self.hardware), ("tokens", self.tokens)):
            if len(prices) > MOST_PRICES:
                raise Invalid(
                    f"There are {len(prices)} prices; allowed are {MOST_PRICES}.",
                    remedy="Leave some out; the general price counts for them.",
                    field=name,
                )
        self._check_hardware()
        self._check_tokens()

    def _check_hardware(self) -> None:
        seen: set[str] = set()
        for n, price in enumerate(self.hardware):
            path = f"hardware.{n}"
            if not (1 <= len(price.kind) <= _MAX_KIND and price.kind.isprintable()):
                raise Invalid(
                    "The kind of hardware is empty, too long or has unprintable characters.",
                    remedy=f"Give cpu, gpu or the name of a GPU, up to {_MAX_KIND} characters.",
                    field=f"{path}.kind",
                )
            if price.kind in seen:
                raise Invalid(
                    f"'{price.kind}' has two prices.",
                    remedy="Remove one of them.",
                    field=f"{path}.kind",
                )
            seen.add(price.kind)
            _check_amount(price.per_hour, f"{path}.per_hour")

    def _check_tokens(self) -> None:
        seen: set[str | None] = set()
        for n, price in enumerate(self.tokens):
            path = f"tokens.{n}"
            if price.model_id in seen:
                raise Invalid(
                    "A model, or all others together, have two prices.",
                    remedy="Remove one of them.",
                    field=f"{path}.model_id",
                )
            seen.add(price.model_id)
            _check_amount(price.per_million_input, f"{path}.per_million_input")
            _check_amount(price.per_million_output, f"{path}.per_million_output")


def _check_amount(text: str, path: str) -> None:
    if not _AMOUNT.fullmatch(text):
        raise Invalid(
            f"'{text[:40]}' is not an amount.",
            remedy="Give a decimal number such as 0.15, with at most nine digits on either side.",
            field=path,
        )


class PriceList(Aggregate):
    """The prices in force. Every setting replaces all of them."""

    TOPIC = "PriceList"

    class Created(Aggregate.Created):
        TOPIC = "PricesSet"
        price_list_id: UUID
        currency: str
        hardware: list[dict[str, Any]]
        tokens: list[dict[str, Any]]

    class Set(Aggregate.Event):
        TOPIC = "PricesSetAgain"
        price_list_id: UUID
        currency: str
        hardware: list[dict[str, Any]]
        tokens: list[dict[str, Any]]

        def apply(self, aggregate: PriceList) -> None:
            aggregate.currency = self.currency
            aggregate.hardware = self.hardware
            aggregate.tokens = self.tokens

    def __init__(
        self, *, currency: str, hardware: list[dict[str, Any]], tokens: list[dict[str, Any]]
    ) -> None:
        self.currency = currency
        self.hardware = hardware
        self.tokens = tokens

    @staticmethod
    def create_id() -> UUID:
        """There is one list."""
        return PRICE_LIST

    @classmethod
    def begin(cls, prices: Prices) -> PriceList:
        """The first prices. Raises `Invalid`."""
        return cls._create(cls.Created, id=PRICE_LIST, **_facts(prices), **event_header())

    def set(self, prices: Prices) -> None:
        """Replaces every price. Raises `Invalid`."""
        self.record(self.Set, **_facts(prices))


def _facts(prices: Prices) -> dict[str, Any]:
    prices.check()
    return {
        "price_list_id": PRICE_LIST,
        "currency": prices.currency,
        "hardware": [asdict(price) for price in prices.hardware],
        "tokens": [asdict(price) for price in prices.tokens],
    }
