"""A deployment's configuration and history from the command line."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.deployments import Reason, apply_changes, read_configuration, short
from backend.cli.models import Model
from backend.cli.output import AsJson, fail, print_json, print_table

configuration = typer.Typer(
    no_args_is_help=True, help="Show, keep and discard a model's deploy configuration."
)
_PANEL = "Client"
_SHOWN = 20


class FileFormat(StrEnum):
    """How a history is written."""

    JSON = "json"
    CSV = "csv"


Revision = Annotated[int | None, typer.Option(min=1, help="A revision; else the one wanted now.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="A file to write.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(configuration, name="configuration", rich_help_panel=_PANEL)
    app.command(rich_help_panel=_PANEL)(history)
    app.command(rich_help_panel=_PANEL)(rollback)
    app.command(rich_help_panel=_PANEL)(start)


@configuration.command("show")
def show_configuration(model: Model, revision: Revision = None, output: Output = None) -> None:
    """Print a revision's deployconfig.json, or write it into a file."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        path = f"/api/models/{api.model(model)['id']}/deployment/configuration"
        query = {"revision": str(revision)} if revision else {}
        _write(api, path, output, query)


@configuration.command("save")
def save_configuration(
    model: Model,
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A deployconfig.json.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="A changed value; repeatable.")
    ] = None,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Keep changes for a later redeployment; what is deployed stays as it is."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        path = f"/api/models/{found['id']}/deployment"
        if config:
            base = read_configuration(config)
        else:
            deployment = api.get(path)
            base = (deployment["pending"] or deployment)["configuration"]
        body = {"configuration": apply_changes(base, changes or []), "reason": reason or ""}
        accepted = api.command("PUT", f"{path}/configuration", body)
        pending = api.get(path, atLeast=accepted["position"])["pending"]
    if as_json:
        print_json(pending)
        return
    _print_changes(pending["changes"] if pending else [], empty="nothing differs: nothing is kept")


@configuration.command("discard")
def discard_configuration(model: Model, as_json: AsJson = False) -> None:
    """Forget the changes that were kept."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        accepted = api.command("DELETE", f"/api/models/{found['id']}/deployment/configuration")
    print_json(accepted) if as_json else print(f"{found['name']} has no pending changes now")


def history(
    model: Model,
    compare: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="FROM TO", help="Two revisions to compare."),
    ] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--export", help="Write the whole history in this format.")
    ] = None,
    output: Output = None,
    limit: Annotated[int, typer.Option(min=1, help="Most revisions to show.")] = _SHOWN,
    as_json: AsJson = False,
) -> None:
    """Show a model's revisions, compare two of them, or export them all."""
    from itertools import islice

    from backend.cli.client import Api

    with Api.from_credentials() as api:
        path = f"/api/models/{api.model(model)['id']}/deployment"
        if file_format is not None:
            _write(api, f"{path}/history/export", output, {"format": file_format.value})
            return
        if compare is not None:
            found = api.get(f"{path}/comparison", before=compare[0], after=compare[1])
            if as_json:
                print_json(found)
            else:
                _print_changes(found["changes"], empty="the configurations are the same")
            return
        entries = list(islice(api.pages(f"{path}/history"), limit))
    if as_json:
        print_json(entries)
        return
    print_table(
        ["REVISION", "HOW", "BY", "AT", "OUTCOME", "TOOK", "CHANGES", "REASON"],
        [
            [
                entry["revision"],
                entry["trigger"],
                entry["actor"],
                entry["requestedAt"],
                entry["outcome"],
                _took(entry),
                len(entry["changes"]),
                entry["reason"] or entry["failure"],
            ]
            for entry in entries
        ],
        empty="no revisions",
    )


def rollback(
    model: Model,
    revision: Annotated[int, typer.Argument(min=1, help="The revision to restore.")],
    reason: Annotated[str, typer.Option(help="Why, for the history.")],
    as_json: AsJson = False,
) -> None:
    """Restore an earlier revision, as a new one."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        path = f"/api/models/{found['id']}/deployment/rollback"
        accepted = api.command("POST", path, {"revision": revision, "reason": reason})
    print_json(accepted) if as_json else print(
        f"{found['name']}: revision {accepted['revision']} restores revision {revision}"
    )


def start(model: Model, as_json: AsJson = False) -> None:
    """Start a stopped deployment again, with the configuration that was wanted last."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        accepted = api.command("POST", f"/api/models/{found['id']}/deployment/start")
    print_json(accepted) if as_json else print(f"{found['name']} is being deployed")


def _took(entry: dict[str, Any]) -> str:
    phases = [p for p in entry["phases"] if p["seconds"] is not None and p["seconds"] >= 0.1]
    whole = f"{entry['seconds']:.1f} s" if entry["seconds"] is not None else ""
    parts = ", ".join(f"{phase['name']} {phase['seconds']:.1f}" for phase in phases)
    return f"{whole} ({parts})" if parts else whole


def _print_changes(changes: list[dict[str, Any]], *, empty: str) -> None:
    print_table(
        ["FIELD", "BEFORE", "AFTER"],
        [[each["field"], short(each["before"]), short(each["after"])] for each in changes],
        empty=empty,
    )


def _write(api: Any, path: str, output: Path | None, query: dict[str, str]) -> None:
    if output is None:
        sys.stdout.buffer.write(api.text(path, **query))
        sys.stdout.flush()
        return
    if output.exists():
        fail(f"{output} exists already", "choose another file with --output")
    api.download(path, output, **query)
    print(output)
