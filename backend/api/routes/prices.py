"""Prices, and what a configuration would cost by them."""

from __future__ import annotations

from uuid import UUID

from litestar import Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.freshness import fresh
from backend.api.services import Services
from backend.api.wire import AtLeast, Body
from backend.application.commands import Accepted, CommandContext
from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import Invalid
from backend.domain.price_list import HardwarePrice, Prices, TokenPrice
from backend.readmodels import prices
from backend.readmodels.configuration import ConfigurationView, to_domain
from backend.readmodels.prices import Estimate, HardwarePriceView, PricesView, TokenPriceView
from backend.readmodels.wire_names import camel_path

PATH = "/api/prices"


class NewPrices(Body):
    """Every price; what is left out has none. The currency is an ISO 4217 code, amounts are
    decimal numbers in texts."""

    currency: str
    hardware: list[HardwarePriceView]
    tokens: list[TokenPriceView]


class EstimateRequest(Body):
    """A configuration that may be deployed."""

    model_id: UUID
    configuration: ConfigurationView


@get(PATH, operation_id="readPrices")
async def read_prices(
    services: NamedDependency[Services], at_least: AtLeast = None
) -> Response[PricesView]:
    """The prices in force."""
    await fresh(services, prices.CONSUMER, at_least)
    view = await services.query(lambda: prices.current(services.pool))
    return Response(view, headers={"ETag": f'"{view.version}"'})


@put(PATH, operation_id="setPrices", status_code=200)
async def set_prices(
    data: JSONBody[NewPrices],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Replaces every price, from the beginning of this day (UTC) on."""
    wanted = Prices(
        currency=data.currency,
        hardware=[HardwarePrice(price.kind, price.per_hour) for price in data.hardware],
        tokens=[
            TokenPrice(
                str(price.model_id) if price.model_id else None,
                price.per_million_input,
                price.per_million_output,
            )
            for price in data.tokens
        ],
    )

    def change() -> Accepted:
        try:
            return services.price_lists.set(context, wanted)
        except Invalid as error:
            error.field = camel_path(error.field or "")
            raise

    return with_version(answer_of(await services.command(change)))


@post(PATH + "/estimate", operation_id="estimateCost", status_code=200)
async def estimate_cost(
    data: JSONBody[EstimateRequest], services: NamedDependency[Services]
) -> Estimate:
    """What a configuration would cost, running and by tokens, with the prices in force."""

    def estimate() -> Estimate:
        try:
            configuration = DeployConfiguration.from_dict(to_domain(data.configuration))
        except Invalid as error:
            error.field = f"configuration.{camel_path(error.field or '')}"
            raise
        return prices.estimate(services.pool, data.model_id, configuration)

    return await services.query(estimate)


HANDLERS = [read_prices, set_prices, estimate_cost]
