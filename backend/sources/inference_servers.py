"""What a vLLM or Triton server that runs already says of itself, through the guarded client.

vLLM: the OpenAI protocol's /v1/models, and its own /health and /version. Triton: the KServe v2
protocol's /v2 (server metadata), /v2/health/ready and /v2/models/{name}/ready.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from backend.infra.settings import Settings
from backend.sources.addresses import AddressRules, parse_networks
from backend.sources.errors import FetchFailed, FetchRefused
from backend.sources.exchange import Persistence
from backend.sources.guarded import GuardedClient
from backend.sources.plain import plain
from backend.sources.transport import Patience

_LIMIT_BYTES = 4 << 20
_MOST_MODELS = 1000
_LOADABLE = "model_repository"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ServerFacts:
    """What the server said: its version, and for vLLM the names under which it serves.

    `loads_models` says whether Triton has the extension by which models are loaded on demand.
    """

    engine_version: str
    models: tuple[str, ...] = ()
    loads_models: bool = False


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


class _Version(msgspec.Struct):
    version: str


class _Metadata(msgspec.Struct):
    name: str
    version: str
    extensions: list[str] = []


def watching_client(settings: Settings, *, seconds: float) -> GuardedClient:
    """A client that asks once and does not wait longer than this for an answer."""
    return GuardedClient(
        AddressRules(parse_networks(settings.fetch_allowed_networks)),
        patience=Patience(
            connect_seconds=seconds,
            idle_seconds=seconds,
            head_seconds=seconds,
            total_seconds=seconds,
        ),
        persistence=Persistence(attempts=1),
    )


def ask_server(
    engine: str, address: str, credentials: str | None, client: GuardedClient
) -> ServerFacts:
    """What the server says of itself. Raises `FetchRefused` and `FetchFailed`, in words."""
    headers = {"authorization": f"Bearer {credentials}"} if credentials else {}
    try:
        return _ASK[engine](address, headers, client)
    except FetchFailed as failure:
        if failure.status in {401, 403}:
            raise FetchRefused(
                "credentials_refused",
                f"The server does not accept the credentials (status {failure.status}).",
                "Give the key with which the server was started."
                if credentials
                else "Give the key that the server asks for.",
            ) from failure
        raise


def grpc_target(address: str, client: GuardedClient) -> str:
    """Host and port as gRPC connects to them: by the very addresses that have been judged.

    Raises `FetchRefused` and `FetchFailed`.
    """
    host, _, port = address.rpartition(":")
    found = client.judged(host.strip("[]"), int(port))
    # A target names one family; the resolver puts the better one first.
    if ":" in found[0]:
        return "ipv6:" + ",".join(f"[{number}]:{port}" for number in found if ":" in number)
    return "ipv4:" + ",".join(f"{number}:{port}" for number in found if ":" not in number)


def check_ready(engine: str, address: str, credentials: str | None, client: GuardedClient) -> None:
    """Whether it answers and is ready, by one small request. Raises as `ask_server` does."""
    headers = {"authorization": f"Bearer {credentials}"} if credentials else {}
    client.get(address + _HEALTH[engine], limit_bytes=_LIMIT_BYTES, headers=headers)


def serves(
    engine: str, address: str, credentials: str | None, client: GuardedClient, name: str
) -> bool:
    """Whether the model of this name is ready there. Raises as `ask_server` does."""
    headers = {"authorization": f"Bearer {credentials}"} if credentials else {}
    if engine == "vllm":
        found = _get(client, f"{address}/v1/models", headers, _Models, "vLLM")
        return any(model.id == name for model in found.data)
    try:
        ready = f"{address}/v2/models/{quote(name, safe='')}/ready"
        client.get(ready, limit_bytes=_LIMIT_BYTES, headers=headers)
    except FetchFailed as failure:
        if failure.status in {400, 404}:
            return False
        raise
    return True


def _vllm(address: str, headers: Mapping[str, str], client: GuardedClient) -> ServerFacts:
    models = _get(client, f"{address}/v1/models", headers, _Models, "vLLM")
    client.get(address + _HEALTH["vllm"], limit_bytes=_LIMIT_BYTES, headers=headers)
    version = _get(client, f"{address}/version", headers, _Version, "vLLM").version
    names = tuple(plain(model.id, 200) for model in models.data[:_MOST_MODELS])
    return ServerFacts(plain(version, 100), names)


def _triton(address: str, headers: Mapping[str, str], client: GuardedClient) -> ServerFacts:
    found = _get(client, f"{address}/v2", headers, _Metadata, "Triton")
    if found.name != "triton":
        raise FetchRefused(
            "another_engine",
            f"The server calls itself '{plain(found.name, 80)}', not Triton.",
            "Choose the engine that runs there.",
        )
    client.get(address + _HEALTH["triton"], limit_bytes=_LIMIT_BYTES, headers=headers)
    return ServerFacts(plain(found.version, 100), loads_models=_LOADABLE in found.extensions)


def _get(
    client: GuardedClient,
    address: str,
    headers: Mapping[str, str],
    kind: type[Answer],
    engine: str,
) -> Answer:
    try:
        body = client.get(address, limit_bytes=_LIMIT_BYTES, headers=headers)
        return msgspec.json.decode(body, type=kind)
    except FetchFailed as failure:
        if failure.status not in {400, 404, 405}:
            raise
        answered: Any = failure
    except msgspec.MsgspecError as error:
        answered = error
    raise FetchRefused(
        "another_engine",
        f"What answers there is not {engine}.",
        "Choose the engine that runs there, and give its address without a path.",
    ) from answered


_ASK: Mapping[str, Callable[[str, Mapping[str, str], GuardedClient], ServerFacts]] = {
    "vllm": _vllm,
    "triton": _triton,
}
_HEALTH = {"vllm": "/health", "triton": "/v2/health/ready"}
