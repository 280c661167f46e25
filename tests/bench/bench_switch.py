"""From a redeployment's request to the switch, beside a bare start of the same engine, in one run.

    python -m tests.bench.bench_switch [--rounds 3] [--json FILE]

Real: vLLM on a tiny model, PostgreSQL, broker, relay and deploy worker. A bare start is
the same command alone, until it completes a prompt. Both happen while one revision serves, in turn
in each round, so that the difference is what the platform adds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psutil

from backend.infra.postgres import open_pool
from backend.infra.settings import Settings
from tests.builders.models import tiny_llama
from tests.rig.ports import free_port
from tests.rig.servers import BrokerServer, PostgresServer
from tests.rig.waiting import eventually
from tests.serving.conftest import Gallery, Worker

# The first start on a machine installs the engine.
PATIENCE_SECONDS = 1800
START_SECONDS = 600
EVERY_SECONDS = 0.05
CONFIGURATION: dict[str, Any] = {"hardware": {"memory_gib": 2.5}}


@contextmanager
def serving() -> Iterator[tuple[Gallery, UUID]]:
    """A tiny model that real vLLM serves under the real roles."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres, broker = PostgresServer(), BrokerServer(folder / "broker.log")
        stack.callback(postgres.remove)
        stack.callback(broker.kill)
        postgres.start()
        broker.start()
        settings = Settings(
            data_dir=folder / "data",
            postgres_dsn=postgres.database(),
            kafka_bootstrap_servers=broker.bootstrap_servers,
        )
        gallery = Gallery(settings, stack.enter_context(open_pool(settings)))
        stack.callback(gallery.close)
        worker = Worker(settings, folder / "worker.log")
        stack.callback(worker.kill)
        worker.environment["LOGGIA_ENGINE_PIP_ARGUMENTS"] = settings.engine_pip_arguments
        worker.start_roles()
        model_id = gallery.import_model(tiny_llama())
        gallery.deploy(model_id, {"max_model_len": "128"}, **CONFIGURATION)
        gallery.await_state(model_id, "deployed", seconds=PATIENCE_SECONDS)
        yield gallery, model_id


def bare_start(gallery: Gallery, model_id: UUID) -> float:
    """Seconds until a second engine of the serving one's command completes a prompt."""
    replica_id = gallery.recorded(model_id, "ReplicaReady")[-1]["replica_id"]
    record = next(r for r in gallery.launcher.records() if str(r.replica_id) == replica_id)
    process, port = psutil.Process(record.pid), free_port()
    command = [
        f"--port={port}" if word.startswith("--port=") else word for word in process.cmdline()
    ]
    environment = {k: v for k, v in process.environ().items() if not k.startswith("LOGGIA_")}
    started = time.monotonic()
    engine = subprocess.Popen(
        command,
        env=environment,
        cwd=process.cwd(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def completes() -> bool:
        try:
            return bool(gallery.ask(f"http://127.0.0.1:{port}")["choices"])
        except httpx.HTTPError:
            return False

    try:
        eventually(completes, "the bare engine answers", seconds=START_SECONDS, every=EVERY_SECONDS)
        return time.monotonic() - started
    finally:
        os.killpg(engine.pid, signal.SIGKILL)
        engine.wait(timeout=20)


def redeployment(gallery: Gallery, model_id: UUID, length: int) -> float:
    """Seconds from the request until the new revision serves; waits for the old one's end."""
    started = time.monotonic()
    revision = gallery.deploy(model_id, {"max_model_len": str(length)}, **CONFIGURATION)
    eventually(
        lambda: gallery.deployment(model_id).serving_revision == revision,
        "the new revision serves",
        seconds=START_SECONDS,
        every=EVERY_SECONDS,
    )
    took = time.monotonic() - started
    gallery.await_recorded(model_id, "RevisionRetired", revision - 1, seconds=START_SECONDS)
    return took


def measure(rounds: int) -> dict[str, Any]:
    """Every round's seconds, and the ratio of the medians."""
    load_before = os.getloadavg()
    with serving() as (gallery, model_id):
        figures = [
            {
                "bare_start_s": bare_start(gallery, model_id),
                "redeploy_to_switch_s": redeployment(gallery, model_id, 128 + number),
            }
            for number in range(1, rounds + 1)
        ]
    bare, redeploy = (
        statistics.median(each[name] for each in figures)
        for name in ("bare_start_s", "redeploy_to_switch_s")
    )
    return {
        "rounds": figures,
        "bare_start_s": bare,
        "redeploy_to_switch_s": redeploy,
        "ratio": redeploy / bare,
        "load_average": {"before": load_before, "after": os.getloadavg()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for all figures")
    arguments = parser.parse_args()
    result = measure(arguments.rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    print(
        f"redeploy to switch {result['redeploy_to_switch_s']:.1f} s beside a bare start of "
        f"{result['bare_start_s']:.1f} s = {result['ratio']:.2f}x"
    )
    print("load average", result["load_average"])


if __name__ == "__main__":
    main()
