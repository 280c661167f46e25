"""An integrator who has only `docs/integrating.md` and `proto/`, and none of Loggia's code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.rig.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Printed:
    """One line that the documented consumer printed."""

    position: int
    type: str
    actor: str
    data: dict[str, Any]


class DocumentedConsumer:
    """Runs the consumer as it stands in the documentation, in an empty folder."""

    def __init__(self, folder: Path, bootstrap_servers: str) -> None:
        text = (REPOSITORY / "docs/integrating.md").read_text()
        code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
        assert code, "docs/integrating.md has lost its consumer"
        (folder / "consumer.py").write_text(code.group(1))
        protos = sorted(str(p) for p in (REPOSITORY / "proto/loggia/events/v1").glob("*.proto"))
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"-I{REPOSITORY / 'proto'}",
                f"--python_out={folder}",
                *protos,
            ],
            check=True,
        )
        self._process = subprocess.Popen(
            [sys.executable, "consumer.py", bootstrap_servers],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def printed(self) -> list[Printed]:
        """What it has printed so far, in the order of printing."""
        found = []
        for line in list(self._lines):
            match = re.fullmatch(r"(\d+) loggia\.events\.v1\.(\w+) (\S+) (\{.*\})\n", line)
            assert match, f"the consumer printed: {''.join(self._lines[-20:])}"
            position, event_type, actor, data = match.groups()
            found.append(Printed(int(position), event_type, actor, json.loads(data)))
        return found

    def events_of(self, model_id: str) -> list[Printed]:
        """What it has printed about a model so far."""
        return [event for event in self.printed() if event.data.get("modelId") == model_id]

    def wait_for(self, model_id: str, event_type: str, *, seconds: float = 20) -> None:
        """Waits until it has printed an event of this type about the model."""
        eventually(
            lambda: any(e.type == event_type for e in self.events_of(model_id)),
            f"the documented consumer printed {event_type}",
            seconds=seconds,
        )

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait(timeout=10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
