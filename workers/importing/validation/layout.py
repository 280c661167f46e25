"""What kind of model lies in these files: the layouts known here, and how one is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from workers.importing.names import listed
from workers.importing.safetensors_header import Tensor
from workers.importing.validation.card import Facts
from workers.importing.validation.files import ModelFiles
from workers.importing.validation.report import Outcome, Report

TITLE = "Layout recognised"


@dataclass(frozen=True, slots=True)
class BaseModelFacts:
    """What an adapter is checked against: a ready base model's card and its tensors."""

    name: str
    card: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person who imports asked for.

    `kind` is 'base' or 'adapter'; `accepted_risks` holds 'pickle' and 'custom_code' where an
    administrator has accepted them with a reason; `origin` says where the version comes from.
    """

    kind: str = "base"
    base: BaseModelFacts | None = None
    accepted_risks: frozenset[str] = frozenset()
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which models lie in files.

    `format` stands in the model card, `title` in messages, `example` says in a refusal what such
    a model consists of. `recognises` looks at names and at most at a few first bytes; `check` adds
    to the report and returns what it found out, or None where the model is not usable. `own` are
    patterns of files that belong to this layout and to no other.
    """

    format: str
    title: str
    example: str
    recognises: Callable[[ModelFiles], bool]
    check: Callable[[ModelFiles, Wanted, Report], Facts | None]
    own: tuple[str, ...] = ()

    def owns(self, path: str) -> bool:
        """Whether the file is one that this layout's checks look into."""
        name = PurePosixPath(path)
        return any(name.match(pattern) for pattern in self.own)


def recognise(files: ModelFiles, layouts: Sequence[Layout], report: Report) -> Layout | None:
    """The first layout that fits. Reports it, or what is supported where none does."""
    layout = next((layout for layout in layouts if layout.recognises(files)), None)
    if layout is not None:
        return layout
    if "adapter_config.json" in files.sizes:
        report.add(
            "layout", TITLE, Outcome.FAIL,
            "This is an adapter (adapter_config.json), not a base model.",
            "Import the base model that the adapter belongs to.",
        )  # fmt: skip
        return None
    deeper = [path for path in files.sizes if path.endswith("/config.json")]
    where = f" There is a config.json in a folder: {listed(deeper)}." if deeper else ""
    report.add(
        "layout",
        TITLE,
        Outcome.FAIL,
        f"No kind of model that Loggia knows lies in these {len(files.sizes)} files: "
        f"{listed(files.sizes)}.{where}",
        "Supported are: "
        + "; ".join(f"{layout.title} ({layout.example})" for layout in layouts)
        + ". Put the model's files at the top, not in a folder beside others.",
    )
    return None
