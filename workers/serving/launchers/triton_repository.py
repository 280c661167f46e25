"""Loading and unloading of models on a Triton server that runs with explicit model control.

Protocol: KServe v2 over gRPC, with Triton's model repository extension.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from backend.domain.errors import NotAllowed
from backend.infra.logging import get_logger
from backend.infra.servers import StoredServer
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.guarded import GuardedClient
from backend.sources.inference_servers import grpc_target
from workers.serving.launchers.launcher import PlaceLost

_LOAD_SECONDS = 600.0
# As the client writes gRPC's status.
_NOT_THERE = {"StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"}
_log = get_logger(__name__)


def load_model(server: StoredServer, name: str, guarded: GuardedClient) -> None:
    """Loads the model of this name from the server's repository, and waits until it is ready.

    Where it is loaded already Triton looks for changed files, and serves it meanwhile as it was.
    Raises `NotAllowed` with what Triton says where it cannot, and `PlaceLost`; and `FetchRefused`
    and `FetchFailed` for the address, which `guarded` judges.
    """
    try:
        with _client(server, _LOAD_SECONDS, guarded) as (client, options):
            client.load_model(name, **options)
    except InferenceServerException as error:
        if error.status() in _NOT_THERE:
            raise PlaceLost(error.message()) from error
        raise NotAllowed(
            f"The server '{server.name}' cannot load '{name}': {error.message()}",
            remedy="Put the model into the server's repository under this name, and start the "
            "server with --model-control-mode=explicit.",
        ) from error


def unload_model(
    server: StoredServer, name: str, guarded: GuardedClient, *, seconds: float
) -> None:
    """Unloads it, if the server can still be asked; what is left there disturbs nobody."""
    try:
        with _client(server, seconds, guarded) as (client, options):
            client.unload_model(name, **options)
    except (InferenceServerException, FetchRefused, FetchFailed, OSError) as error:
        _log.warning("a model stays loaded", server=server.name, model=name, error=str(error))


@contextmanager
def _client(
    server: StoredServer, seconds: float, guarded: GuardedClient
) -> Iterator[tuple[Any, dict[str, Any]]]:
    headers = {"authorization": f"Bearer {server.credentials}"} if server.credentials else {}
    client: Any = triton_grpc.InferenceServerClient(
        grpc_target(server.grpc_address, guarded),
        channel_args=[
            ("grpc.default_authority", server.grpc_address),
            ("grpc.enable_http_proxy", 0),
        ],
    )
    try:
        yield client, {"headers": headers, "client_timeout": seconds}
    finally:
        client.close()
