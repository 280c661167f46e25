"""How commands answer: people read tables on standard output, programs read JSON, errors go to
standard error with their remedy and a non-zero status."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

#: What a command exits with: 1 when the platform refused or something went wrong, 2 for a wrong
#: command line (typer's own).
FAILED = 1

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def fail(detail: str, remedy: str | None = None) -> NoReturn:
    """End the command with an error that says what is wrong and what to do about it."""
    print(f"Error: {detail}", file=sys.stderr)
    if remedy:
        print(f"  {remedy}", file=sys.stderr)
    raise typer.Exit(FAILED)


def print_json(value: Any) -> None:
    """Print a value as JSON, on one line when it is part of a stream of lines."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_line(value: Any) -> None:
    """Print a value as one line of JSON."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Print rows under headings, or the sentence `empty` when there are none."""
    if not rows:
        print(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        # Text, not markup: a model's name may hold brackets.
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console().print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values below each other; values that are None or empty are left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        print(f"{name:<{width}}  {value}")


def human_size(size: int | None) -> str:
    """A number of bytes as people read it ("" for None)."""
    if size is None:
        return ""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
