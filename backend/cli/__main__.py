"""`python -m backend.cli`: what the supervisor runs its children as."""

from backend.cli.main import app

app(prog_name="loggia")
