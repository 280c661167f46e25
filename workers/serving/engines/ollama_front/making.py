"""Makes a model on an Ollama server from files and a Modelfile's content, and takes it away.

Source of the protocol: docs/api.md of github.com/ollama/ollama.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import msgspec

from backend.embedded.processes import engine_members
from workers.serving.engines.ollama_front.plan import Plan

_CHUNK_BYTES = 1024**2
# Between two lines of a server that makes or pulls something.
_SILENCE_SECONDS = 600.0
_ANSWER_SECONDS = 30.0
_LOAD_SECONDS = 600.0


class NotMade(Exception):
    """The server would not make the model; the text says why."""


class OllamaServer:
    """The HTTP API, as far as it is needed here."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def make(self, plan: Plan) -> None:
        """Makes the model from files or from one that the server has, and loads it.

        Raises `NotMade` and `aiohttp.ClientError`.
        """
        body: dict[str, Any] = {"model": plan.made, "stream": True}
        if plan.files:
            body["files"] = {name: await self._push(path) for name, path in plan.files.items()}
        else:
            await self._pull(plan.source)
            body["from"] = plan.source
        if plan.adapters:
            body["adapters"] = {n: await self._push(path) for n, path in plan.adapters.items()}
        if plan.template:
            body["template"] = plan.template
        if plan.system:
            body["system"] = plan.system
        if plan.parameters:
            body["parameters"] = plan.parameters
        if plan.licenses:
            body["license"] = plan.licenses
        if plan.messages:
            body["messages"] = [{"role": role, "content": text} for role, text in plan.messages]
        await self._follow("/api/create", body)
        await self._load(plan)

    async def is_alive(self) -> bool:
        """Whether the server responds. Raises `aiohttp.ClientError` and `TimeoutError`."""
        async with self._session.get(
            f"{self._url}/api/version", timeout=aiohttp.ClientTimeout(_ANSWER_SECONDS)
        ) as response:
            return response.status == 200

    async def remove(self, made: str) -> None:
        """Takes a model away; one that is not there is no fault."""
        async with self._session.delete(
            f"{self._url}/api/delete",
            json={"model": made},
            timeout=aiohttp.ClientTimeout(_ANSWER_SECONDS),
        ) as response:
            if response.status not in {200, 404}:
                raise NotMade(f"'{made}' could not be removed: {await _reason(response)}")

    async def remove_orphans(self, prefix: str) -> None:
        """Takes away what fronts of this machine left that were killed."""
        async with self._session.get(
            f"{self._url}/api/tags", timeout=aiohttp.ClientTimeout(_ANSWER_SECONDS)
        ) as response:
            if response.status != 200:
                return
            listed = (await response.json())["models"]
        for model in listed:
            name = str(model.get("name", "")).removesuffix(":latest")
            if name.startswith(prefix) and not _front_lives(name.removeprefix(prefix)):
                print(f"removing {name}, which a front has left behind", flush=True)
                await self.remove(name)

    async def _push(self, path: str) -> str:
        digest = f"sha256:{_sha256(Path(path))}"
        url = f"{self._url}/api/blobs/{digest}"
        async with self._session.head(
            url, timeout=aiohttp.ClientTimeout(_ANSWER_SECONDS)
        ) as response:
            if response.status == 200:
                return digest
        name, size = _described(path)
        print(f"sending {name}, {size} bytes", flush=True)
        timeout = aiohttp.ClientTimeout(None, sock_read=_SILENCE_SECONDS)
        async with self._session.post(
            url, data=_chunks(Path(path)), headers={"Content-Length": str(size)}, timeout=timeout
        ) as response:
            if response.status not in {200, 201}:
                raise NotMade(f"'{name}' was refused: {await _reason(response)}")
        return digest

    async def _pull(self, source: str) -> None:
        async with self._session.post(
            f"{self._url}/api/show",
            json={"model": source},
            timeout=aiohttp.ClientTimeout(_ANSWER_SECONDS),
        ) as response:
            if response.status == 200:
                return
        await self._follow("/api/pull", {"model": source, "stream": True})

    async def _load(self, plan: Plan) -> None:
        print("loading", flush=True)
        path, question = ("/api/embed", {"input": "a"}) if plan.embeds else ("/api/generate", {})
        body = {"model": plan.made, "keep_alive": -1, "stream": False, **question}
        async with self._session.post(
            f"{self._url}{path}", json=body, timeout=aiohttp.ClientTimeout(_LOAD_SECONDS)
        ) as response:
            if response.status != 200:
                raise NotMade(f"The model could not be loaded: {await _reason(response)}")

    async def _follow(self, path: str, body: dict[str, Any]) -> None:
        """Prints what the server says of its work, each thing once, until it is done."""
        timeout = aiohttp.ClientTimeout(None, sock_read=_SILENCE_SECONDS)
        said = ""
        async with self._session.post(f"{self._url}{path}", json=body, timeout=timeout) as response:
            if response.status != 200:
                raise NotMade(await _reason(response))
            async for line in response.content:
                step = msgspec.json.decode(line, type=dict[str, Any]) if line.strip() else {}
                if "error" in step:
                    raise NotMade(str(step["error"]))
                if step.get("status", said) != said:
                    said = str(step["status"])
                    print(said, flush=True)
        if said != "success":
            raise NotMade(f"The server stopped in the middle of it, after '{said}'.")


def _front_lives(replica: str) -> bool:
    try:
        return bool(engine_members(str(UUID(replica)), None))
    except ValueError:
        return True  # not of our making


def _described(path: str) -> tuple[str, int]:
    return Path(path).name, Path(path).stat().st_size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


async def _reason(response: aiohttp.ClientResponse) -> str:
    text = await response.text()
    try:
        return str(msgspec.json.decode(text, type=dict[str, Any])["error"])[:500]
    except (msgspec.MsgspecError, LookupError):
        return f"status {response.status}"
