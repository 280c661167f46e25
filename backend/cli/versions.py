"""A model's versions, and exports of them."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.models import Model
from backend.cli.output import AsJson, fail, human_size, print_json, print_table

versions = typer.Typer(no_args_is_help=True, help="List, compare and choose a model's versions.")

_PANEL = "Client"
Number = Annotated[str, typer.Argument(help="A version, such as 0.0.2.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(versions, name="versions", rich_help_panel=_PANEL)
    app.command(rich_help_panel=_PANEL)(export)


@versions.command("list")
def list_versions(model: Model, as_json: AsJson = False) -> None:
    """List the versions of a model, the newest first."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = list(api.pages(f"/api/models/{api.model(model)['id']}/versions"))
    if as_json:
        print_json(found)
        return
    print_table(
        ["VERSION", "CURRENT", "STATE", "SOURCE", "SIZE", "BY", "AT"],
        [
            [
                item["version"],
                "yes" if item["current"] else None,
                item["state"],
                item["source"],
                human_size(item["totalBytes"]),
                item["createdBy"],
                item["createdAt"],
            ]
            for item in found
        ],
        empty="no versions",
    )


@versions.command("compare")
def compare_versions(
    model: Model,
    before: Annotated[str, typer.Argument(metavar="FROM", help="A version.")],
    after: Annotated[str, typer.Argument(metavar="TO", help="Another version.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: the card's fields, and files."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        path = f"/api/models/{api.model(model)['id']}/versions/compare"
        found = api.get(path, **{"from": before, "to": after})
    if as_json:
        print_json(found)
        return
    print_table(
        ["FIELD", before, after],
        [[each["field"], _short(each["before"]), _short(each["after"])] for each in found["card"]],
        empty="the cards say the same",
    )
    print()
    print_table(
        ["FILE", "CHANGE", before, after],
        [
            [each["path"], each["change"], _file(each["before"]), _file(each["after"])]
            for each in found["files"]
        ],
        empty="the files are the same",
    )


@versions.command("select")
def select_version(model: Model, version: Number, as_json: AsJson = False) -> None:
    """Choose the version that is deployed from now on; what runs keeps its own."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        path = f"/api/models/{found['id']}/versions/current"
        accepted = api.command("PUT", path, {"version": version})
    print_json(accepted) if as_json else print(f"{found['name']} is at {version} now")


def export(
    model: Model,
    version: Annotated[str | None, typer.Option(help="Else the current one.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else NAME.zip.")
    ] = None,
) -> None:
    """Write a version's files and its deployconfig.json into a zip file."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        target = output or Path(f"{found['name']}.zip")
        if target.exists():
            fail(f"{target} exists already", "choose another file with --output")
        query = {"version": version} if version else {}
        size = api.download(f"/api/models/{found['id']}/export", target, **query)
    print(f"{target} ({human_size(size)})", file=sys.stdout)


def _short(value: Any) -> str | None:
    text = value if isinstance(value, str) or value is None else json.dumps(value)
    return text if text is None or len(text) <= 60 else text[:59] + "…"


def _file(file: dict[str, Any] | None) -> str | None:
    return f"{human_size(file['sizeBytes'])} {file['sha256'][:12]}" if file else None
