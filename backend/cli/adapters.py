"""Adapters that are called by their names beside a running base model."""

from typing import Annotated

import typer

from backend.cli.models import Model, Watch
from backend.cli.output import AsJson, print_json, print_table

adapters = typer.Typer(no_args_is_help=True, help="Adapters beside a running base model.")

Adapter = Annotated[str, typer.Argument(help="The adapter's name or id.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(adapters, name="adapters", rich_help_panel="Client")


@adapters.command("list")
def list_adapters(model: Model, as_json: AsJson = False) -> None:
    """List a model's adapters: which are loaded, and what is to be said of them."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.get(f"/api/models/{api.model(model)['id']}/deployment/adapters")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ["NAME", "VERSION", "STATE", "SINCE", "REMARKS"],
        [
            [
                each["name"],
                each["version"],
                each["state"] or "not loaded",
                each["since"] or "",
                " ".join(filter(None, [*each["warnings"], each["failure"], each["refusal"]])),
            ]
            for each in found
        ],
        empty="no adapters",
    )


@adapters.command("load")
def load_adapter(
    model: Model, adapter: Adapter, watch: Watch = False, as_json: AsJson = False
) -> None:
    """Make an adapter callable beside its base. Larger engines take over first where needed."""
    _command("PUT", model, adapter, None, watch=watch, as_json=as_json)


@adapters.command("unload")
def unload_adapter(
    model: Model,
    adapter: Adapter,
    reason: Reason = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """End calls of an adapter beside its base. Its running requests are finished."""
    query = {"reason": reason} if reason else None
    _command("DELETE", model, adapter, query, watch=watch, as_json=as_json)


def _command(
    method: str,
    model: str,
    adapter: str,
    query: dict[str, str] | None,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    from backend.cli import watching
    from backend.cli.client import Api

    loads = method == "PUT"
    with Api.from_credentials() as api:
        base, found = api.model(model), api.model(adapter)
        path = f"/api/models/{base['id']}/deployment/adapters/{found['id']}"
        accepted = api.command(method, path, query=query)
        if watch:
            watching.watch(
                api,
                base["id"],
                after=accepted["position"],
                ends={"AdapterLoaded": loads, "AdapterUnloaded": not loads},
                concerns=lambda facts: facts.get("adapterModelId") == found["id"],
                quiet=as_json,
            )
    if as_json:
        print_json(accepted)
        return
    done = "is" if watch else "is being"
    print(f"{found['name']} {done} {'loaded beside' if loads else 'unloaded from'} {base['name']}")
