"""What a launcher for containers runs: the image that was imported as a model."""

from __future__ import annotations

from backend.domain.servable.facts import Imported, Obstacle

_NO_IMAGE = Obstacle(
    "The model is no container image.", "Choose another engine, or import an image that serves it."
)


def obstacle(imported: Imported, _: Imported | None, __: str | None) -> Obstacle | None:
    """Why it cannot be run as a container, or None."""
    return None if imported.format == "container_image" else _NO_IMAGE
