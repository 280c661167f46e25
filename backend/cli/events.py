"""The event history from the command line: what happens now, and what happened."""

from typing import Annotated, Any

import typer

from backend.cli.output import print_line

_PANEL = "Client"

events = typer.Typer(no_args_is_help=True, help="Read the event history.")

ModelFilter = Annotated[str | None, typer.Option("--model", help="Only of this model.")]
AsLines = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(events, name="events", rich_help_panel=_PANEL)


@events.command()
def tail(
    after: Annotated[int | None, typer.Option(help="Begin after this position.", min=0)] = None,
    model: ModelFilter = None,
    as_json: AsLines = False,
) -> None:
    """Print events as they happen, until Ctrl-C."""
    from backend.cli.client import Api
    from backend.cli.streaming import follow

    with Api.from_credentials() as api:
        model_id = api.model(model)["id"] if model else None
        try:
            for message in follow(api, after=after):
                if message.kind == "event" and _wanted(message.data, model_id):
                    _print(message.data, as_json=as_json)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


@events.command()
def replay(
    after: Annotated[int, typer.Option(help="Begin after this position.", min=0)] = 0,
    until: Annotated[int | None, typer.Option(help="End with this position.", min=1)] = None,
    model: ModelFilter = None,
    as_json: AsLines = False,
) -> None:
    """Print the history in its order, from a position up to now, and end."""
    from backend.cli.client import Api
    from backend.cli.streaming import follow

    with Api.from_credentials() as api:
        model_id = api.model(model)["id"] if model else None
        newest = api.get("/api/events", limit=1)["items"]
        last = min(newest[0]["position"] if newest else 0, until or (1 << 63))
        if last <= after:
            return
        for message in follow(api, after=after):
            if message.position is None:
                continue
            if message.position <= last and _wanted(message.data, model_id):
                _print(message.data, as_json=as_json)
            if message.position >= last:
                return


def _wanted(event: dict[str, Any], model_id: str | None) -> bool:
    return model_id is None or event.get("modelId") == model_id


def _print(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_line(event)
        return
    facts = event.get("data") or {}
    shown = "  ".join(
        f"{name}={value}"
        for name, value in facts.items()
        if isinstance(value, str | int | float) and name not in ("modelId", "deploymentId")
    )
    print(
        f"{event['position']:>8}  {event['time']}  {event['actor']:<14}  {event['type']:<24}  "
        f"{event.get('modelId') or '-'}  {shown}"[:400],
        flush=True,
    )
