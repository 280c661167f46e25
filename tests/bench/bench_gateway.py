"""The gateway beside a bare proxy and the engine called directly, all in one run.

    python -m tests.bench.bench_gateway [--rounds 3] [--seconds 4] [--json FILE]

Real: the gateway with key check, routes, defaults, metrics and its event store. Doubles: the
engines, which answer at once, and one that spaces its chunks by 20 ms. The processor time of a
request is what a busy box cannot blur. The last table has streams over one and over two replicas,
beside the engine called directly.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvloop

from backend.infra.settings import Settings
from tests.bench.http_load import Load, closed_loop
from tests.gateway.gallery import gallery
from tests.rig.ports import free_ports
from tests.rig.servers import PostgresServer
from tests.rig.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
WARM_UP_REQUESTS = 400
GAP_SECONDS = 0.02
FAST, SPACED, PAIR = "fast", "spaced", "pair"
STREAMS = (1, 16, 64)


@dataclass(frozen=True)
class Parts:
    """Everything that is measured: ports and processes by name, and a key for each model."""

    ports: dict[str, int]
    keys: dict[str, str]
    processes: dict[str, psutil.Process]

    def processor_seconds(self, name: str) -> float:
        """What the named process and its children have used so far."""
        process = self.processes[name]
        used = [each.cpu_times() for each in (process, *process.children())]
        return sum(times.user + times.system for times in used)


@contextmanager
def running_parts() -> Iterator[Parts]:
    """Starts engine doubles, bare proxies, and gateways with one and with two processes."""
    names = ("direct", "other", "bare", "one", "two", "spaced", "spaced bare")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    replicas = {
        FAST: [ports["direct"]],
        SPACED: [ports["spaced"]],
        PAIR: [ports["direct"], ports["other"]],
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = PostgresServer()
        stack.callback(server.remove)
        server.start()
        settings = Settings(_env_file=None, data_dir=folder, postgres_dsn=server.database())
        keys: dict[str, str] = {}
        processes: dict[str, psutil.Process] = {}
        with gallery(settings) as made:
            for model, listening in replicas.items():
                model_id = made.model(model)
                made.deploy(model_id, *addresses(listening), temperature=0.7)
                keys[model] = made.key(model_id).secret or ""
        for engine, gap in (("direct", 0.0), ("other", 0.0), ("spaced", GAP_SECONDS)):
            processes[engine] = start(
                stack, "tests.bench.gateway_parts", str(ports[engine]), str(gap)
            )
        for engine, bare in (("direct", "bare"), ("spaced", "spaced bare")):
            (url,) = addresses([ports[engine]])
            address = ("--host", "127.0.0.1", "--port", str(ports[bare]), "--log-level", "error")
            proxy = "tests.bench.gateway_parts:bare_proxy"
            processes[bare] = start(
                stack, "uvicorn", "--no-access-log", *address, proxy, ENGINE_URL=url
            )
        for name, workers in (("one", 1), ("two", 2)):
            processes[name] = start(
                stack,
                "backend.cli",
                "gateway",
                LOGGIA_DATA_DIR=str(folder),
                LOGGIA_POSTGRES_DSN=settings.dsn,
                LOGGIA_GATEWAY_PORT=str(ports[name]),
                LOGGIA_GATEWAY_WORKERS=str(workers),
            )
        for name, port in ports.items():
            eventually(partial(answers, port, keys[FAST]), f"{name} answers")
        yield Parts(ports, keys, processes)


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Every figure of every round, and the goals as ratios of the median rounds."""
    load_before = os.getloadavg()
    with running_parts() as parts:
        figures = [_round(parts, seconds) for _ in range(rounds)]
    return {
        "rounds": figures,
        "goals": _goals(figures),
        "streams": _streams(figures),
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "cpus": os.cpu_count(),
    }


def _round(parts: Parts, seconds: float) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}

    def load(case: str, name: str, connections: int, *, stream: bool, model: str = FAST) -> None:
        body = body_of(model, stream=stream)
        used = parts.processor_seconds(name)
        measured = run(parts.ports[name], body, parts.keys[model], connections, seconds)
        used = parts.processor_seconds(name) - used
        if measured.failed:
            raise AssertionError(f"{case}: {measured.failed} requests failed at {name}")
        figures[f"{case} {name}"] = {
            **summary(measured),
            "processor_us": used / (measured.requests) * 1e6,
        }

    for connections in (1, 16):
        for kind in ("json", "sse"):
            for name in ("direct", "bare", "one"):
                load(f"{kind} c={connections}", name, connections, stream=kind == "sse")
    for kind in ("json", "sse"):
        for name in ("direct", "bare", "one", "two"):
            load(f"{kind} c=32", name, 32, stream=kind == "sse")
    for name in ("spaced", "spaced bare", "one"):
        load("spaced c=16", name, 16, stream=True, model=SPACED)
    for streams in STREAMS:
        load(f"streams={streams} engine", "direct", streams, stream=True)
        load(f"streams={streams} 1 replica", "one", streams, stream=True)
        load(f"streams={streams} 2 replicas", "one", streams, stream=True, model=PAIR)
    return figures


def run(port: int, body: bytes, key: str, connections: int, seconds: float) -> Load:
    """So many connections that ask without a pause."""

    async def both() -> Load:
        warm_up = await closed_loop(
            port, body, key, connections=connections, requests=WARM_UP_REQUESTS, seconds=1
        )
        load = await closed_loop(
            port, body, key, connections=connections, requests=10**9, seconds=seconds
        )
        load.requests = len(load.whole) + len(warm_up.whole)
        return load

    return uvloop.run(both())


