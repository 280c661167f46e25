"""Deployments from the command line: deploy, redeploy, stop."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.models import Model, Watch
from backend.cli.output import FAILED, AsJson, fail, print_fields, print_json, print_table

_PANEL = "Client"
_DEPLOY_ENDS = {"RevisionDeployed": True, "RevisionFailed": False}
_STOP_ENDS = {"DeploymentStopped": True}
#: Below these, an engine's own argument names stand, which the platform does not know.
_FREE_KEYS = {"engineArguments", "engine_arguments"}

Config = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A complete deployconfig.json."),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="A changed value, such as parameters.temperature=0.2; repeatable."),
]
AcceptTerms = Annotated[
    bool, typer.Option("--accept-terms", help="Accept the terms of deployment.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, and deploy nothing.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel=_PANEL)(deploy)
    app.command(rich_help_panel=_PANEL)(redeploy)
    app.command(rich_help_panel=_PANEL)(stop)


def deploy(
    model: Model,
    config: Config = None,
    changes: Changes = None,
    accept_terms: AcceptTerms = False,
    reason: Reason = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Deploy a model with the defaults, or a configuration, and changes to it."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        options = api.get("/api/deploy/options", modelId=found["id"])
        base = read_configuration(config) if config else options["defaults"]
        _ask(api, found, options, apply_changes(base, changes or []), accept_terms, reason,
             dry_run=dry_run, watch=watch, as_json=as_json)  # fmt: skip


def redeploy(
    model: Model,
    config: Config = None,
    changes: Changes = None,
    accept_terms: AcceptTerms = False,
    reason: Reason = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Deploy anew, with the changes that were kept and more. The endpoint stays up meanwhile."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        options = api.get("/api/deploy/options", modelId=found["id"])
        if config:
            base = read_configuration(config)
        else:
            # What somebody has kept for the next redeployment is what this one is about.
            deployment = api.get(f"/api/models/{found['id']}/deployment")
            base = (deployment["pending"] or deployment)["configuration"]
        _ask(api, found, options, apply_changes(base, changes or []), accept_terms, reason,
             dry_run=dry_run, watch=watch, as_json=as_json)  # fmt: skip


def stop(
    model: Model, reason: Reason = None, watch: Watch = False, as_json: AsJson = False
) -> None:
    """Stop a deployment. Requests that run are finished first."""
    from backend.cli import watching
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.model(model)
        query = {"reason": reason} if reason else None
        path = f"/api/models/{found['id']}/deployment"
        accepted = api.command("DELETE", path, query=query)
        if watch:
            watching.watch(
                api, found["id"], after=accepted["position"], ends=_STOP_ENDS, quiet=as_json
            )
    print_json(accepted) if as_json else print(
        f"{found['name']} {'has stopped' if watch else 'is stopping'}"
    )


def apply_changes(configuration: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """The configuration with `path=value` changes applied. Values are JSON, or else plain text.

    Names may be written as in Python or as in JSON. Ends the command for a name that the
    configuration does not have.
    """
    changed: dict[str, Any] = json.loads(json.dumps(configuration))
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            fail(f"--set {change!r} has no value", "write it as name=value")
        *folders, last = path.split(".")
        place, free = changed, False
        for folder in folders:
            name = _known(place, folder, path, free=free)
            free = free or name in _FREE_KEYS
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                fail(f"--set {path!r}: {folder} holds a single value")
            place = inner
        # An engine's own arguments are text, whatever they look like.
        place[_known(place, last, path, free=free)] = text if free else _value(text)
    return changed


def _known(place: dict[str, Any], name: str, path: str, *, free: bool) -> str:
    first, *rest = name.split("_")
    camel = first + "".join(part.title() for part in rest)
    known = next((candidate for candidate in (name, camel) if candidate in place), None)
    if known is None and not free:
        fail(f"the configuration has no {path!r}", f"there is: {', '.join(sorted(place))}")
    return known or name


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_configuration(file: Path) -> dict[str, Any]:
    """The document in a file. Ends the command where there is none."""
    try:
        read = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        fail(f"{file} is no configuration: {error}", "export one from a deployment's page")
    if not isinstance(read, dict):
        fail(f"{file} is no configuration: it holds no JSON object")
    return read


def short(value: Any) -> str | None:
    """A value of a configuration in a table's cell."""
    return value if isinstance(value, str) or value is None else json.dumps(value)


def _ask(
    api: Any,
    model: dict[str, Any],
    options: dict[str, Any],
    configuration: dict[str, Any],
    accept_terms: bool,
    reason: str | None,
    *,
    dry_run: bool,
    watch: bool,
    as_json: bool,
) -> None:
    if dry_run:
        _rehearse(api, model, configuration, accept_terms, as_json=as_json)
    else:
        _request(
            api, model, options, configuration, accept_terms, reason, watch=watch, as_json=as_json
        )


def _rehearse(
    api: Any,
    model: dict[str, Any],
    configuration: dict[str, Any],
    accept_terms: bool,
    *,
    as_json: bool,
) -> None:
    """Prints what a deployment would come to; exits with 1 where it would be refused."""
    told = api.command(
        "POST",
        f"/api/models/{model['id']}/deployment/dry-run",
        {"configuration": configuration, "termsAccepted": accept_terms},
    )
    if as_json:
        print_json(told)
    else:
        print_table(
            ["", "CHECK", "FOUND", "HINT"],
            [
                [check["outcome"], check["title"], check["evidence"], check["hint"]]
                for check in told["checks"]
            ],
            empty="no checks",
        )
        print()
        print_table(
            ["FIELD", "BEFORE", "AFTER"],
            [[c["field"], short(c["before"]), short(c["after"])] for c in told["changes"]],
            empty="no changes to what is deployed",
        )
        print()
        print_table(
            ["EVENT", "TIMES", "WHEN"],
            [
                *([event["type"], 1, "at once"] for event in told["events"]),
                *([event["type"], event["count"], event["meaning"]] for event in told["expected"]),
            ],
            empty="no events: it would be refused",
        )
    if not told["allowed"]:
        raise typer.Exit(FAILED)


def _request(
    api: Any,
    model: dict[str, Any],
    options: dict[str, Any],
    configuration: dict[str, Any],
    accept_terms: bool,
    reason: str | None,
    *,
    watch: bool,
    as_json: bool,
) -> None:
    from backend.cli import watching

    terms = options["terms"]
    if not accept_terms:
        print(terms["text"], file=sys.stderr)
        fail("the terms above must be accepted", "give the command again with --accept-terms")
    request: dict[str, Any] = {
        "configuration": configuration,
        "terms": {"version": terms["version"], "accepted": True},
    }
    if reason:
        request["reason"] = reason
    path = f"/api/models/{model['id']}/deployment"
    accepted = api.command("PUT", path, request)
    if not watch:
        print_json(accepted) if as_json else print(f"{model['name']} is being deployed")
        return
    revision = accepted.get("revision")
    ended = watching.watch(
        api,
        model["id"],
        after=accepted["position"],
        ends=_DEPLOY_ENDS,
        concerns=lambda facts: revision is None or facts.get("revision") == revision,
        quiet=as_json,
    )
    deployment = api.get(path, atLeast=ended["position"])
    if as_json:
        print_json(deployment)
        return
    endpoint = deployment.get("endpoint") or {}
    print_fields(
        {
            "Model": model["name"],
            "State": deployment["state"],
            "Revision": deployment.get("servingRevision"),
            "Replicas": f"{deployment['replicasReady']} of {deployment['replicasWanted']}",
            "Endpoint": endpoint.get("baseUrl"),
            "Model field": endpoint.get("model"),
        }
    )
