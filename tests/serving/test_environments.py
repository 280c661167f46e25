"""Engine environments, made by real venv and pip from a wheel that the test builds."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.rig.waiting import eventually
from workers.serving.engine import EnvironmentSpec
from workers.serving.environments import Abandonment, EngineEnvironments, EnvironmentFailed

REPOSITORY = Path(__file__).parents[2]
SPEC = EnvironmentSpec(
    "tiny-engine",
    "1.0",
    ("tiny-engine==1.0",),
    "import tiny_engine; print(tiny_engine.OPTIONS)",
    package_count=1,
)
OPTIONS = '{"options": {"speed": {"flag": "--speed", "kind": "int"}}}'


@pytest.fixture
def pip_arguments(tmp_path: Path) -> str:
    """Makes pip see nothing but the wheel."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    files = {
        "tiny_engine.py": f"OPTIONS = {OPTIONS!r}\n",
        "tiny_engine-1.0.dist-info/METADATA": "Metadata-Version: 2.1\n"
        "Name: tiny-engine\nVersion: 1.0\n",
        "tiny_engine-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in files.items())
    files["tiny_engine-1.0.dist-info/RECORD"] = record + "tiny_engine-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(wheels / "tiny_engine-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return f"--no-index --find-links {wheels}"


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def ensure(environments: EngineEnvironments, seen: list[tuple[int, str]] | None = None) -> Path:
    report = seen if seen is not None else []
    made = environments.ensure(SPEC, lambda *reading: report.append(reading), lambda: False)
    return made.python


def test_it_is_made_once_with_its_options_and_progress_to_the_end(
    tmp_path: Path, pip_arguments: str
) -> None:
    environments = EngineEnvironments(tmp_path / "cache", pip_arguments=pip_arguments)
    seen: list[tuple[int, str]] = []
    python = ensure(environments, seen)
    assert seen[-1][0] == 100
    assert [percent for percent, _ in seen] == sorted(percent for percent, _ in seen)
    again: list[tuple[int, str]] = []
    assert ensure(environments, again) == python
    assert again == []
    found = environments.find(SPEC)
    assert found is not None
    assert found.options["speed"].kind == "int"


def test_half_an_environment_is_never_used(tmp_path: Path, pip_arguments: str) -> None:
    folder = tmp_path / "cache" / "engines" / SPEC.label
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("a killed installation left this")
    environments = EngineEnvironments(tmp_path / "cache", pip_arguments=pip_arguments)
    assert environments.find(SPEC) is None
    python = ensure(environments)
    subprocess.run([python, "-c", "import tiny_engine"], check=True)


def test_two_makers_do_not_collide(tmp_path: Path, pip_arguments: str) -> None:
    made: list[Path] = []

    def make() -> None:
        made.append(ensure(EngineEnvironments(tmp_path / "cache", pip_arguments=pip_arguments)))

    makers = [threading.Thread(target=make) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(set(made)) == 1
    assert len(made) == 3


def test_a_failed_installation_says_why_and_what_to_do(tmp_path: Path) -> None:
    environments = EngineEnvironments(tmp_path / "cache", pip_arguments="--no-index")
    with pytest.raises(EnvironmentFailed) as failed:
        ensure(environments)
    assert "tiny-engine-1.0" in failed.value.reason
    assert "LOGGIA_ENGINE_PIP_ARGUMENTS" in failed.value.remedy
    assert "No matching distribution" in "\n".join(failed.value.log_tail)
    assert environments.find(SPEC) is None


def test_an_unwanted_installation_is_given_up(tmp_path: Path, pip_arguments: str) -> None:
    slow = EnvironmentSpec("slow", "1", ("tiny-engine",), "import time; time.sleep(600)")
    environments = EngineEnvironments(tmp_path / "cache", pip_arguments=pip_arguments)
    unwanted = threading.Event()

    def report(percent: int, _: str) -> None:
        if percent >= 95:
            unwanted.set()

    with pytest.raises(Abandonment):
        environments.ensure(slow, report, unwanted.is_set)
    assert environments.find(slow) is None


def test_a_killed_maker_leaves_nothing_running_and_the_next_one_succeeds(
    tmp_path: Path, pip_arguments: str
) -> None:
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from workers.serving.engine import EnvironmentSpec
        from workers.serving.environments import EngineEnvironments
        probe = "open({str(tmp_path / "reached")!r}, 'w').close(); import time; time.sleep(600)"
        spec = EnvironmentSpec("tiny-engine", "1.0", ("tiny-engine",), probe)
        cache = Path({str(tmp_path / "cache")!r})
        environments = EngineEnvironments(cache, pip_arguments={pip_arguments!r})
        environments.ensure(spec, lambda *_: None, lambda: False)
        """
    )
    maker = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    reached = tmp_path / "reached"
    eventually(reached.exists, "the installation is nearly done", seconds=120)
    steps = psutil.Process(maker.pid).children()
    os.kill(maker.pid, signal.SIGKILL)
    maker.wait()
    _, alive = psutil.wait_procs(steps, timeout=20)
    assert alive == []
    ensure(EngineEnvironments(tmp_path / "cache", pip_arguments=pip_arguments))
