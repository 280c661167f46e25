"""Parses untrusted files in a child process, so that a crash or a hang is only a failed check.

The child asks for the bytes it wants, so that a large file need not be read as a whole, wherever
it is stored: a line `offset length` on its output is answered by exactly so many bytes on its
input, a line that begins with `{` is its answer.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

_CHILD = Path(__file__).with_name("sandboxed.py")
_GIB = 1024**3
# (CPU seconds, seconds in all, bytes of address space): a large vocabulary or a pickle takes
# seconds and several hundred megabytes; a template or a few lines of YAML take almost nothing.
_LIMITS = {
    "tokenizer": (60, 120, 4 * _GIB),
    "chat_template": (3, 20, _GIB // 2),
    "front_matter": (3, 20, _GIB // 2),
    "patterns": (5, 30, _GIB // 2),
    "triton_config": (5, 30, _GIB // 2),
    "pickle": (60, 300, 2 * _GIB),
}
_MAX_ANSWER_BYTES = 1 << 20


class ParserFailed(Exception):
    """The file could not be parsed within its limits; the message says why."""


def parse(kind: str, text: bytes, **options: Any) -> dict[str, Any]:
    """What `sandboxed.py` makes of the text. Raises `ParserFailed`."""
    return examine(kind, BytesIO(text), len(text), **options)


def examine(kind: str, source: BinaryIO, size: int, **options: Any) -> dict[str, Any]:
    """What `sandboxed.py` makes of a seekable file of `size` bytes. Raises `ParserFailed`."""
    cpu_seconds, seconds, memory_bytes = _LIMITS[kind]
    request = {
        "kind": kind, "size": size, "cpu_seconds": cpu_seconds, "memory_bytes": memory_bytes,
        **options,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-I", str(_CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    ) as child:
        watch = threading.Timer(seconds, child.kill)
        watch.start()
        try:
            answer = _serve(child, json.dumps(request).encode() + b"\n", source, size)
            if answer is None:
                _let_end(child)
        finally:
            late = not watch.is_alive()
            watch.cancel()
            child.kill()
    if late:
        raise ParserFailed(f"it was not read within {seconds} seconds")
    if answer is not None:
        if "error" in answer:
            raise ParserFailed(str(answer["error"]))
        return answer
    if child.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
        raise ParserFailed(f"reading it took more than {cpu_seconds} seconds of computing")
    raise ParserFailed("the program that reads it broke off, or it needs too much memory")


def _let_end(child: subprocess.Popen[bytes]) -> None:
    """Gives a child that broke off the moment in which its status shows why."""
    assert child.stdin is not None  # noqa: S101 (for the type checker)
    with suppress(BrokenPipeError):
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(5)


def _serve(
    child: subprocess.Popen[bytes], request: bytes, source: BinaryIO, size: int
) -> dict[str, Any] | None:
    """Gives the child the bytes that it asks for until it answers; None where it breaks off."""
    assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 (for the type checker)
    try:
        child.stdin.write(request)
        while True:
            child.stdin.flush()
            line = child.stdout.readline(_MAX_ANSWER_BYTES)
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
            offset, length = map(int, line.split())
            if not 0 <= offset <= offset + length <= size:
                return None
            source.seek(offset)
            while length:
                part = source.read(length)
                if not part:
                    return None
                child.stdin.write(part)
                length -= len(part)
    except (BrokenPipeError, ValueError):
        return None
