"""What bounds an engine: for real without a cgroup, and in a double of a delegated one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from workers.serving.launchers.bounds import Bounds

SAY = (
    "import os, resource; print(open('/proc/self/oom_score_adj').read().strip(), "
    "resource.getrlimit(resource.RLIMIT_CORE)[0], 'LOGGIA_CGROUP' in os.environ, os.getpid())"
)


def run(bounds: Bounds, memory_gib: float = 1.0) -> tuple[list[str], int]:
    """What an engine within the bounds says of itself, and its process id."""
    arguments, environment = bounds.enclosed([sys.executable, "-c", SAY], uuid4(), memory_gib)
    process = subprocess.Popen(
        arguments, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output.split(), process.pid


@pytest.fixture
def delegated(tmp_path: Path) -> Bounds:
    """A double of what systemd delegates: plain files in the place of a cgroup's."""
    mount = tmp_path / "cgroup"
    (mount / "loggia.service").mkdir(parents=True)
    (mount / "loggia.service" / "cgroup.controllers").write_text("cpu io memory pids\n")
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/\n0::/loggia.service/worker\n")
    return Bounds(mount, own)


def test_without_a_cgroup_an_engine_goes_before_the_platform(tmp_path: Path) -> None:
    bounds = Bounds(tmp_path, tmp_path / "missing")
    said, pid = run(bounds)
    assert said == ["500", "0", "False", str(pid)]
    assert bounds.words.startswith("no limit on memory")


def test_each_replica_has_a_cgroup_with_its_promise(delegated: Bounds, tmp_path: Path) -> None:
    base = tmp_path / "cgroup" / "loggia.service"
    assert (base / "cgroup.subtree_control").read_text() == "+memory +cpu +pids"
    said, pid = run(delegated, memory_gib=2.0)
    assert said[2:] == ["False", str(pid)]
    (folder,) = base.glob("replica-*")
    assert (folder / "memory.max").read_text() == str(2 * 1024**3)
    assert (folder / "memory.oom.group").read_text() == "1"
    assert (folder / "cgroup.procs").read_text().strip() == str(pid)
    assert delegated.words == "a cgroup for each replica"


@pytest.mark.parametrize("own", ["0::/loggia.service/other\n", "4:memory:/worker\n", ""])
def test_a_cgroup_that_was_not_delegated_is_left_alone(own: str, tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory\n")
    (tmp_path / "own").write_text(own)
    assert Bounds(tmp_path, tmp_path / "own").words.startswith("no limit")
    assert not (tmp_path / "cgroup.subtree_control").exists()
