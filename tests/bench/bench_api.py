"""Commands and listings over HTTP beside their yardsticks, all in one run (goals G1, G2, G15, G16).

    python -m tests.bench.bench_api [--rounds 3] [--models 1000,10000,100000] [--json FILE]

Real: the API as a process of its own, its database with every commit synced, authentication by
access token, idempotency keys. The yardsticks are the event-sourcing library's own `save`, an
empty Litestar handler, and the bare SQL. Everything shares this machine's cores, load generator
included. Commands are measured with the largest gallery only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from backend.infra.settings import Settings
from backend.readmodels.cursors import Cursors
from backend.readmodels.gallery_filters import Filters
from tests.bench.api_yardsticks import (
    PAGE,
    existing_statements,
    hello_server,
    save_latency,
    save_rate,
    sql_existing,
    sql_facets,
    sql_page,
)
from tests.bench.filled_gallery import fill_gallery, make_models
from tests.rig.api_server import ADMIN_PASSWORD, ApiProcess
from tests.rig.servers import BrokerServer, PostgresServer

EDITED_MODELS = 400
SEARCHES: dict[str, Callable[[], str]] = {
    "facets": lambda: "",
    "two_letters": lambda: random.choice("abcdef") + random.choice("0123456789"),
    "four_letters": lambda: f"{random.randrange(65536):04x}",
    "every_name": lambda: "model",
    "no_name": lambda: "zz",
}
MANIFEST_ROWS = 1000


def p99(samples: list[float]) -> float:
    """The 99th percentile, in milliseconds."""
    return sorted(samples)[min(len(samples) - 1, int(len(samples) * 0.99))] * 1000


async def load(
    url: str, requests: Callable[[], bytes], *, clients: int, count: int
) -> tuple[list[float], float]:
    """Closed loop over raw sockets: seconds of each request, and requests a second."""
    host, _, port = url.removeprefix("http://").partition(":")
    taken: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(count // clients):
            request = requests()
            started = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            taken.append(time.perf_counter() - started)
            if not head.startswith(b"HTTP/1.1 2"):
                raise AssertionError(head + body)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return taken, len(taken) / (time.perf_counter() - started)


def request(method: str, path: str, token: str = "", body: Any = None) -> bytes:
    """The bytes of a request; commands get a key of their own."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if content:
        lines += [
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
            f"Idempotency-Key: {uuid4()}",
        ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


@contextmanager
def manifest_server(folder: Path, names: list[str]) -> Iterator[str]:
    """A manifest with these models, at an address."""
    rows = [{"name": name, "address": f"http://127.0.0.1:9/{name}.zip"} for name in names]
    (folder / "models.json").write_text(json.dumps({"models": rows}))
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/models.json"
    finally:
        server.shutdown()
        server.server_close()


class Bench:
    """One API with its database, and the figures of every round."""

    def __init__(self, stack: ExitStack, models: int) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.database = PostgresServer()
        stack.callback(self.database.remove)
        self.database.start()
        broker = BrokerServer(folder / "broker.log")
        stack.callback(broker.kill)
        broker.start()
        self.settings = Settings(
            _env_file=None,
            data_dir=folder / "data",
            postgres_dsn=self.database.database(),
            kafka_bootstrap_servers=broker.bootstrap_servers,
            fetch_allowed_networks="127.0.0.0/8",
        )
        self.models = models
        fill_gallery(self.settings, models)
        self.edited = make_models(self.settings, EDITED_MODELS)
        self.api = ApiProcess(self.settings, folder / "api.log")
        stack.callback(self.api.remove)
        self.api.start()
        self.token = self._sign_in()
        self.hello = stack.enter_context(hello_server())
        self.cursors = Cursors(self.settings.secret_key)
        self.names = self._half_of_them_taken()
        folder.joinpath("manifest").mkdir()
        self.manifest = stack.enter_context(manifest_server(folder / "manifest", self.names))

    def commands(self) -> dict[str, float]:
        """Every figure about commands once, subjects and yardsticks in turn."""
        figures: dict[str, float] = {}
        plain = self.database.empty_database()
        save = save_latency(plain, 1000)
        hello, _ = self._load(self.hello, lambda: request("GET", "/"), clients=1, count=2000)
        command, _ = self._load(self.api.url, self._edit, clients=1, count=600)
        figures["g1_yardstick_ms"] = p99(save) + p99(hello)
        figures["g1_command_ms"] = p99(command)
        figures["g1_command_p50_ms"] = statistics.median(command) * 1000
        functions = self.database.empty_database()
        figures["g2_yardstick_per_second"] = save_rate(functions)
        _, figures["g2_commands_per_second"] = self._load(
            self.api.url, self._edit, clients=8, count=1600
        )
        return figures

    def listings(self) -> dict[str, float]:
        """Every figure about listings once, subjects and yardsticks in turn."""
        figures: dict[str, float] = {}
        figures["g15_sql_ms"] = p99(sql_page(self.settings, self.models))
        for name, make in (
            ("first", lambda: self._page(None)),
            ("any", lambda: self._page(random.randrange(PAGE, self.models))),
            ("last", lambda: self._page(PAGE + 1)),
        ):
            taken, _ = self._load(self.api.url, make, clients=1, count=400)
            figures[f"g15_{name}_ms"] = p99(taken)
        figures["g16_sql_facet_ms"] = p99(sql_facets(self.settings))
        for name, text in SEARCHES.items():
            figures[f"g16_{name}_ms"] = p99(self._search(text))
        figures["grey_sql_ms"] = p99(sql_existing(self.settings, self.names))
        figures["grey_statements"] = existing_statements(self.settings, self.names)
        asked = request("POST", "/api/imports/preview", self.token, {"address": self.manifest})
        taken, _ = self._load(self.api.url, lambda: asked, clients=1, count=10)
        figures["grey_preview_ms"] = p99(taken)
        return figures

    def _half_of_them_taken(self) -> list[str]:
        with psycopg.connect(self.settings.dsn) as connection:
            rows = connection.execute(
                "SELECT name FROM gallery.models ORDER BY model_id LIMIT %s", (MANIFEST_ROWS // 2,)
            ).fetchall()
        return [row[0] for row in rows] + [f"new-{n}" for n in range(MANIFEST_ROWS // 2)]

    def _search(self, text: Callable[[], str], count: int = 60) -> list[float]:
        taken: list[float] = []
        with psycopg.connect(self.settings.dsn, autocommit=True) as connection:
            for _ in range(count):
                # The gallery changes before each: what was counted before must not be used.
                connection.execute(
                    "UPDATE gallery.models SET updated_at = now() WHERE created_position = %s",
                    (random.randrange(1, self.models),),
                )
                connection.execute("UPDATE loggia.consumer_watermark SET position = position + 1")
                asked = request("GET", f"/api/models?limit={PAGE}&search={text()}", self.token)
                one, _ = self._load(self.api.url, partial(bytes, asked), clients=1, count=1)
                taken += one
        return taken

    def _page(self, after: int | None) -> bytes:
        path = f"/api/models?limit={PAGE}"
        if after is not None:
            cursor = self.cursors.write(f"models newest {Filters()}", [self.models, after])
            path += f"&cursor={cursor}"
        return request("GET", path, self.token)

    def _edit(self) -> bytes:
        path = f"/api/models/{random.choice(self.edited)}"
        return request("PATCH", path, self.token, {"description": str(uuid4())})

    def _load(
        self, url: str, make: Callable[[], bytes], *, clients: int, count: int
    ) -> tuple[list[float], float]:
        return asyncio.run(load(url, make, clients=clients, count=count))

    def _sign_in(self) -> str:
        with httpx.Client(base_url=self.api.url, timeout=30) as client:
            client.post("/api/session", json={"username": "admin", "password": ADMIN_PASSWORD})
            headers = {"X-CSRF-Token": client.cookies["loggia_csrf"]}
            created = client.post("/api/tokens", json={"name": "bench"}, headers=headers)
            token: str = created.json()["token"]
            return token


def command_ratios(figures: dict[str, float]) -> dict[str, float]:
    """The goals' ratios about commands."""
    return {
        "G1 command p99 / (save p99 + hello p99), goal <= 5": figures["g1_command_ms"]
        / figures["g1_yardstick_ms"],
        "G2 commands/s at 8 clients / save ev/s, goal >= 0.35": figures["g2_commands_per_second"]
        / figures["g2_yardstick_per_second"],
    }


def listing_ratios(figures: dict[str, float]) -> dict[str, float]:
    """The goals' ratios; G16 is a time in milliseconds, and beside it a ratio for busy machines."""
    worst = max(figures[f"g16_{name}_ms"] for name in SEARCHES)
    return {
        "G15 page p99 at any depth / SQL p99, goal <= 8": figures["g15_any_ms"]
        / figures["g15_sql_ms"],
        "G15 last page / first page, goal <= 1.2": figures["g15_last_ms"] / figures["g15_first_ms"],
        "G16 worst of search and facets p99 in ms, goal <= 50": worst,
        "G16 the same / SQL facet p99, goal <= 3.5": worst / figures["g16_sql_facet_ms"],
        f"statements that grey out a manifest of {MANIFEST_ROWS} rows": figures["grey_statements"],
    }


def measure(models: int, rounds: int, *, commands: bool) -> dict[str, Any]:
    """The rounds of one size of the gallery: every figure's median, and the ratios."""
    with ExitStack() as stack:
        bench = Bench(stack, models)
        taken = []
        for number in range(rounds):
            taken.append({**(bench.commands() if commands else {}), **bench.listings()})
            print(f"round {number + 1} (load average {os.getloadavg()[0]:.1f}): {taken[-1]}")
    median = {name: statistics.median(r[name] for r in taken) for name in taken[0]}
    ratios = {**(command_ratios(median) if commands else {}), **listing_ratios(median)}
    for name, value in {**median, **ratios}.items():
        print(f"{models:>7} models  {name:<62} {value:10.2f}", flush=True)
    return {"figures": median, "ratios": ratios, "rounds": taken}


def main() -> None:
    """Measures each size and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", default="1000,10000,100000")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sizes = sorted(map(int, arguments.models.split(",")))
    result = {
        str(models): measure(models, arguments.rounds, commands=models == sizes[-1])
        for models in sizes
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
