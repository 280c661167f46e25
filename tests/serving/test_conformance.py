"""What every engine must keep to, so that the worker need not know which one it has before it.

A new engine is a further case here, and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from backend.domain.configuration import DeployConfiguration
from backend.domain.errors import Invalid
from backend.domain.version import Version
from tests.builders.models import tiny_llama, write_folder
from tests.rig.waiting import eventually
from tests.serving.doubles import EngineDouble
from tests.serving.fake_ollama import TOKEN, fake_ollama
from workers.serving.engine import Engine, Environment, Launch
from workers.serving.engines.ollama import Ollama
from workers.serving.engines.triton import Triton
from workers.serving.engines.vllm import Vllm
from workers.serving.environments import EngineEnvironments
from workers.serving.launchers.local import LocalProcesses
from workers.serving.optimization import convert
from workers.serving.optimization.conversion import environment_spec
from workers.serving.subject import Subject

NAME = "tiny"


@dataclass(frozen=True)
class Case:
    """An engine at hand, with files that it can serve and files that it cannot."""

    engine: Engine
    environment: Environment
    files: dict[str, bytes]
    broken: dict[str, bytes]
    configuration: dict[str, object]
    start_seconds: float = 20
    # Enough that a request is seen inside.
    long_tokens: int = 15


@contextmanager
def the_double() -> Iterator[Case]:
    environment = Environment(Path("python"), "1")
    files = {"config.json": b"{}"}
    yield Case(EngineDouble(), environment, files, {**files, "broken": b""}, {})


@contextmanager
def ollama() -> Iterator[Case]:
    with fake_ollama() as server:
        engine = Ollama(server.url, TOKEN)
        configuration = DeployConfiguration.from_dict({"engine": "ollama"})
        environment = engine.environment(configuration.hardware)
        files = {"tiny.gguf": b"GGUF and weights"}
        broken = {"Modelfile": b"FROM not-in-the-library"}
        yield Case(engine, environment, files, broken, {"engine": "ollama"})


@contextmanager
def vllm() -> Iterator[Case]:
    cache = Path(os.environ.get("LOGGIA_CACHE_DIR", "~/.cache/loggia")).expanduser()
    arguments = os.environ.get("LOGGIA_ENGINE_PIP_ARGUMENTS", "")
    engine = Vllm()
    configuration = DeployConfiguration.from_dict(
        {"engine_arguments": {"max_model_len": "256"}, "hardware": {"memory_gib": 2.5}}
    )
    spec = engine.environment(configuration.hardware)
    environment = EngineEnvironments(cache, pip_arguments=arguments).ensure(
        spec, lambda *_: None, lambda: False
    )
    files = tiny_llama()
    broken = {name: content[:1000] for name, content in files.items()}
    yield Case(engine, environment, files, broken, configuration.to_dict(), 240, 200)


@contextmanager
def triton() -> Iterator[Case]:
    """A model that the real converter has made, on real Triton."""
    cache = Path(os.environ.get("LOGGIA_CACHE_DIR", "~/.cache/loggia")).expanduser()
    arguments = os.environ.get("LOGGIA_ENGINE_PIP_ARGUMENTS", "")
    environments = EngineEnvironments(cache, pip_arguments=arguments)
    engine = Triton()
    document = {
        "engine": "triton",
        "optimization": {"method": "ctranslate2", "quantization": "int8"},
    }
    configuration = DeployConfiguration.from_dict(document)
    environment = environments.ensure(
        engine.environment(configuration.hardware), lambda *_: None, lambda: False
    )
    converter = environments.ensure(environment_spec(), lambda *_: None, lambda: False)
    with tempfile.TemporaryDirectory() as folder:
        original, converted = Path(folder, "original"), Path(folder, "converted")
        write_folder(original, tiny_llama())
        subprocess.run(
            [converter.python, convert.__file__, f"--model={original}", f"--output={converted}",
             "--quantization=int8", f"--memory-bytes={8 << 30}"],
            check=True,
        )  # fmt: skip
        version = Version("0.0.1", "path", {}, "", None, None, card={"context_length": 512})
        arrangement = engine.arrange(Subject(uuid4(), NAME, version), configuration)
        assert arrangement is not None
        files = {
            **arrangement.beside,
            **{
                f"{arrangement.folder}/{path.name}": path.read_bytes()
                for path in converted.iterdir()
            },
        }
    broken = {**files, f"{arrangement.folder}/model.bin": b"no weights"}
    yield Case(engine, environment, files, broken, configuration.to_dict(), 120, 400)


CASES: dict[str, Callable[[], AbstractContextManager[Case]]] = {
    "double": the_double,
    "ollama": ollama,
    "vllm": vllm,
    "triton": triton,
}
_REAL = {"vllm", "triton"}


class Running:
    """One replica of a case, as a launcher of this machine starts it."""

    def __init__(self, case: Case, launcher: LocalProcesses, folder: Path) -> None:
        self.case = case
        self.engine = case.engine
        self.launcher = launcher
        self.replica_id = uuid4()
        self.port = launcher.free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(timeout=30, trust_env=False)
        self._folder = folder

    def launch(self, files: dict[str, bytes], **arguments: str) -> Launch:
        directory = self._folder / str(uuid4())
        directory.mkdir()
        for name, content in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        document = dict(self.case.configuration)
        given = document.get("engine_arguments") or {}
        assert isinstance(given, dict)
        configuration = DeployConfiguration.from_dict(
            {**document, "engine_arguments": {**given, **arguments}}
        )
        return Launch(
            replica_id=self.replica_id,
            model_name=NAME,
            model_directory=directory,
            total_bytes=sum(map(len, files.values())),
            port=self.port,
            configuration=configuration,
        )

    def start(self, files: dict[str, bytes]) -> None:
        self.launcher.run(
            self.engine.command(self.case.environment, self.launch(files)),
            replica_id=self.replica_id,
            deployment_id=uuid4(),
            model_id=uuid4(),
            revision=1,
            port=self.port,
        )

    def answers(self) -> bool:
        launch = Launch(self.replica_id, NAME, self._folder, 0, self.port, DeployConfiguration())
        try:
            return self.engine.answers(self.client, self.endpoint, NAME, launch.use)
        except (httpx.HTTPError, ValueError, LookupError):
            return False

    def ask(self, max_tokens: int, *, stream: bool = False) -> httpx.Response:
        return self.client.post(f"{self.endpoint}/v1/completions", json=body(max_tokens, stream))

    def busy(self) -> int:
        load = self.engine.load(self.client, self.endpoint)
        return load.running + load.waiting

    def await_idle(self) -> None:
        eventually(lambda: self.busy() == 0, "nothing is inside any more", seconds=20)

    @property
    def session(self) -> int:
        return next(r.pid for r in self.launcher.records() if r.replica_id == self.replica_id)

    def close(self) -> None:
        self.launcher.stop(self.replica_id, seconds=5)
        self.client.close()


def body(max_tokens: int, stream: bool) -> dict[str, object]:
    return {
        "model": NAME,
        "prompt": "The fox",
        "max_tokens": max_tokens,
        "stream": stream,
        "ignore_eos": True,
        "temperature": 0,
    }


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.engine, pytest.mark.timeout(900)])
        if name in _REAL
        else name
        for name in CASES
    ],
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with CASES[request.param]() as found:
        yield found


@pytest.fixture(scope="module")
def running(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One that answers; the tests of a case share it."""
    folder = tmp_path_factory.mktemp("conformance")
    replica = Running(case, LocalProcesses(folder / "data"), folder)
    try:
        assert not replica.answers(), "before it has been started it answers nothing"
        replica.start(case.files)
        eventually(replica.answers, "the engine answers", seconds=case.start_seconds, every=0.2)
        yield replica
    finally:
        print("\n".join(replica.launcher.log(replica.replica_id).tail()))
        replica.close()


