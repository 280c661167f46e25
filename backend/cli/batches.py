"""Many models from one list: looked at, chosen from, imported together."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.import_request import AcceptRisk, Connection, Reason
from backend.cli.importing import imports
from backend.cli.models import Watch
from backend.cli.output import AsJson, fail, human_size, print_json, print_table

if TYPE_CHECKING:
    from backend.cli.client import Api

_POLL_SECONDS = 1.0
_UNDERWAY = {"importing", "validating"}


def register(_: typer.Typer) -> None:
    """Add the commands, to those of the other imports."""
    imports.command("batch")(import_batch)
    imports.command("retry-batch")(retry_batch)


def import_batch(
    address: Annotated[
        str,
        typer.Argument(help="A manifest, directory index, S3 prefix, organisation or collection."),
    ],
    every: Annotated[
        bool, typer.Option("--all", help="Import every model that is not here yet.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Import the model of this name; may be repeated.")
    ] = None,
    connection: Connection = None,
    accept_risk: AcceptRisk = None,
    reason: Reason = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Import models from a list. Without --all or --only, show what there is."""
    from backend.cli.client import Api

    if every and only:
        fail("--all and --only contradict each other", "give one of them")
    if accept_risk and not reason:
        fail("--accept-risk needs a reason", "say with --reason why these files can be trusted")
    with Api.from_credentials() as api:
        place = {"address": address, "connection": connection}
        found = api.command("POST", "/api/imports/preview", place)
        if not every and not only:
            _show_list(found, as_json=as_json)
            return
        names = only or [
            row["name"]
            for row in found["rows"]
            if not row["problem"] and not row["existingModelId"]
        ]
        if not names:
            fail("every model of this list is here already or has a problem",
                 f"see `loggia import batch {address}`")  # fmt: skip
        body = {**place, "manifestSha256": found["manifestSha256"], "names": names}
        if accept_risk:
            body["acceptedRisks"] = {"risks": accept_risk, "reason": reason}
        accepted = api.command("POST", "/api/imports/batch", body)
        _tell(api, accepted, watch=watch, as_json=as_json)


def retry_batch(
    batch: Annotated[str, typer.Argument(help="The batch's id.")],
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Start those imports of a batch again that failed, and no other."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        accepted = api.command("POST", f"/api/imports/batches/{batch}/retry")
        _tell(api, accepted, watch=watch, as_json=as_json)


def _tell(api: "Api", accepted: dict[str, Any], *, watch: bool, as_json: bool) -> None:
    batch_id = accepted["id"]
    if not watch:
        if as_json:
            print_json(accepted)
        else:
            print(f"importing as batch {batch_id}; models: {len(accepted.get('models') or [])}")
        return
    ended = _watch(api, batch_id, accepted["position"], quiet=as_json)
    if as_json:
        print_json(ended)
    else:
        print_table(
            ["NAME", "STATE", "REASON"],
            [
                [row["name"], row["state"], (row["failure"] or {}).get("reason")]
                for row in ended["rows"]
            ],
            empty="no models",
        )
    failed = ended["states"].get("import_failed", 0)
    if failed:
        sys.stdout.flush()
        fail(
            f"{failed} of {len(ended['rows'])} imports failed",
            f"run `loggia import retry-batch {batch_id}` when their reasons are gone",
        )


def _watch(api: "Api", batch_id: str, position: int, *, quiet: bool) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(file=sys.stderr), disable=quiet) as bar:
        task = bar.add_task("imports", total=None)
        while True:
            batch = api.get(f"/api/imports/batches/{batch_id}", atLeast=position)
            underway = sum(batch["states"].get(state, 0) for state in _UNDERWAY)
            total = len(batch["rows"])
            bar.update(task, total=total, completed=total - underway)
            if not underway:
                return batch
            time.sleep(_POLL_SECONDS)


def _show_list(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_table(
        ["NAME", "KIND", "SIZE", "FILES", "REMARK"],
        [
            [
                row["name"],
                row["kind"],
                human_size(row["sizeBytes"]),
                row["fileCount"] or None,
                row["problem"]
                or (f"exists: {row['existingModelId']}" if row["existingModelId"] else None),
            ]
            for row in found["rows"]
        ],
        empty="no models",
    )
    print(f"\n{found['title']} ({found['format']}); import with --all or --only NAME")
