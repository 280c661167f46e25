"""`python -m workers.serving.engines.ollama_front`: makes the model, serves it, takes it away."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

import aiohttp
import msgspec
from aiohttp import web

from workers.serving.engines.ollama_front.front import Front
from workers.serving.engines.ollama_front.making import NotMade, OllamaServer
from workers.serving.engines.ollama_front.plan import Plan

_BEARER = "OLLAMA_FRONT_TOKEN"
_CONNECT_SECONDS = 5.0
_NOT_MADE = 3


async def serve(plan: Plan, url: str, port: int, prefix: str) -> None:
    """Serves until SIGTERM. Raises `NotMade` and `aiohttp.ClientError`."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    token = os.environ.get(_BEARER)
    async with aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {token}"} if token else {},
        timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS),
        auto_decompress=True,
    ) as session:
        server = OllamaServer(session, url)
        front = Front(plan, session, server, url)
        runner = web.AppRunner(front.application(), access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            await _make_unless(stop, server, plan, prefix)
            front.made.set()
            print(f"serving {plan.name}", flush=True)
            await stop.wait()
        finally:
            await runner.cleanup()
            await server.remove(plan.made)


async def _make_unless(stop: asyncio.Event, server: OllamaServer, plan: Plan, prefix: str) -> None:
    making = asyncio.create_task(_make(server, plan, prefix))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({making, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if making.done():
        making.result()
    else:
        making.cancel()


async def _make(server: OllamaServer, plan: Plan, prefix: str) -> None:
    await server.remove_orphans(prefix)
    await server.make(plan)


def main() -> None:
    """The command. Ends with a line that begins with ERROR where the model cannot be served."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--plan", required=True)
    parser.add_argument("--prefix", required=True)
    given = parser.parse_args()
    plan = msgspec.json.decode(given.plan, type=Plan)
    try:
        asyncio.run(serve(plan, given.url, given.port, given.prefix))
    except NotMade as error:
        print(f"ERROR {error}", file=sys.stderr, flush=True)
        sys.exit(_NOT_MADE)
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        print(f"ERROR The Ollama server at {given.url}: {error}", file=sys.stderr, flush=True)
        sys.exit(_NOT_MADE)


if __name__ == "__main__":
    main()