@pytest.fixture
def fresh(case: Case, tmp_path: Path) -> Iterator[Running]:
    """One that has not been started."""
    replica = Running(case, LocalProcesses(tmp_path / "data"), tmp_path)
    yield replica
    replica.close()


def test_when_it_is_said_to_answer_it_does(running: Running) -> None:
    assert running.engine.is_alive(running.client, running.endpoint)
    answer = running.ask(3)
    assert answer.status_code == 200
    assert answer.json()["choices"]
    assert answer.json()["usage"]["completion_tokens"] >= 1


def test_only_the_loopback_reaches_it(running: Running) -> None:
    listening = [
        connection.laddr.ip
        for process in psutil.process_iter()
        if session_of(process) == running.session
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == running.port
    ]
    assert set(listening) == {"127.0.0.1"}


def test_another_name_is_not_answered(running: Running) -> None:
    answer = running.client.post(
        f"{running.endpoint}/v1/completions", json={**body(1, False), "model": "other"}
    )
    assert answer.status_code == 404


def test_a_stream_comes_in_pieces_and_says_that_it_is_complete(running: Running) -> None:
    pieces = []
    with running.client.stream(
        "POST", f"{running.endpoint}/v1/completions", json=body(5, True)
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        pieces = [line for line in answer.iter_lines() if line]
    assert len(pieces) > 2
    assert pieces[-1] == "data: [DONE]"


def test_its_load_is_what_it_works_on(running: Running) -> None:
    running.await_idle()
    seen = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        # A machine may be so busy that a whole answer falls between two looks.
        while not seen.is_set():
            answer = httpx.post(
                f"{running.endpoint}/v1/completions",
                json=body(running.case.long_tokens, False),
                timeout=60,
                trust_env=False,
            )
            statuses.append(answer.status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        eventually(lambda: running.busy() >= 1, "it reports the request", every=0.01)
    finally:
        seen.set()
        asking.join(timeout=60)
    assert set(statuses) == {200}
    running.await_idle()


def test_a_client_that_leaves_is_noticed(running: Running) -> None:
    with running.client.stream(
        "POST", f"{running.endpoint}/v1/completions", json=body(200, True)
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
    running.await_idle()
    assert running.ask(1).status_code == 200


def test_an_unknown_option_is_named_before_anything_is_started(fresh: Running) -> None:
    with pytest.raises(Invalid) as refused:
        fresh.engine.command(
            fresh.case.environment, fresh.launch(fresh.case.files, no_such_option="1")
        )
    assert refused.value.field == "engine_arguments.no_such_option"
    assert refused.value.remedy
    assert not fresh.launcher.find(fresh.replica_id).known


def test_a_model_that_cannot_be_served_ends_it_with_a_reason(fresh: Running) -> None:
    fresh.start(fresh.case.broken)
    eventually(
        lambda: not fresh.launcher.find(fresh.replica_id).running,
        "the engine has ended",
        seconds=fresh.case.start_seconds,
    )
    assert not fresh.answers()
    seen = fresh.launcher.find(fresh.replica_id)
    tail = fresh.launcher.log(fresh.replica_id).tail(400)
    why = fresh.engine.diagnose(tail, seen.exit_code)
    assert len(why.reason) > 20
    assert "exit status" not in why.reason or ":" in why.reason, "the cause is told, not the number"
    assert why.remedy
    assert TOKEN not in "\n".join(tail)


def test_one_that_is_stopped_leaves_no_process(fresh: Running) -> None:
    fresh.start(fresh.case.files)
    eventually(fresh.answers, "the engine answers", seconds=fresh.case.start_seconds, every=0.2)
    session = fresh.session
    fresh.launcher.stop(fresh.replica_id)
    living = [p for p in psutil.process_iter() if session_of(p) == session]
    assert [p for p in living if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert not fresh.answers()


def session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None
