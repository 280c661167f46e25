"""The gateway, LiteLLM's proxy, vLLM's router and the engine called directly, in one run.

    python -m tests.bench.bench_proxies [--rounds 3] [--seconds 3] [--json FILE]

The same streams over one and two engine doubles that answer at once. The gateway checks keys,
counts tokens and tells of usage; LiteLLM checks its one key; the router checks none. What cannot
be installed here is left out, and says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from backend.infra.settings import Settings
from tests.bench import other_proxies
from tests.bench.bench_gateway import STREAMS, addresses, answers, body_of, run, start, summary
from tests.gateway.gallery import gallery
from tests.rig.ports import free_ports
from tests.rig.servers import BrokerServer, PostgresServer
from tests.rig.waiting import eventually

MODEL = "tiny"
REPLICAS = (1, 2)
# LiteLLM takes its time to begin.
START_SECONDS = 120
Subjects = dict[tuple[str, int], tuple[int, str]]


@contextmanager
def running_subjects() -> Iterator[tuple[Subjects, dict[str, str]]]:
    """Port and key of each subject for each number of replicas, and which releases they are."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engines = free_ports(max(REPLICAS))
        for port in engines:
            start(stack, "tests.bench.gateway_parts", str(port), "0")
        subjects: Subjects = {("engine", 1): (engines[0], "none")}
        subjects |= _gateway(stack, folder, engines)
        versions: dict[str, str] = {}
        for name in other_proxies.VERSIONS:
            programs = other_proxies.installed(name, Path("~/.cache/loggia/bench").expanduser())
            if programs is None:
                continue
            versions[name] = other_proxies.version(name, programs)
            for replicas in REPLICAS:
                (port,) = free_ports(1)
                command = other_proxies.command(
                    name,
                    programs,
                    port=port,
                    engines=addresses(engines[:replicas]),
                    key="sk-bench",
                    folder=folder,
                )
                log = stack.enter_context((folder / f"{name}-{replicas}.log").open("wb"))
                process = subprocess.Popen(
                    command,
                    env={**os.environ, **other_proxies.ENVIRONMENT},
                    stdout=log,
                    stderr=log,
                )
                stack.callback(process.wait, timeout=20)
                stack.callback(process.kill)
                subjects[name, replicas] = (port, "sk-bench")
        for (name, replicas), (port, key) in subjects.items():
            what = f"{name} before {replicas} answers"
            eventually(partial(answers, port, key, MODEL), what, seconds=START_SECONDS)
        yield subjects, versions


def _gateway(stack: ExitStack, folder: Path, engines: list[int]) -> Subjects:
    server = PostgresServer()
    stack.callback(server.remove)
    server.start()
    broker = BrokerServer(folder / "broker.log")
    stack.callback(broker.kill)
    broker.start()
    subjects: Subjects = {}
    for replicas in REPLICAS:
        data = folder / f"gateway-{replicas}"
        settings = Settings(
            _env_file=None,
            data_dir=data,
            postgres_dsn=server.database(),
            kafka_bootstrap_servers=broker.bootstrap_servers,
        )
        with gallery(settings) as made:
            model_id = made.model(MODEL)
            made.deploy(model_id, *addresses(engines[:replicas]), temperature=0.7)
            key = made.key(model_id).secret or ""
        (port,) = free_ports(1)
        start(
            stack,
            "backend.cli",
            "gateway",
            LOGGIA_DATA_DIR=str(data),
            LOGGIA_POSTGRES_DSN=settings.dsn,
            LOGGIA_KAFKA_BOOTSTRAP_SERVERS=str(broker.bootstrap_servers),
            LOGGIA_GATEWAY_PORT=str(port),
        )
        subjects["gateway", replicas] = (port, key)
    return subjects


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Every figure of every round; the subjects take turns."""
    load_before = os.getloadavg()
    body = body_of(MODEL, stream=True)
    figures: list[dict[str, dict[str, float]]] = []
    with running_subjects() as (subjects, versions):
        for _ in range(rounds):
            measured: dict[str, dict[str, float]] = {}
            for streams in STREAMS:
                for (name, replicas), (port, key) in subjects.items():
                    load = run(port, body, key, streams, seconds)
                    case = f"{streams} {replicas} {name}"
                    measured[case] = {**summary(load), "failed": load.failed}
            figures.append(measured)
    return {
        "rounds": figures,
        "lines": _lines(figures, [name for name, _ in subjects]),
        "versions": versions,
        "load_average": {"before": load_before, "after": os.getloadavg()},
        "cpus": os.cpu_count(),
    }


def _lines(rounds: list[dict[str, dict[str, float]]], names: list[str]) -> list[str]:
    """A line for each number of streams, of replicas, and each subject."""

    def median(case: str, figure: str) -> float:
        return statistics.median(each[case].get(figure, 0.0) for each in rounds)

    lines = []
    for streams in STREAMS:
        direct = f"{streams} 1 engine"
        for replicas in REPLICAS:
            for name in dict.fromkeys(names):
                case = f"{streams} {replicas} {name}"
                if case not in rounds[0]:
                    continue
                first, last = (median(case, f"first_{each}_ms") for each in ("p50", "p99"))
                added = [
                    value - median(direct, figure)
                    for value, figure in ((first, "first_p50_ms"), (last, "first_p99_ms"))
                ]
                lines.append(
                    f"{streams:>3} streams, {replicas} replicas, {name:<12}: first byte "
                    f"p50 {first:8.2f} p99 {last:8.2f} ms "
                    f"(added {added[0]:7.2f} and {added[1]:7.2f}), "
                    f"{median(case, 'per_second'):7.0f} requests/s, "
                    f"{median(case, 'failed'):.0f} failed"
                )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    result = measure(arguments.rounds, arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    print(*result["lines"], sep="\n")
    print(result["versions"], "load average", result["load_average"])


if __name__ == "__main__":
    main()
