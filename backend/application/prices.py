"""The command about prices."""

from __future__ import annotations

from backend.application.commands import Accepted, CommandContext, CommandRunner, Decision
from backend.domain.price_list import PRICE_LIST, PriceList, Prices


class PriceLists:
    """Sets prices."""

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._store = runner.store

    def set(self, context: CommandContext, prices: Prices) -> Accepted:
        """Replaces every price, from the beginning of this day on. Raises `Invalid`."""

        def decide() -> Decision:
            found = self._store.find(PriceList, PRICE_LIST)
            if found is None:
                return Decision([PriceList.begin(prices)])
            found.set(prices)
            return Decision([found])

        return self._runner.run(context, decide)
