"""Models from the command line: import, look at, publish, withdraw, and their API keys."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from backend.cli.output import AsJson, human_size, print_fields, print_json, print_table

Model = Annotated[str, typer.Argument(help="The model's name or id.")]
Watch = Annotated[bool, typer.Option("--watch", help="Wait for the outcome and show progress.")]

_PANEL = "Client"
_IMPORT_ENDS = {"ModelValidated": True, "ModelImportFailed": False}

models = typer.Typer(no_args_is_help=True, help="Look at models.")
keys = typer.Typer(no_args_is_help=True, help="API keys of a model.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import", rich_help_panel=_PANEL)(import_file)
    app.command(rich_help_panel=_PANEL)(publish)
    app.command(rich_help_panel=_PANEL)(withdraw)
    app.add_typer(models, name="models", rich_help_panel=_PANEL)
    app.add_typer(keys, name="keys", rich_help_panel=_PANEL)


def import_file(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A model archive.")
    ],
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Upload a model archive and import it. Given again, it goes on where it was interrupted."""
    from backend.cli import watching
    from backend.cli.client import Api
    from backend.cli.uploading import Uploads

    with Api.from_credentials() as api:
        uploads = Uploads(api)
        upload = uploads.begin(file)
        request = {"source": "upload", "kind": "base", "uploadId": str(upload.id)}
        try:
            # Before the bytes, so that a name that is taken costs nobody an hour.
            accepted = api.command("POST", "/api/imports", request, key=UUID(upload.import_key))
        except typer.Exit:
            uploads.abandon(file, upload)
            raise
        with _upload_bar(file, quiet=as_json) as progress:
            uploads.send(file, upload, progress)
        if watch:
            ended = watching.watch(
                api, accepted["id"], after=accepted["position"], ends=_IMPORT_ENDS, quiet=as_json
            )
            imported = api.get(f"/api/models/{accepted['id']}", atLeast=ended["position"])
            _show(imported, as_json=as_json)
        elif as_json:
            print_json(accepted)
        else:
            print(f"importing as model {accepted['id']}; see `loggia models show {accepted['id']}`")


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
        _show(api.model(model), as_json=as_json)


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
        found = api.get(f"/api/models/{api.model(model)['id']}/api-keys")["items"]
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


def _show(model: dict[str, Any], *, as_json: bool) -> None:
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
            "Size": human_size(model.get("totalBytes") or model.get("sizeBytes")),
            "Architecture": card.get("architecture"),
            "Parameters": card.get("parameterCount"),
            "Context": card.get("contextLength"),
            "Licence": card.get("license"),
            "Labels": ", ".join(model.get("labels") or []),
        }
    )
    checks = (model.get("report") or {}).get("checks") or []
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


@contextlib.contextmanager
def _upload_bar(file: Path, *, quiet: bool) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=quiet,
    ) as bar:
        task = bar.add_task(f"upload {file.name}", total=file.stat().st_size)
        yield lambda done, total: bar.update(task, completed=done, total=total)