def summary(load: Load) -> dict[str, float]:
    """Rate, and percentiles in milliseconds."""
    found = {"per_second": load.per_second}
    for name, values in (
        ("first", load.first_byte),
        ("whole", load.whole),
        ("chunk", load.chunk_delays),
    ):
        if values:
            ordered = sorted(values)
            found[f"{name}_p50_ms"] = ordered[len(ordered) // 2] * 1e3
            found[f"{name}_p99_ms"] = ordered[int(len(ordered) * 0.99)] * 1e3
            found[f"{name}_max_ms"] = ordered[-1] * 1e3
    return found


def _goals(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    def value(case: str, name: str, figure: str) -> float:
        return statistics.median(each[f"{case} {name}"][figure] for each in rounds)

    def added(case: str, name: str, figure: str, direct: str = "direct") -> float:
        return value(case, name, figure) - value(case, direct, figure)

    def goal(subject: float, yardstick: float, target: float, stretch: float) -> dict[str, float]:
        return {
            "subject": subject,
            "yardstick": yardstick,
            "ratio": subject / yardstick,
            "target": target,
            "stretch": stretch,
        }

    def latency(case: str, figure: str, target: float, stretch: float) -> dict[str, float]:
        return goal(added(case, "one", figure), added(case, "bare", figure), target, stretch)

    def rate(case: str, name: str, target: float, stretch: float) -> dict[str, float]:
        return goal(
            value(case, name, "per_second"), value(case, "bare", "per_second"), target, stretch
        )

    def processor(case: str) -> dict[str, float]:
        return goal(
            value(case, "one", "processor_us"), value(case, "bare", "processor_us"), 2.0, 1.4
        )

    return {
        "G12 json c=1 added p50, ms": latency("json c=1", "whole_p50_ms", 2.5, 1.5),
        "G12 json c=1 added p99, ms": latency("json c=1", "whole_p99_ms", 2.5, 1.5),
        "G12 sse c=1 added first byte p50, ms": latency("sse c=1", "first_p50_ms", 2.5, 1.5),
        "G12 sse c=1 added first byte p99, ms": latency("sse c=1", "first_p99_ms", 2.5, 1.5),
        "json c=16 added p50, ms": latency("json c=16", "whole_p50_ms", 2.5, 1.5),
        "json c=16 added p99, ms": latency("json c=16", "whole_p99_ms", 2.5, 1.5),
        "G13 json c=32 1 process, req/s": rate("json c=32", "one", 0.5, 0.7),
        "G13 json c=32 2 processes, req/s": rate("json c=32", "two", 0.8, 1.2),
        "G13 sse c=32 1 process, req/s": rate("sse c=32", "one", 0.5, 0.7),
        "G13 sse c=32 2 processes, req/s": rate("sse c=32", "two", 0.8, 1.2),
        "processor time, json c=32, us a request": processor("json c=32"),
        "processor time, sse c=32, us a request": processor("sse c=32"),
        "G14 sse c=16 added first byte p99, ms": latency("sse c=16", "first_p99_ms", 2.0, 1.3),
        "G14 chunk under way, spaced 20 ms, p99, ms": goal(
            value("spaced c=16", "one", "chunk_p99_ms"),
            value("spaced c=16", "spaced bare", "chunk_p99_ms"),
            2.0,
            1.3,
        ),
        "G14 chunk under way, spaced 20 ms, worst, ms": goal(
            value("spaced c=16", "one", "chunk_max_ms"),
            value("spaced c=16", "spaced bare", "chunk_max_ms"),
            2.0,
            1.3,
        ),
    }


def _streams(rounds: list[dict[str, dict[str, float]]]) -> list[str]:
    """A line for each number of streams and of replicas: what the gateway adds, and how many."""
    lines = []
    for streams in STREAMS:
        direct = f"streams={streams} engine direct"
        for replicas in ("1 replica", "2 replicas"):
            through = f"streams={streams} {replicas} one"

            def added(figure: str, direct: str = direct, through: str = through) -> float:
                return statistics.median(
                    each[through][figure] - each[direct][figure] for each in rounds
                )

            rate, engine = (
                statistics.median(each[case]["per_second"] for each in rounds)
                for case in (through, direct)
            )
            lines.append(
                f"{streams:>3} streams, {replicas:<10}: added first byte "
                f"p50 {added('first_p50_ms'):7.2f} p99 {added('first_p99_ms'):7.2f} ms, "
                f"{rate:8.0f} requests/s beside {engine:8.0f} = {rate / engine:.2f}x"
            )
    return lines


def addresses(ports: list[int]) -> list[str]:
    """Where engines listen."""
    return [f"http://127.0.0.1:{port}" for port in ports]


def start(stack: ExitStack, module: str, *arguments: str, **environment: str) -> psutil.Process:
    """Runs a module until the stack is unwound."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    stack.callback(process.wait, timeout=20)
    stack.callback(process.terminate)
    return psutil.Process(process.pid)


def answers(port: int, key: str, model: str = FAST) -> bool:
    """Whether it answers a request for the model."""
    try:
        return (
            httpx.post(
                f"http://127.0.0.1:{port}/v1/chat/completions",
                content=body_of(model, stream=False),
                headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            ).status_code
            == 200
        )
    except httpx.TransportError:
        return False


def body_of(model: str, *, stream: bool) -> bytes:
    """The same short conversation for everybody."""
    request = {
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": "hello"}],
    }
    return json.dumps(request, separators=(",", ":")).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    result = measure(arguments.rounds, arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    for name, goal in result["goals"].items():
        print(
            f"{name:<46} {goal['subject']:>9.2f} beside {goal['yardstick']:>9.2f}"
            f"  = {goal['ratio']:.2f}x  (target {goal['target']}, stretch {goal['stretch']})"
        )
    for line in result["streams"]:
        print(line)
    print("load average", result["load_average"])


if __name__ == "__main__":
    main()
