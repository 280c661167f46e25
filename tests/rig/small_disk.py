"""A file system of a few megabytes, whoever runs the tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIZE = "24m"
_HOLD = '"$@" && echo mounted && exec cat'


@contextmanager
def small_file_system(folder: Path) -> Iterator[Path]:
    """Where it can be reached: at `folder` for root, else inside a user's own namespace."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode == 0:
        try:
            yield folder
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    # It lasts as long as somebody lives in the namespace, and `cat` does until its input ends.
    inside = subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", _HOLD, "sh", *mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with inside as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != b"mounted\n":
            process.stdin.close()
            said = mounted.stderr.decode() + process.stderr.read().decode()
            raise PermissionError(
                "This test needs a small file system: run it as root, or where users may have "
                f"namespaces of their own. {said}"
            )
        try:
            yield Path(f"/proc/{process.pid}/root{folder}")
        finally:
            process.stdin.close()
