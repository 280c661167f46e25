"""Conversions for CTranslate2, as bounded processes in an environment of their own."""

from __future__ import annotations

import os
import queue
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import msgspec

from backend.domain.version import Version
from backend.infra.processes import death_signal
from workers.importing.validation.report import Outcome, Report
from workers.serving.engine import EnvironmentSpec
from workers.serving.environments import Abandoned, Abandonment, EngineEnvironments
from workers.serving.optimization import convert
from workers.serving.optimization.artefacts import Artefact, Artefacts

JSON = dict[str, Any]
Progress = Callable[[int, int, str], None]

VERSION = "4.8.5"
TRANSFORMERS = "5.19.0"
# Of one release, so that pip prefers its build for the CPU where an index has one.
TORCH = "2.13.0"
METHOD = "ctranslate2"
_GIB = 1024**3
_PROBE = """
import json, sys
import sentencepiece, torch, transformers
from ctranslate2.converters import TransformersConverter
sys.stdout.write("\\n" + json.dumps({}) + "\\n")
"""
# The original and its copy in the making, with what Python and torch take by themselves.
_FIXED_BYTES = 4 * _GIB
_FACTOR = 6
_SILENCE_SECONDS = 3600.0
_POLL_SECONDS = 0.5
_TAIL_LINES = 40
_INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "USER", "LOGNAME")
# Beyond these a person should look before trusting the converted model.
_DOUBTFUL_PERPLEXITY = 1.1
_DOUBTFUL_CHOICES = 0.9


