"""What was used and what it costs, and the prices."""

import json
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.output import AsJson, fail, print_fields, print_json, print_table

prices = typer.Typer(no_args_is_help=True, help="What hardware and tokens cost.")

_PRICES = "/api/prices"
_DAYS = 30


class By(StrEnum):
    """What a line is about."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Client")(usage)
    app.add_typer(prices, name="prices", rich_help_panel="Client")


def usage(
    model: Annotated[str | None, typer.Option(help="Of this model, by name or id.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="First day; 30 days ago.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day; today.")] = None,
    by: Annotated[
        list[By] | None, typer.Option(help="What is told apart; day, model, key.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show requests, tokens, GPU seconds and replica hours, with what they cost."""
    from backend.cli.client import Api

    today = datetime.now(UTC).date()
    told_apart = [each.value for each in by or list(By)]
    with Api.from_credentials() as api:
        query = {
            "from": since or str(today - timedelta(days=_DAYS)),
            "to": until or str(today),
            "by": told_apart,
            "modelId": api.model(model)["id"] if model else None,
        }
        if csv is not None:
            given = {name: value for name, value in query.items() if value is not None}
            size = api.download("/api/usage/export", csv, **given)
            print(f"{csv} has {size} bytes")
            return
        found = api.get("/api/usage", **query)
    if as_json:
        print_json(found)
        return
    headings = {"day": "DAY", "model": "MODEL", "key": "KEY"}
    print_table(
        [*(headings[each] for each in told_apart), "REQUESTS", "FAILED", "TOKENS IN", "TOKENS OUT",
         "GPU SECONDS", "REPLICA HOURS", "COST"],
        [[*(_told(item, each) for each in told_apart), *_figures(item)] for item in found["items"]],
        empty="nothing was used in these days",
    )  # fmt: skip
    if found["missingRecords"]:
        print(f"of {found['missingRecords']} answers no usage is known")


def _told(item: dict[str, Any], by: str) -> Any:
    if by == "key":
        return item["keyName"] or item["keyId"] or item["kind"]
    if by == "model":
        return item["modelName"] or item["modelId"]
    return item["day"]


def _figures(item: dict[str, Any]) -> list[Any]:
    cost = f"{item['cost']} {item['currency']}" if item["cost"] is not None else ""
    return [
        item["requests"], item["failedRequests"], item["inputTokens"], item["outputTokens"],
        round(item["acceleratorSeconds"], 1), round(item["replicaHours"], 2), cost,
    ]  # fmt: skip


@prices.command("show")
def show_prices(as_json: AsJson = False) -> None:
    """Show the prices in force."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.get(_PRICES)
    if as_json:
        print_json(found)
        return
    if found["currency"] is None:
        print("no prices have been set")
        return
    print_fields({"currency": found["currency"], "set": found["setAt"], "by": found["setBy"]})
    print_table(
        ["HARDWARE", "PER HOUR"],
        [[price["kind"], price["perHour"]] for price in found["hardware"]],
        empty="no prices for hardware",
    )
    print_table(
        ["MODEL", "PER MILLION IN", "PER MILLION OUT"],
        [
            [price["modelId"] or "any other", price["perMillionInput"], price["perMillionOutput"]]
            for price in found["tokens"]
        ],
        empty="no prices for tokens",
    )


@prices.command("set")
def set_prices(
    file: Annotated[
        Path, typer.Argument(help="A JSON file with currency, hardware and tokens, as shown.")
    ],
    as_json: AsJson = False,
) -> None:
    """Replace every price, from the beginning of this day (UTC) on."""
    from backend.cli.client import Api

    try:
        document = json.loads(file.read_text())
        body = {name: document[name] for name in ("currency", "hardware", "tokens")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"{file} cannot be used: {error!r}", "begin with `loggia prices show --json`")
    with Api.from_credentials() as api:
        accepted = api.command("PUT", _PRICES, body)
    print_json(accepted) if as_json else print("the prices are set")
