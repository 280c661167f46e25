"""Models from the command line: look at, publish, withdraw, and their API keys."""

import sys
from typing import Annotated, Any

import typer

from backend.cli.output import AsJson, human_size, print_fields, print_json, print_table

Model = Annotated[str, typer.Argument(help="The model's name or id.")]
Watch = Annotated[bool, typer.Option("--watch", help="Wait for the outcome and show progress.")]

_PANEL = "Client"
IMPORT_ENDS = {"ModelValidated": True, "ModelImportFailed": False, "ModelImportCancelled": False}

models = typer.Typer(no_args_is_help=True, help="Look at models.")
keys = typer.Typer(no_args_is_help=True, help="API keys of a model.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel=_PANEL)(publish)
    app.command(rich_help_panel=_PANEL)(withdraw)
    app.add_typer(models, name="models", rich_help_panel=_PANEL)
    app.add_typer(keys, name="keys", rich_help_panel=_PANEL)


def publish(model: Model, as_json: AsJson = False) -> None:
    """Show a model on the marketplace."""
    _set_publication(model, "published", as_json=as_json)


def withdraw(model: Model, as_json: AsJson = False) -> None:
    """Take a model off the marketplace; a deployment of it goes on."""
    _set_publication(model, "withdrawn", as_json=as_json)


@models.command("list")
def list_models(
    search: Annotated[str | None, typer.Option(help="Words to look for.")] = None,
    state: Annotated[str | None, typer.Option(help="For example ready_to_deploy.")] = None,
    as_json: AsJson = False,
) -> None:
    """List models, the newest import first."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = list(api.pages("/api/models", search=search, state=state))
    if as_json:
        print_json(found)
        return
    print_table(
        ["NAME", "STATE", "DEPLOYMENT", "PUBLICATION", "SIZE", "ID"],
        [
            [
                item["name"],
                item["state"],
                item.get("deploymentState"),
                item.get("publication"),
                human_size(item.get("sizeBytes")),
                item["id"],
            ]
            for item in found
        ],
        empty="no models",
    )


@models.command("show")
def show_model(model: Model, as_json: AsJson = False) -> None:
    """Show one model with its card and its validation report."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        show(api.model(model), as_json=as_json)


@keys.command("create")
def create_key(
    model: Model,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    requests_per_minute: Annotated[int | None, typer.Option(help="Limit of the key.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key for a model. Its secret is shown this once."""
    from backend.cli.client import Api

    request: dict[str, Any] = {"name": name}
    if requests_per_minute is not None:
        request["requestsPerMinute"] = requests_per_minute
    with Api.from_credentials() as api:
        path = f"/api/models/{api.model(model)['id']}/api-keys"
        made = api.command("POST", path, request)
    if as_json:
        print_json(made)
        return
    print(made["secret"])
    if sys.stdout.isatty():
        print("Keep it: it is not shown again.", file=sys.stderr)


@keys.command("list")
def list_keys(model: Model, as_json: AsJson = False) -> None:
    """List the API keys of a model, without their secrets."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = list(api.pages(f"/api/models/{api.model(model)['id']}/api-keys"))
    if as_json:
        print_json(found)
        return
    print_table(
        ["NAME", "BEGINS WITH", "CREATED", "REVOKED", "ID"],
        [
            [
                key["name"],
                key["prefix"],
                key.get("createdAt"),
                key.get("revokedAt"),
                key["id"],
            ]
            for key in found
        ],
        empty="no keys",
    )


@keys.command("revoke")
def revoke_key(
    model: Model, key: Annotated[str, typer.Argument(help="The key's id.")], as_json: AsJson = False
) -> None:
    """Revoke an API key; requests with it are refused within two seconds."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        path = f"/api/models/{api.model(model)['id']}/api-keys/{key}"
        accepted = api.command("DELETE", path)
    print_json(accepted) if as_json else print("revoked")


def _set_publication(model: str, state: str, *, as_json: bool) -> None:
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        path = f"/api/models/{found['id']}/publication"
        accepted = api.command("PUT", path, {"state": state})
    print_json(accepted) if as_json else print(f"{found['name']} is {state}")


def show(model: dict[str, Any], *, as_json: bool) -> None:
    """Print a model with its card and its report."""
    if as_json:
        print_json(model)
        return
    card = model.get("card") or {}
    failure = model.get("failure") or {}
    print_fields(
        {
            "Name": model["name"],
            "Id": model["id"],
            "State": model["state"],
            "Failure": failure.get("reason"),
            "Remedy": failure.get("remedy"),
            "Publication": model.get("publication"),
            "Deployment": model.get("deploymentState"),
            "Version": model.get("modelVersion"),
            "Source": model.get("source"),
            "Format": card.get("format"),
            "Size": human_size(model.get("totalBytes") or model.get("sizeBytes")),
            "Architecture": card.get("architecture"),
            "Parameters": card.get("parameterCount"),
            "Context": card.get("contextLength"),
            "Licence": card.get("license"),
            "Labels": ", ".join(model.get("labels") or []),
        }
    )
    print_report(model.get("report"))


def print_report(report: dict[str, Any] | None) -> None:
    """Print what a validation found, where there was one."""
    checks = (report or {}).get("checks") or []
    if checks:
        print()
        print_table(
            ["CHECK", "OUTCOME", "EVIDENCE"],
            [
                [check["title"], check["outcome"], check.get("hint") or check.get("evidence")]
                for check in checks
            ],
            empty="",
        )
