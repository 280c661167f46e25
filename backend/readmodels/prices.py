"""Prices in force on a day, and what a configuration would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec

from backend.domain import billing
from backend.domain.billing import Hardware
from backend.domain.configuration import DeployConfiguration
from backend.domain.price_list import HardwarePrice, Prices, TokenPrice
from backend.infra.postgres import Pool
from backend.readmodels import gpu_kinds
from backend.readmodels.wire_names import camel_keys

CONSUMER = "billing"
HOURS_PER_MONTH = 730


class HardwarePriceView(msgspec.Struct, rename="camel", frozen=True):
    """For an hour of a replica on `cpu`, or of one GPU of the kind (`gpu`: of any)."""

    kind: str
    per_hour: str


class TokenPriceView(msgspec.Struct, rename="camel", frozen=True):
    """For a million tokens of a model; `modelId` null: of those without a price of their own."""

    model_id: UUID | None
    per_million_input: str
    per_million_output: str


class PricesView(msgspec.Struct, rename="camel", frozen=True):
    """The prices in force; `version` 0 and no currency where none were ever set."""

    version: int
    currency: str | None
    hardware: list[HardwarePriceView]
    tokens: list[TokenPriceView]
    set_at: datetime | None
    set_by: str | None


class Range(msgspec.Struct, rename="camel", frozen=True):
    """With the fewest and with the most replicas; null where no price is set."""

    least: str | None
    most: str | None


class Estimate(msgspec.Struct, rename="camel", frozen=True):
    """What a configuration costs by the prices in force: running, and for each million tokens.

    Amounts are decimal; null where nobody has set that price. A month has 730 hours.
    """

    currency: str | None
    replica_per_hour: str | None
    per_hour: Range
    per_month: Range
    per_million_input: str | None
    per_million_output: str | None


@dataclass(frozen=True)
class PriceHistory:
    """Every price list there was. One holds from the beginning of the day on which it was set."""

    lists: Sequence[tuple[date, Prices]]

    def on(self, day: date) -> Prices | None:
        """The prices of a day; None before the first ones."""
        return next((prices for since, prices in reversed(self.lists) if since <= day), None)

    @property
    def newest(self) -> Prices | None:
        """The prices in force."""
        return self.lists[-1][1] if self.lists else None


def current(pool: Pool) -> PricesView:
    """The prices in force."""
    with pool.connection() as connection:
        row = connection.execute(
            "SELECT version, currency, hardware, tokens, set_at, set_by FROM billing.prices "
            "ORDER BY position DESC LIMIT 1"
        ).fetchone()
    if row is None:
        return PricesView(0, None, [], [], None, None)
    return PricesView(
        version=row["version"],
        currency=row["currency"],
        hardware=[HardwarePriceView(**each) for each in row["hardware"]],
        tokens=[msgspec.convert(camel_keys(each), TokenPriceView) for each in row["tokens"]],
        set_at=row["set_at"],
        set_by=row["set_by"],
    )


def history(pool: Pool) -> PriceHistory:
    """Every price list there was, oldest first."""
    with pool.connection() as connection:
        rows = connection.execute(
            "SELECT set_at, currency, hardware, tokens FROM billing.prices ORDER BY position"
        ).fetchall()
    return PriceHistory([(row["set_at"].astimezone(UTC).date(), _prices(row)) for row in rows])


def estimate(pool: Pool, model_id: UUID, configuration: DeployConfiguration) -> Estimate:
    """What the configuration costs. The bill is made by the same functions."""
    prices = history(pool).newest
    wanted = configuration.hardware
    hardware = Hardware(
        wanted.accelerator, wanted.accelerator_count, gpu_kinds.of(pool, configuration)
    )
    scaling = configuration.scaling
    tokens = billing.token_price(prices, str(model_id))

    def running(hours: int) -> Range:
        each = billing.of_time(prices, hardware, hours * billing.MICROSECONDS_PER_HOUR)
        if each is None:
            return Range(None, None)
        return Range(
            billing.shown(each * scaling.min_replicas), billing.shown(each * scaling.max_replicas)
        )

    return Estimate(
        currency=prices.currency if prices else None,
        replica_per_hour=billing.shown(billing.hourly(prices, hardware)),
        per_hour=running(1),
        per_month=running(HOURS_PER_MONTH),
        per_million_input=tokens.per_million_input if tokens else None,
        per_million_output=tokens.per_million_output if tokens else None,
    )


def _prices(row: dict[str, Any]) -> Prices:
    return Prices(
        currency=row["currency"],
        hardware=[HardwarePrice(**each) for each in row["hardware"]],
        tokens=[TokenPrice(**each) for each in row["tokens"]],
    )
