"""Bringing the whole platform up and down on this machine, and asking what it lacks."""

import os
import signal
import time

import typer

from backend.cli.output import AsJson, fail, print_json
from backend.cli.settings import settings_or_fail

_PANEL = "The platform on this machine"
_DOWN_SECONDS = 25
_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "fail": typer.colors.RED}


def register(app: typer.Typer) -> None:
    """Add the platform's commands."""
    app.command(rich_help_panel=_PANEL)(up)
    app.command(rich_help_panel=_PANEL)(down)
    app.command(rich_help_panel=_PANEL)(doctor)


def up() -> None:
    """Start everything, show one log, and stop everything at Ctrl-C."""
    from backend.application.users import ensure_first_administrator
    from backend.embedded.errors import EmbeddedError
    from backend.embedded.supervisor import Preparation, roles, supervise
    from backend.infra.kafka import ensure_topics
    from backend.infra.postgres import migrate

    settings = settings_or_fail()
    preparation = Preparation(migrate, ensure_topics, ensure_first_administrator)
    try:
        status = supervise(settings, roles(settings), preparation)
    except EmbeddedError as error:
        fail(error.detail, error.remedy)
    raise typer.Exit(status)


def down() -> None:
    """Stop a platform that runs elsewhere, and whatever a killed one has left, engines included."""
    from backend.embedded.errors import EmbeddedError
    from backend.embedded.run_directory import RunDirectory

    run_directory = RunDirectory(settings_or_fail().data)
    pid = run_directory.supervisor()
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_SECONDS
        while run_directory.supervisor() == pid:
            if time.monotonic() > deadline:
                fail(f"the supervisor (pid {pid}) does not stop", f"kill it: `kill -9 {pid}`")
            time.sleep(0.1)
    if run_directory.path.exists():
        try:
            run_directory.acquire()
        except EmbeddedError as error:
            fail(error.detail, "it was started again just now; try once more")
        run_directory.stop_leftovers()
        run_directory.stop_engines()
        run_directory.release()
    print("nothing runs on this data folder")


def doctor(as_json: AsJson = False) -> None:
    """Check everything Loggia needs, and say how to mend what is missing."""
    from backend.embedded.doctor import Outcome, examine

    findings = examine(settings_or_fail())
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            typer.secho(f"{finding.outcome:<4}  ", fg=_COLOURS[finding.outcome], nl=False)
            print(f"{finding.title}: {finding.detail}")
            if finding.remedy:
                print(f"      {finding.remedy}")
    if any(finding.outcome is Outcome.FAIL for finding in findings):
        raise typer.Exit(1)
