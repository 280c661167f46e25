"""How much of the machine an engine may take, as far as the system lets us say so.

Everywhere: an engine leaves no core dump, and when memory runs out the kernel ends engines before
the platform. Where a cgroup (version 2) was delegated to the worker, each replica has one of its
own: memory beyond its promise ends that engine alone, and no process of it outlives it.

The worker finds the delegated cgroup by a convention of systemd (`Delegate=yes` and
`DelegateSubgroup=worker`): its own processes are in the subgroup `worker`, replicas get siblings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from backend.infra.logging import get_logger

GIB = 1024**3
_SUBGROUP = "worker"
_CONTROLLERS = ("memory", "cpu", "pids")
# Beyond it the kernel takes memory back first, and then ends the engine.
_PRESSURE_SHARE = 0.95
_REMOVE_SECONDS = 2.0
# The shell becomes the engine, so that the process id stays the same.
_ENTER = 'echo 500 > /proc/self/oom_score_adj; ulimit -c 0; {join}exec "$@"'
_JOIN = 'echo $$ > "$LOGGIA_CGROUP" && unset LOGGIA_CGROUP && '
_log = get_logger(__name__)


class Bounds:
    """The bounds of this machine's replicas; `mount` is where cgroups are, `own` says ours."""

    def __init__(
        self,
        mount: Path = Path("/sys/fs/cgroup"),
        own: Path = Path("/proc/self/cgroup"),
    ) -> None:
        self._base = _delegated(mount, own)

    @property
    def words(self) -> str:
        """How replicas are bounded here, for people."""
        if self._base is None:
            return "no limit on memory: no cgroup is delegated; engines are ended first"
        return "a cgroup for each replica"

    def enclosed(
        self, arguments: Sequence[str], replica_id: UUID, memory_gib: float
    ) -> tuple[list[str], dict[str, str]]:
        """The command that starts the engine within its bounds, and what goes with it."""
        join, environment = "", {}
        folder = self._make(replica_id, memory_gib)
        if folder is not None:
            join, environment = _JOIN, {"LOGGIA_CGROUP": str(folder / "cgroup.procs")}
        return ["/bin/sh", "-c", _ENTER.format(join=join), "engine", *arguments], environment

    def release(self, replica_id: UUID) -> None:
        """Ends whatever is left in the replica's cgroup, and removes it."""
        folder = self._folder(replica_id)
        if folder is None or not folder.exists():
            return
        with suppress(OSError):
            (folder / "cgroup.kill").write_text("1")
        until = time.monotonic() + _REMOVE_SECONDS
        while time.monotonic() < until:
            try:
                folder.rmdir()
            except OSError:
                time.sleep(0.05)
            else:
                return
        _log.warning("a replica's cgroup could not be removed", cgroup=str(folder))

    def _folder(self, replica_id: UUID) -> Path | None:
        return None if self._base is None else self._base / f"replica-{replica_id}"

    def _make(self, replica_id: UUID, memory_gib: float) -> Path | None:
        folder = self._folder(replica_id)
        if folder is None:
            return None
        try:
            folder.mkdir(exist_ok=True)
            if memory_gib > 0:
                limit = round(memory_gib * GIB)
                (folder / "memory.high").write_text(str(round(limit * _PRESSURE_SHARE)))
                (folder / "memory.max").write_text(str(limit))
                (folder / "memory.oom.group").write_text("1")
        except OSError as error:
            _log.warning("a replica gets no cgroup", cgroup=str(folder), error=str(error))
            return None
        return folder


def _delegated(mount: Path, own: Path) -> Path | None:
    """The cgroup in which replicas may have their own, or None."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if path is None or Path(path).name != _SUBGROUP:
        return None
    base = mount / Path(path).parent
    try:
        offered = (base / "cgroup.controllers").read_text().split()
        if "memory" not in offered or not os.access(base, os.W_OK):
            return None
        wanted = " ".join(f"+{name}" for name in _CONTROLLERS if name in offered)
        (base / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        _log.warning("replicas get no cgroups", cgroup=str(base), error=str(error))
        return None
    return base
