"""Parses untrusted texts in a child process, so that a crash or a hang is only a failed check."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_CHILD = Path(__file__).with_name("sandboxed.py")
_GIB = 1024**3
# (CPU seconds, seconds in all, bytes of address space): a large vocabulary takes seconds and
# several hundred megabytes; a template or a few lines of YAML take almost nothing.
_LIMITS = {
    "tokenizer": (60, 120, 4 * _GIB),
    "chat_template": (3, 20, _GIB // 2),
    "front_matter": (3, 20, _GIB // 2),
    "patterns": (5, 30, _GIB // 2),
}
_MAX_ANSWER_BYTES = 1 << 20


class ParserFailed(Exception):
    """The text could not be parsed within its limits; the message says why."""


def parse(kind: str, text: bytes, **options: Any) -> dict[str, Any]:
    """What `sandboxed.py` makes of the text. Raises `ParserFailed`."""
    cpu_seconds, seconds, memory_bytes = _LIMITS[kind]
    request = {
        "kind": kind, "cpu_seconds": cpu_seconds, "memory_bytes": memory_bytes, **options,
    }  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_CHILD)],
            input=json.dumps(request).encode() + b"\n" + text,
            capture_output=True,
            timeout=seconds,
            check=False,
            env={"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
    except subprocess.TimeoutExpired:
        raise ParserFailed(f"it was not read within {seconds} seconds") from None
    if done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
        raise ParserFailed(f"reading it took more than {cpu_seconds} seconds of computing")
    if done.returncode != 0 or len(done.stdout) > _MAX_ANSWER_BYTES:
        raise ParserFailed("the program that reads it broke off, or it needs too much memory")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise ParserFailed(str(answer["error"]))
    return answer
