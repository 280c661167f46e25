"""The NVIDIA GPUs of this machine, as the driver's library (NVML) tells; none without a driver.

GPUs are named by their NVML index, which is their place on the PCI bus; engines are started with
`CUDA_DEVICE_ORDER=PCI_BUS_ID`, so that theirs is the same.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from backend.infra.logging import get_logger

GIB = 1024**3
_log = get_logger(__name__)


@dataclass(frozen=True)
class Gpu:
    """A GPU; memory in GiB."""

    index: int
    uuid: str
    name: str
    memory_gib: float


@dataclass(frozen=True)
class GpuLoad:
    """How busy a GPU is, and how warm; None where it does not tell."""

    index: int
    utilization_percent: float | None
    memory_used_gib: float | None
    temperature_celsius: float | None


@dataclass(frozen=True)
class GpuShare:
    """A part of a GPU that a replica was promised, in GiB; `exclusive` is all of it."""

    index: int
    uuid: str
    name: str
    memory_gib: float
    total_gib: float
    exclusive: bool

    @classmethod
    def of(cls, gpu: Gpu, memory_gib: float, *, exclusive: bool) -> GpuShare:
        """This much of this GPU."""
        return cls(
            index=gpu.index,
            uuid=gpu.uuid,
            name=gpu.name,
            memory_gib=gpu.memory_gib if exclusive else memory_gib,
            total_gib=gpu.memory_gib,
            exclusive=exclusive,
        )

    def facts(self) -> dict[str, Any]:
        """As a replica's row has it."""
        return asdict(self)


def _load() -> Any:
    return importlib.import_module("pynvml")


class Gpus:
    """The driver's library, opened when it is first asked."""

    def __init__(self, load: Callable[[], Any] = _load) -> None:
        self._load = load
        self._nvml: Any = None
        self._tried = False

    def all(self) -> list[Gpu]:
        """The GPUs that this process may use, by index."""
        found = []
        for handle, index in self._handles():
            nvml = self._nvml
            with suppress(nvml.NVMLError):
                found.append(
                    Gpu(
                        index,
                        _text(nvml.nvmlDeviceGetUUID(handle)),
                        _text(nvml.nvmlDeviceGetName(handle)),
                        round(nvml.nvmlDeviceGetMemoryInfo(handle).total / GIB, 1),
                    )
                )
        return _visible(found, os.environ.get("CUDA_VISIBLE_DEVICES"))

    def loads(self) -> list[GpuLoad]:
        """How busy each of them is."""
        usable = {gpu.index for gpu in self.all()}
        return [
            GpuLoad(
                index,
                self._ask(lambda n, h=handle: n.nvmlDeviceGetUtilizationRates(h).gpu),
                self._ask(lambda n, h=handle: round(n.nvmlDeviceGetMemoryInfo(h).used / GIB, 2)),
                self._ask(lambda n, h=handle: n.nvmlDeviceGetTemperature(h, _TEMPERATURE)),
            )
            for handle, index in self._handles()
            if index in usable
        ]

    def driver(self) -> str:
        """The driver's version; empty where there is none."""
        if self._library() is None:
            return ""
        try:
            return _text(self._nvml.nvmlSystemGetDriverVersion())
        except self._nvml.NVMLError:
            return ""

    def _ask(self, question: Any) -> float | None:
        try:
            return float(question(self._nvml))
        except self._nvml.NVMLError:
            return None

    def _handles(self) -> list[tuple[Any, int]]:
        nvml = self._library()
        if nvml is None:
            return []
        try:
            return [
                (nvml.nvmlDeviceGetHandleByIndex(index), index)
                for index in range(nvml.nvmlDeviceGetCount())
            ]
        except nvml.NVMLError as error:
            _log.warning("the GPUs cannot be listed", error=str(error))
            return []

    def _library(self) -> Any:
        """The library, or None where it or the driver is missing; asked for once."""
        if not self._tried:
            self._tried = True
            try:
                nvml = self._load()
            except ImportError:
                _log.info("no GPU is looked for: nvidia-ml-py is not installed")
                return None
            try:
                nvml.nvmlInit()
                self._nvml = nvml
            except nvml.NVMLError as error:
                _log.info("no GPU is used", reason=str(error))
        return self._nvml


# NVML_TEMPERATURE_GPU
_TEMPERATURE = 0


def _visible(gpus: Sequence[Gpu], wanted: str | None) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES leaves, which names them by index or UUID."""
    if wanted is None:
        return list(gpus)
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    return [
        gpu
        for gpu in gpus
        if str(gpu.index) in names or any(gpu.uuid.startswith(n) for n in names if not n.isdigit())
    ]


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
