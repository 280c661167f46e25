"""The command `loggia`. Bodies import what they need when they run, so that each starts fast."""

import typer

from backend.cli import platform, roles

app = typer.Typer(
    name="loggia",
    help="Event-sourced gallery for AI models.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)
platform.register(app)
roles.register(app)
