"""Servers that run engines already. Credentials are asked for or read from standard input, never
an argument, which every user of the machine could read."""

from typing import Annotated, Any

import typer

from backend.cli.login import secret
from backend.cli.output import AsJson, print_json, print_table

servers = typer.Typer(no_args_is_help=True, help="Where replicas run.")

PATH = "/api/servers"
Name = Annotated[str, typer.Argument(help="The server's name.")]
Address = Annotated[str, typer.Argument(help="Its address, such as http://gpu-7:8000.")]
Engine = Annotated[str, typer.Option(help="The engine that runs there: vllm or triton.")]
Pool = Annotated[str, typer.Option(help="Name shared by servers that replace each other.")]
Grpc = Annotated[str, typer.Option("--grpc", help="Triton's gRPC address, as host:port.")]
Deployments = Annotated[int, typer.Option(min=1, help="Deployments that it serves at a time.")]
MemoryGib = Annotated[float | None, typer.Option(help="Its memory in GiB.")]
GpuCount = Annotated[int, typer.Option(min=0, help="How many GPUs it has.")]
GpuName = Annotated[str, typer.Option(help="What its GPUs are called.")]
GpuMemoryGib = Annotated[float | None, typer.Option(help="Memory of each GPU in GiB.")]
AskCredentials = Annotated[
    bool, typer.Option("--credentials", help="Ask for the key that the server wants.")
]
Forget = Annotated[bool, typer.Option("--no-credentials", help="It wants no key any more.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(servers, name="servers", rich_help_panel="Client")


@servers.command("list")
def list_servers(as_json: AsJson = False) -> None:
    """List machines and registered servers, and what runs on them."""
    from backend.cli.client import Api

    with Api.from_credentials() as api:
        found = api.get(PATH)["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ["NAME", "POOL", "STATE", "ENGINES", "MEMORY", "GPUS", "REPLICAS", "REASON"],
        [_row(server) for server in found],
        empty="no servers: no deploy worker has reported, and none is registered",
    )


@servers.command("register")
def register_server(
    name: Name,
    address: Address,
    engine: Engine = "vllm",
    pool: Pool = "",
    grpc: Grpc = "",
    deployments: Deployments = 1,
    memory_gib: MemoryGib = None,
    gpu_count: GpuCount = 0,
    gpu_name: GpuName = "",
    gpu_memory_gib: GpuMemoryGib = None,
    credentials: AskCredentials = False,
    as_json: AsJson = False,
) -> None:
    """Ask a server that runs already, and let deployments use it."""
    from backend.cli.client import Api

    body = {
        "name": name,
        "address": address,
        "engine": engine,
        "pool": pool,
        "grpcAddress": grpc,
        "capacity": {
            "deployments": deployments,
            "memoryGib": memory_gib,
            "gpuCount": gpu_count,
            "gpuName": gpu_name,
            "gpuMemoryGib": gpu_memory_gib,
        },
        "credentials": secret("The server's key") or None if credentials else None,
    }
    with Api.from_credentials() as api:
        accepted = api.command("POST", PATH, body)
    print_json(accepted) if as_json else print(f"{name} answers and is registered")


@servers.command("change")
def change_server(
    name: Name,
    address: Annotated[str | None, typer.Option(help="Another address.")] = None,
    pool: Annotated[str | None, typer.Option(help="Another pool.")] = None,
    grpc: Annotated[str | None, typer.Option("--grpc", help="Another gRPC address.")] = None,
    deployments: Annotated[int | None, typer.Option(min=1, help="Another capacity.")] = None,
    credentials: AskCredentials = False,
    no_credentials: Forget = False,
    as_json: AsJson = False,
) -> None:
    """Describe a server anew; what is not given stays."""
    from urllib.parse import quote

    from backend.cli.client import Api
    from backend.cli.output import fail

    with Api.from_credentials() as api:
        known = {server["name"]: server["registration"] for server in api.get(PATH)["items"]}
        registration = known.get(name)
        if registration is None:
            fail(f"there is no registered server '{name}'", "see `loggia servers list`")
        given = {"address": address, "pool": pool, "grpcAddress": grpc}
        body: dict[str, Any] = {
            key: registration[key] if value is None else value for key, value in given.items()
        }
        body["engine"] = registration["engine"]
        body["capacity"] = {
            **registration["capacity"],
            **({"deployments": deployments} if deployments else {}),
        }
        if credentials or no_credentials:
            body["replaceCredentials"] = True
            body["credentials"] = secret("The server's key") or None if credentials else None
        accepted = api.command("PUT", f"{PATH}/{quote(name, safe='')}", body)
    print_json(accepted) if as_json else print(f"{name} answers and is changed")


@servers.command("drain")
def drain_server(name: Name, reason: Reason = "", as_json: AsJson = False) -> None:
    """Give a server no new replicas, and move those that it has."""
    _act("POST", name, "/drain", {"reason": reason}, "takes no new replicas", as_json)


@servers.command("resume")
def resume_server(name: Name, as_json: AsJson = False) -> None:
    """Let a drained server take replicas again."""
    _act("DELETE", name, "/drain", None, "takes replicas again", as_json)


@servers.command("remove")
def remove_server(name: Name, as_json: AsJson = False) -> None:
    """Forget a server on which nothing runs, and its key."""
    _act("DELETE", name, "", None, "is forgotten", as_json)


def _act(method: str, name: str, path: str, body: Any, done: str, as_json: bool) -> None:
    from urllib.parse import quote

    from backend.cli.client import Api

    with Api.from_credentials() as api:
        accepted = api.command(method, f"{PATH}/{quote(name, safe='')}{path}", body)
    print_json(accepted) if as_json else print(f"{name} {done}")


def _row(server: dict[str, Any]) -> list[str]:
    registration = server["registration"]
    capacity = registration["capacity"] if registration else {"gpuCount": len(server["gpus"])}
    memory = server["memoryGib"]
    return [
        server["name"],
        registration["pool"] if registration else "",
        server["state"],
        ", ".join(f"{engine['name']} {engine['version']}" for engine in server["engines"]),
        f"{memory:g} GiB" if memory else "",
        str(capacity["gpuCount"] or ""),
        str(len(server["replicas"])),
        server["reason"] or "",
    ]