class ConversionFailed(Exception):
    """The model was not converted; `log_tail` holds the converter's last lines."""

    def __init__(self, reason: str, *, remedy: str, log_tail: list[str]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy
        self.log_tail = log_tail


class Conversions:
    """Makes each conversion of a version once."""

    def __init__(
        self, artefacts: Artefacts, environments: EngineEnvironments, scratch: Path
    ) -> None:
        self._artefacts = artefacts
        self._environments = environments
        self._scratch = scratch

    def ensure(
        self,
        model_id: UUID,
        version: Version,
        directory: Callable[[], Path],
        quantization: str,
        *,
        on_gpu: bool,
        environment_progress: Callable[[int, str], None],
        progress: Progress,
        abandoned: Abandoned,
    ) -> Artefact:
        """The converted model, made now if need be; `directory` brings the version's files.

        Raises `ConversionFailed`, `EnvironmentFailed`, `Abandonment`, and what `directory` raises.
        """
        name = f"{METHOD}:{quantization}:{VERSION}"
        found = self._artefacts.find(model_id, version.number, name)
        if found is not None:
            return found
        environment = self._environments.ensure(environment_spec(), environment_progress, abandoned)
        original = directory()
        folder = self._scratch / secrets.token_hex(8)
        folder.mkdir(parents=True)
        try:
            facts = _Process(progress, abandoned).run(
                [
                    str(environment.python),
                    str(Path(convert.__file__)),
                    f"--model={original}",
                    f"--output={folder / 'model'}",
                    f"--quantization={quantization}",
                    f"--device={'cuda' if on_gpu else 'cpu'}",
                    f"--memory-bytes={_FIXED_BYTES + _FACTOR * version.total_bytes}",
                    *(["--own-code"] if "custom_code" in version.accepted_risks else []),
                ],
                folder,
            )
            progress(convert.STEPS - 1, convert.STEPS, "storing the converted model")
            kept = self._artefacts.keep(model_id, version.number, name, folder / "model", facts)
        except OSError as error:
            raise ConversionFailed(
                f"The converted model could not be written: {error}.",
                remedy="Check the free space of the data directory and of the object store, then "
                "redeploy.",
                log_tail=[],
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        progress(convert.STEPS, convert.STEPS, "converted")
        return kept

    def clear(self) -> None:
        """Removes what killed conversions left behind."""
        shutil.rmtree(self._scratch, ignore_errors=True)


def checks(artefact: Artefact, size_before: int, quantization: str) -> list[JSON]:
    """What the comparison of the original with the converted model says, for people."""
    facts = artefact.facts
    report = Report()
    share = artefact.total_bytes / size_before if size_before else 1.0
    report.add(
        "size", "Size", Outcome.PASS,
        f"{size_before} bytes before, {artefact.total_bytes} after: {share:.0%}.",
    )  # fmt: skip
    before, after = facts["perplexity_before"], facts["perplexity_after"]
    same = facts["same_first_choice"]
    doubtful = after > before * _DOUBTFUL_PERPLEXITY or same < _DOUBTFUL_CHOICES
    report.add(
        "quality", "The converted model answers as the original",
        Outcome.WARN if doubtful else Outcome.PASS,
        f"On a text of {facts['tokens']} tokens: perplexity {before:.4g} before and {after:.4g} "
        f"after; the same likeliest token at {same:.1%} of the places; logarithms of "
        f"probabilities differ by {facts['mean_difference']:.3g} in the mean and by "
        f"{facts['largest_difference']:.3g} at most ({quantization}).",
        "Try the model on your own questions, or choose a quantization with more bits."
        if doubtful else "",
    )  # fmt: skip
    found: list[JSON] = report.to_dict()["checks"]
    return found


class _Process:
    """One run of the converter."""

    def __init__(self, progress: Progress, abandoned: Abandoned) -> None:
        self._progress = progress
        self._abandoned = abandoned
        self._result: JSON | None = None
        self._refusal: str | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def run(self, arguments: list[str], folder: Path) -> JSON:
        """What the comparison found."""
        threads = str(max(1, (os.cpu_count() or 2) // 2))
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={
                **{name: os.environ[name] for name in _INHERITED if name in os.environ},
                "PYTHONUNBUFFERED": "1",
                "HF_HUB_OFFLINE": "1",
                "TRANSFORMERS_OFFLINE": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HOME": str(folder / "hub"),
                "OMP_NUM_THREADS": threads,
                "TOKENIZERS_PARALLELISM": "false",
            },
            start_new_session=True,
            preexec_fn=death_signal(signal.SIGKILL),
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_pump, args=(process.stdout, lines), daemon=True).start()
        try:
            self._follow(lines)
            status = process.wait(timeout=60)
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
        if status != 0 or self._result is None:
            raise self._failure(status)
        return self._result

    def _follow(self, lines: queue.Queue[str | None]) -> None:
        silent_since = time.monotonic()
        while True:
            try:
                line = lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._abandoned():
                    raise Abandonment from None
                if time.monotonic() - silent_since > _SILENCE_SECONDS:
                    raise ConversionFailed(
                        f"The conversion said nothing for {_SILENCE_SECONDS / 60:g} minutes.",
                        remedy="See whether the server is overloaded, then redeploy.",
                        log_tail=list(self._tail),
                    ) from None
                continue
            if line is None:
                return
            silent_since = time.monotonic()
            self._take(line)

    def _take(self, line: str) -> None:
        if not line.startswith(convert.MARK):
            if line.strip():
                self._tail.append(line[:500])
            return
        said: JSON = msgspec.json.decode(line[len(convert.MARK) :])
        if "step" in said:
            self._progress(said["step"] - 1, convert.STEPS, said["message"])
            self._tail.append(said["message"])
        self._result = said.get("result", self._result)
        self._refusal = said.get("refusal", self._refusal)

    def _failure(self, status: int) -> ConversionFailed:
        if status == -signal.SIGKILL:
            return ConversionFailed(
                "The conversion was killed, perhaps because the server ran out of memory.",
                remedy="Free memory on the server, then redeploy.",
                log_tail=list(self._tail),
            )
        last = next((line for line in reversed(self._tail) if "Error" in line), "")
        return ConversionFailed(
            self._refusal or f"The conversion ended with exit status {status}. {last}".strip(),
            remedy="Choose another quantization, or deploy the model with vLLM.",
            log_tail=list(self._tail),
        )


def environment_spec() -> EnvironmentSpec:
    """What converts: its own release of transformers, and torch for the comparison."""
    return EnvironmentSpec(
        METHOD,
        VERSION,
        (
            f"ctranslate2=={VERSION}",
            f"transformers=={TRANSFORMERS}",
            f"torch=={TORCH}",
            "sentencepiece",
            "protobuf",
            "accelerate",
        ),
        _PROBE,
        package_count=45,
    )


def _pump(stream: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    with suppress(ValueError):  # closed while it was read
        for line in stream or ():
            lines.put(line.rstrip())
    lines.put(None)
