"""What every import is told on the command line, and how it goes on from there."""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.models import IMPORT_ENDS, print_report, show
from backend.cli.output import fail, print_fields, print_json

if TYPE_CHECKING:
    from backend.cli.client import Api

Base = Annotated[str | None, typer.Option(help="An adapter: its base model's name or id.")]
OfModel = Annotated[
    str | None, typer.Option("--model", help="Import a further version of this model.")
]
Version = Annotated[str | None, typer.Option(help="Its version; else the next free one.")]
Name = Annotated[str | None, typer.Option(help="The model's name; else the source suggests one.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="May be repeated.")]
Links = Annotated[
    list[str] | None, typer.Option("--link", help="A page about the model; may be repeated.")
]
Description = Annotated[str, typer.Option(help="What people read about the model.")]
AcceptRisk = Annotated[
    list[str] | None,
    typer.Option("--accept-risk", help="pickle or custom_code, for this import alone."),
]
Reason = Annotated[str | None, typer.Option(help="Why the files can be trusted; kept for ever.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read and check everything, and write nothing.")
]
Connection = Annotated[
    str | None, typer.Option(help="A saved connection; see `loggia connections list`.")
]

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Wish:
    """What every source can be told about the model, as the command line has it."""

    base: str | None = None
    model: str | None = None
    version: str | None = None
    name: str | None = None
    labels: list[str] | None = None
    links: list[str] | None = None
    description: str = ""
    risks: list[str] | None = None
    reason: str | None = None

    def body(self, api: "Api", source: str, **facts: Any) -> dict[str, Any]:
        """The request, without what was not given."""
        if self.risks and not self.reason:
            fail("--accept-risk needs a reason", "say with --reason why these files can be trusted")
        said: dict[str, Any] = {
            "source": source,
            **facts,
            "kind": "adapter" if self.base else "base",
            "baseModelId": api.model(self.base)["id"] if self.base else None,
            "modelId": api.model(self.model)["id"] if self.model else None,
            "version": self.version,
            "name": self.name,
            "labels": self.labels,
            "documentationLinks": self.links,
            "description": self.description or None,
            "acceptedRisks": {"risks": self.risks, "reason": self.reason} if self.risks else None,
        }
        return {field: value for field, value in said.items() if value is not None}


def begin(
    wish: Wish,
    source: str,
    facts: dict[str, Any],
    *,
    dry_run: bool,
    watch: bool,
    as_json: bool,
) -> None:
    """Asks for the import; `facts` are what its source wants to know."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        body = wish.body(api, source, **facts)
        if dry_run:
            rehearse(api, body, as_json=as_json)
        else:
            accepted = api.command("POST", "/api/imports", body)
            tell(api, accepted, watch=watch, as_json=as_json)


def tell(api: "Api", accepted: dict[str, Any], *, watch: bool, as_json: bool) -> None:
    """Prints what was accepted; with `watch`, waits for the outcome and prints the model."""
    from backend.cli import watching

    if watch:
        ended = watching.watch(
            api, accepted["id"], after=accepted["position"], ends=IMPORT_ENDS, quiet=as_json
        )
        imported = api.get(f"/api/models/{accepted['id']}", atLeast=ended["position"])
        show(imported, as_json=as_json)
    elif as_json:
        print_json(accepted)
    else:
        print(f"importing as model {accepted['id']}; see `loggia models show {accepted['id']}`")


def rehearse(api: "Api", body: dict[str, Any], *, as_json: bool) -> None:
    """Prints how the import would go; ends the command where it would fail."""
    result = api.command("POST", "/api/imports", body, query={"dryRun": "true"})
    while "events" not in result:
        time.sleep(_POLL_SECONDS)
        result = api.get(f"/api/imports/dry-runs/{result['id']}")
    failure = result.get("failure")
    if as_json:
        print_json(result)
    else:
        card = result.get("card") or {}
        print_fields({"Format": card.get("format"), "Architecture": card.get("architecture")})
        print_report(result.get("report"))
        print()
        print("Would be written: " + ", ".join(event["type"] for event in result["events"]))
    if failure:
        sys.stdout.flush()
        fail(failure["reason"], failure["remedy"])
