"""Clients that ask without a pause, and what became of each request."""

from __future__ import annotations

import asyncio
import threading

import aiohttp

from tests.gateway.running import GatewayUnderTest
from tests.rig.waiting import eventually

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
CUT_SHORT = -1


class Load:
    """Requests without a pause from several connections, in a thread of its own.

    `statuses` has each one's outcome: the HTTP status, `CUT_SHORT` for a stream that ended with an
    error event, and 0 for one that ended in silence or in a broken connection.
    """

    def __init__(self, gateway: GatewayUnderTest, key: str, connections: int = 8) -> None:
        self._url = f"{gateway.url}/v1/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}"}
        self.connections = connections
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()))
        self.statuses: list[int] = []

    def __enter__(self) -> Load:
        self._thread.start()
        self.wait_for_more()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=20)

    def wait_for_more(self, count: int = 50) -> None:
        """Until so many more requests have been answered."""
        target = len(self.statuses) + count
        eventually(lambda: len(self.statuses) >= target, "the load goes on")

    async def _work(self) -> None:
        async with aiohttp.ClientSession(headers=self._headers) as session:
            await asyncio.gather(
                *(self._ask(session, stream=n % 2 == 0) for n in range(self.connections))
            )

    async def _ask(self, session: aiohttp.ClientSession, *, stream: bool) -> None:
        while not self._stop.is_set():
            try:
                async with session.post(self._url, json={**BODY, "stream": stream}) as response:
                    text = await response.text()
            except aiohttp.ClientError:
                self.statuses.append(0)
                continue
            whole = not stream or response.status != 200 or text.endswith("[DONE]\n\n")
            told = text.rpartition("data: ")[2].startswith('{"error":')
            self.statuses.append(response.status if whole else CUT_SHORT if told else 0)
