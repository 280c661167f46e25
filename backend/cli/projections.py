"""Read models from the command line, run on the server with its database at hand.

The bodies live in the projections package, which the backend must not import: they are found by
the entry point `operations` of the group `loggia.projections`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Annotated, Any, NoReturn, Protocol

import typer

from backend.cli.output import AsJson, fail, print_json, print_table
from backend.cli.settings import settings_or_fail
from backend.infra.settings import Settings

_GROUP = "loggia.projections"
_NAME = "operations"

projections = typer.Typer(no_args_is_help=True, help="Look after the read models.")


# The next public events of these types behind a position, at most so many.
Source = Callable[[int, int, Sequence[str]], list[Any]]


class From(StrEnum):
    """Where a rebuild reads the events."""

    TOPIC = "topic"
    STORE = "store"


class Operations(Protocol):
    """What the projections package offers (a module with these functions).

    `status` has a row for each projection: `name`, `description`, `position` (the last event in
    it), `lag` (events it is behind), `parked` (events that could not be applied) and `state`.
    `rebuild` builds a projection anew beside the live one and swaps it in; it tells `progress`
    (position, last position), and reads the topic unless it gets a source. `redrive` applies parked
    events again and returns how many are left. Both raise KeyError for an unknown name, and
    `rebuild` ValueError for what is not made of events.
    """

    def status(self, settings: Settings) -> list[dict[str, Any]]: ...

    def rebuild(
        self,
        settings: Settings,
        name: str,
        progress: Callable[[int, int], None],
        source: Source | None = None,
    ) -> dict[str, Any]: ...

    def redrive(self, settings: Settings, name: str) -> int: ...


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(projections, name="projections", rich_help_panel="The platform on this machine")


@projections.command("list")
def list_projections(as_json: AsJson = False) -> None:
    """List the read models."""
    rows = _operations().status(settings_or_fail())
    if as_json:
        print_json([{"name": row["name"], "description": row["description"]} for row in rows])
        return
    print_table(
        ["NAME", "WHAT IT IS"],
        [[row["name"], row["description"]] for row in rows],
        empty="no projections",
    )


@projections.command()
def status(as_json: AsJson = False) -> None:
    """Show how far each read model has come."""
    rows = _operations().status(settings_or_fail())
    if as_json:
        print_json(rows)
        return
    print_table(
        ["NAME", "STATE", "POSITION", "BEHIND", "PARKED"],
        [
            [row["name"], row["state"], row["position"], row["lag"], row.get("parked", 0)]
            for row in rows
        ],
        empty="no projections",
    )


@projections.command()
def rebuild(
    name: Annotated[str, typer.Argument(help="The projection's name.")],
    source: Annotated[
        From, typer.Option(help="Where the events are read: on Kafka, or in the event store.")
    ] = From.TOPIC,
    as_json: AsJson = False,
) -> None:
    """Build a read model anew beside the live one, and swap it in."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    settings = settings_or_fail()
    operations = _operations()
    bar = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        disable=as_json,
        transient=True,
    )
    with bar, _reading(settings, source) as read:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        try:
            result = operations.rebuild(settings, name, show, read)
        except KeyError:
            _unknown(operations, settings, name)
        except ValueError as error:
            fail(str(error), "they belong into the backup of the database; see docs/operating.md")
    print_json(result) if as_json else print(f"{name} was rebuilt")


@contextmanager
def _reading(settings: Settings, source: From) -> Iterator[Source | None]:
    if source is From.TOPIC:
        yield None
        return
    from backend.application.feed import EventFeed
    from backend.application.store import EventStore

    with closing(EventStore(settings)) as store:
        yield EventFeed(store, settings.dsn).read


@projections.command()
def redrive(
    name: Annotated[str, typer.Argument(help="The projection's name.")], as_json: AsJson = False
) -> None:
    """Apply the events that a read model had to park again, in their order."""
    settings = settings_or_fail()
    operations = _operations()
    try:
        left = operations.redrive(settings, name)
    except KeyError:
        _unknown(operations, settings, name)
    if as_json:
        print_json({"name": name, "parked": left})
    elif not left:
        print(f"nothing of {name} is parked any more")
    if left:
        fail(
            f"{left} events of {name} still cannot be applied",
            "`loggia projections status` and the log of `loggia project` say more",
        )


def _unknown(operations: Operations, settings: Settings, name: str) -> NoReturn:
    known = ", ".join(row["name"] for row in operations.status(settings))
    fail(f"there is no projection named {name!r}", f"there is: {known}")


def _operations() -> Operations:
    found = list(entry_points(group=_GROUP, name=_NAME))
    if not found:
        fail("the projections are not installed", "install Loggia again: `pip install -e .`")
    operations: Operations = found[0].load()
    return operations
