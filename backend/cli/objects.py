"""The object store from the command line, run on the server with its database at hand.

The bodies live in the workers package, which the backend must not import: they are found by the
entry point `importing` of the group `loggia.objects`.
"""

from importlib.metadata import entry_points
from typing import Annotated, Any, Protocol

import typer

from backend.cli.output import AsJson, fail, human_size, print_json, print_table
from backend.cli.settings import settings_or_fail
from backend.infra.settings import Settings

_GROUP = "loggia.objects"
_NAME = "importing"
_SHOWN_NAMES = 3

objects = typer.Typer(no_args_is_help=True, help="Look after the object store.")


class Operations(Protocol):
    """What the workers package offers (a module with this function).

    A row for each kind of thing that was found: `what`, `count`, `size_bytes`, `names` (the first
    few), `lost` (it should be there and is not) and `removed`. None where somebody else is at it.
    """

    def check_objects(
        self, settings: Settings, *, remove: bool, grace_seconds: float
    ) -> list[dict[str, Any]] | None: ...


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(objects, name="objects", rich_help_panel="The platform on this machine")


@objects.command()
def check(
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what nothing refers to.")
    ] = False,
    older_than: Annotated[
        float, typer.Option(help="Leave alone what is younger than so many minutes.", min=0)
    ] = 60,
    as_json: AsJson = False,
) -> None:
    """Compare the object store with the events: what nothing refers to, and what is lost."""
    settings = settings_or_fail()
    found = _operations().check_objects(settings, remove=remove, grace_seconds=older_than * 60)
    if found is None:
        fail("the objects are being checked already", "try again when that is over")
    if as_json:
        print_json(found)
    else:
        print_table(
            ["WHAT", "STATE", "COUNT", "SIZE", "NAMES"],
            [
                [
                    row["what"],
                    "lost" if row["lost"] else "removed" if row["removed"] else "orphaned",
                    row["count"],
                    human_size(row["size_bytes"]),
                    _names(row),
                ]
                for row in found
            ],
            empty="every object and every row is accounted for",
        )
    if any(row["lost"] for row in found):
        fail("something that is needed is gone", "restore the named objects from a backup")
    if any(not row["removed"] for row in found):
        fail("something is left over", "`loggia objects check --remove` removes it")


def _names(row: dict[str, Any]) -> str:
    more = row["count"] - _SHOWN_NAMES
    shown = "\n".join(row["names"][:_SHOWN_NAMES])
    return f"{shown}\nand {more} more" if more > 0 else shown


def _operations() -> Operations:
    found = list(entry_points(group=_GROUP, name=_NAME))
    if not found:
        fail("the workers are not installed", "install Loggia again: `pip install -e .`")
    operations: Operations = found[0].load()
    return operations
