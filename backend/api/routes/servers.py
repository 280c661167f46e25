"""Servers: where replicas run, what they have and how busy they are; pools are registered here."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import msgspec
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from backend.api.commands import CommandAnswer, answer_of, with_version
from backend.api.freshness import fresh
from backend.api.services import Services
from backend.api.wire import AtLeast, Body
from backend.application.commands import CommandContext
from backend.application.servers import Credentials
from backend.domain.server import Capacity, Description, checked_address, missing
from backend.readmodels import deployments, gallery, servers
from backend.readmodels.servers import CapacityView, LoadSeries, ServerList
from backend.sources.guarded import GuardedClient
from backend.sources.inference_servers import ServerFacts, ask_server, grpc_target

PATH = "/api/servers"
_TRIAL_SECONDS = 30.0
Hours = Annotated[float, QueryParameter(ge=0.1, le=24, description="How far back, in hours.")]


class ServerBody(Body):
    """Where a server is, what runs there and what it has.

    `pool` is the name that servers share which replace each other; empty: the server's own name.
    `grpcAddress` is Triton's second one, as host:port.
    """

    address: str
    engine: Literal["vllm", "triton"]
    pool: str = ""
    grpc_address: str = ""
    capacity: CapacityView = CapacityView()


class NewServer(ServerBody):
    """A server under a new name. `credentials` is sent as a bearer token, and is never shown."""

    name: str = ""
    credentials: str | None = None


class ServerChange(ServerBody):
    """All of a server anew. Without `replaceCredentials` those that are there stay.

    Where `grpcAddress` is empty, or the one that followed from the address before, it follows from
    `address`.
    """

    credentials: str | None = None
    replace_credentials: bool = False


class DrainRequest(Body):
    """Why the server is to be emptied."""

    reason: str = ""


class ServerTrial(msgspec.Struct, rename="camel", frozen=True):
    """What the server said of itself; `models` are the names that a vLLM server serves."""

    engine_version: str
    models: list[str]
    loads_models: bool


@get(PATH, operation_id="listServers")
async def list_servers(services: NamedDependency[Services], at_least: AtLeast = None) -> ServerList:
    """Every server with its engines, health and what runs there; machines of the platform first."""
    for consumer in (servers.CONSUMER, deployments.CONSUMER, gallery.CONSUMER):
        await fresh(services, consumer, at_least)
    return await services.query(lambda: servers.everything(services.pool))


@get(PATH + "/{name:str}/load", operation_id="readServerLoad")
async def read_server_load(
    name: FromPath[str], services: NamedDependency[Services], hours: Hours = 1
) -> LoadSeries:
    """Processor, memory, GPUs and requests over time; what is older than a day is forgotten."""
    return await services.query(lambda: servers.load_of(services.pool, name, hours=hours))


@post(PATH, operation_id="registerServer", status_code=201)
async def register_server(
    data: JSONBody[NewServer],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Asks the server for real, and registers it: deployments may name it from now on."""
    wanted, secret = _description(data.name, data), data.credentials or None
    found = await services.fetches.run(lambda: _ask(services, wanted, secret))
    described = replace(wanted, engine_version=found.engine_version)
    accepted = await services.command(lambda: services.servers.register(context, described, secret))
    return with_version(answer_of(accepted), 201)


@post(PATH + "/test", operation_id="testServer", status_code=200)
async def test_server(
    data: JSONBody[NewServer], services: NamedDependency[Services]
) -> ServerTrial:
    """Asks a server without registering it."""
    wanted = _description(data.name, data)
    found = await services.fetches.run(lambda: _ask(services, wanted, data.credentials or None))
    return ServerTrial(found.engine_version, list(found.models), found.loads_models)


@put(PATH + "/{name:str}", operation_id="changeServer")
async def change_server(
    name: FromPath[str],
    data: JSONBody[ServerChange],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Asks the server for real, and describes it anew."""
    credentials = Credentials(data.credentials or None, kept=not data.replace_credentials)
    wanted = _description(name, data)

    def ask() -> ServerFacts:
        known = services.server_store.find(name)
        if known is None:
            raise missing(name)
        secret = credentials.secret
        if credentials.kept:
            # A secret goes only to the address that it was given for.
            moved = known.address != checked_address(wanted.address)
            secret = None if moved else known.credentials
        return _ask(services, wanted.following(known.address, known.grpc_address), secret)

    found = await services.fetches.run(ask)
    described = replace(wanted, engine_version=found.engine_version)
    accepted = await services.command(
        lambda: services.servers.change(context, described, credentials)
    )
    return with_version(answer_of(accepted))


@post(PATH + "/{name:str}/drain", operation_id="drainServer", status_code=200)
async def drain_server(
    name: FromPath[str],
    data: JSONBody[DrainRequest],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Gives it no new replicas; those there move to other servers of its pool."""
    accepted = await services.command(
        lambda: services.servers.drain(context, name, reason=data.reason)
    )
    return with_version(answer_of(accepted))


@delete(PATH + "/{name:str}/drain", operation_id="endServerDrain", status_code=200)
async def end_server_drain(
    name: FromPath[str],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Lets it take replicas again."""
    accepted = await services.command(lambda: services.servers.end_drain(context, name))
    return with_version(answer_of(accepted))


@delete(PATH + "/{name:str}", operation_id="removeServer", status_code=200)
async def remove_server(
    name: FromPath[str],
    services: NamedDependency[Services],
    context: NamedDependency[CommandContext],
) -> Response[CommandAnswer]:
    """Forgets a server and its credentials. Refused while replicas run there."""
    accepted = await services.command(lambda: services.servers.remove(context, name))
    return with_version(answer_of(accepted))


def _ask(services: Services, wanted: Description, credentials: str | None) -> ServerFacts:
    address = checked_address(wanted.address)
    grpc_address = wanted.complete_grpc_address()
    with (
        GuardedClient.from_settings(services.settings) as client,
        client.within(_TRIAL_SECONDS),
    ):
        if grpc_address:
            grpc_target(grpc_address, client)
        return ask_server(wanted.engine, address, credentials, client)


def _description(name: str, wanted: ServerBody) -> Description:
    return Description(
        name=name,
        address=wanted.address,
        engine=wanted.engine,
        engine_version="",
        pool=wanted.pool,
        grpc_address=wanted.grpc_address,
        capacity=Capacity(**msgspec.structs.asdict(wanted.capacity)),
    )


HANDLERS = [
    list_servers, read_server_load, register_server, test_server, change_server, drain_server,
    end_server_drain, remove_server,
]  # fmt: skip
