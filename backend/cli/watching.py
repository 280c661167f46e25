"""Watching what a command set going, with progress bars, until it has ended."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from backend.cli.client import Api
from backend.cli.output import fail
from backend.cli.streaming import Message, follow

#: What ends the watch: an event's name, and whether it is a success.
Ends = Mapping[str, bool]
Concerns = Callable[[dict[str, Any]], bool]


def watch(
    api: Api,
    model_id: str,
    *,
    after: int,
    ends: Ends,
    concerns: Concerns = lambda _: True,
    quiet: bool = False,
) -> dict[str, Any]:
    """Follow a model until one of the `ends` that `concerns` this command; returns that event.

    Progress and events are shown on standard error unless `quiet`. Ends the command with the
    event's reason and remedy when it is a failure.
    """
    with _Display(quiet=quiet) as display:
        for message in follow(api, after=after):
            if message.data.get("modelId") != model_id:
                continue
            display.show(message)
            kind = message.data.get("type")
            facts = message.data.get("data") or {}
            if message.kind == "event" and kind in ends and concerns(facts):
                ended = message.data
                break
        else:
            raise AssertionError("the stream does not end by itself")
    if not ends[ended["type"]]:
        facts = ended["data"]
        tail = "".join(f"\n  | {line}" for line in (facts.get("logTail") or [])[-20:])
        fail(f"{facts.get('reason') or ended['type']}{tail}", facts.get("remedy"))
    return ended


class _Display:
    """Progress bars of what telemetry tells, and a line for each event."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def __enter__(self) -> "_Display":
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=sys.stderr),
            disable=self._quiet,
            transient=True,
        )
        self._tasks: dict[str, Any] = {}
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, message: Message) -> None:
        if self._quiet:
            return
        data = message.data
        if message.kind == "event":
            self._progress.console.print(f"{data['type']}", markup=False, highlight=False)
        elif data.get("kind") == "log":
            self._progress.console.print(f"  {data.get('message')}", markup=False, highlight=False)
        else:
            self._advance(data)

    def _advance(self, data: dict[str, Any]) -> None:
        from backend.cli.output import human_size

        done, total = data.get("done") or 0, data.get("total") or None
        in_bytes = data.get("unit") == "bytes"
        amount = human_size(done) if in_bytes else str(done)
        if total:
            amount += f" of {human_size(total) if in_bytes else total}"
        name = f"{data.get('kind')}: {data.get('step')}"
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, amount=amount)
        self._progress.update(self._tasks[name], completed=done, total=total, amount=amount)
