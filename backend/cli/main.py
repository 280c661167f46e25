"""The command `loggia`. Bodies import what they need when they run, so that each starts fast."""

import typer

from backend.cli import (
    adapters,
    batches,
    connections,
    deployments,
    events,
    importing,
    login,
    models,
    objects,
    platform,
    projections,
    roles,
    versions,
)

app = typer.Typer(
    name="loggia",
    help="Event-sourced gallery for AI models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for part in (
    platform, projections, objects, login, importing, batches, models, versions, connections,
    deployments, adapters, events, roles,
):  # fmt: skip
    part.register(app)
