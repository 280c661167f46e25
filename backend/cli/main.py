"""The command `loggia`. Bodies import what they need when they run, so that each starts fast."""

import typer

from backend.cli import deployments, events, login, models, platform, projections, roles

app = typer.Typer(
    name="loggia",
    help="Event-sourced gallery for AI models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for part in (platform, projections, login, models, deployments, events, roles):
    part.register(app)
