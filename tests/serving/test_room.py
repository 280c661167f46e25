"""What of a machine a replica gets, beside those that are there."""

from __future__ import annotations

import pytest

from backend.domain.configuration import Hardware
from workers.serving.launchers.gpus import Gpu, Gpus, GpuShare
from workers.serving.launchers.launcher import NoPlace
from workers.serving.launchers.room import Machine, Promised, find_room

A, B = (Gpu(index, f"GPU-{index}", "H200", 80.0) for index in (0, 1))
GPUS = Machine(64.0, (A, B))


def gpu(count: int, memory_gib: float, sharing: str = "exclusive") -> Hardware:
    return Hardware("local", "gpu", count, memory_gib, sharing)


def share(of: Gpu, memory_gib: float, *, exclusive: bool = False) -> Promised:
    return Promised(0.0, (GpuShare.of(of, memory_gib, exclusive=exclusive),))


def test_memory_is_promised_until_it_is_all_promised() -> None:
    cpu = Hardware(memory_gib=6)
    machine = Machine(16.0)
    taken = [find_room(machine, [], cpu)]
    taken.append(find_room(machine, taken, cpu))
    with pytest.raises(
        NoPlace, match=r"4 of this server's 16 GiB are free: 2 GiB are missing"
    ) as no:
        find_room(machine, taken, cpu)
    assert not no.value.forever
    with pytest.raises(NoPlace, match=r"has 16 GiB: 1 GiB are missing") as never:
        find_room(machine, [], Hardware(memory_gib=17))
    assert never.value.forever


def test_a_gpu_is_given_to_one_replica_alone() -> None:
    first = find_room(GPUS, [], gpu(1, 20))
    second = find_room(GPUS, [first], gpu(1, 20))
    assert [s.index for each in (first, second) for s in each.shares] == [0, 1]
    with pytest.raises(NoPlace, match=r"wants 1 GPU to itself, and 0 of this server's 2 are") as no:
        find_room(GPUS, [first, second], gpu(1, 20))
    assert not no.value.forever
    both = find_room(GPUS, [], gpu(2, 100))
    assert [s.memory_gib for s in both.shares] == [80.0, 80.0]


def test_gpus_are_shared_by_memory_where_all_agree() -> None:
    taken = [share(A, 30), share(B, 60)]
    tight = find_room(GPUS, taken, gpu(1, 20, "memory"))
    assert [(s.index, s.memory_gib) for s in tight.shares] == [(1, 20.0)]
    wide = find_room(GPUS, taken, gpu(1, 40, "memory"))
    assert [s.index for s in wide.shares] == [0]
    with pytest.raises(NoPlace, match=r"1 GPU with 70 GiB free"):
        find_room(GPUS, taken, gpu(1, 70, "memory"))
    alone = [share(A, 80, exclusive=True), share(B, 1)]
    assert [s.index for s in find_room(GPUS, alone, gpu(1, 79, "memory")).shares] == [1]
    with pytest.raises(NoPlace):
        find_room(GPUS, alone, gpu(1, 10))


@pytest.mark.parametrize(
    ("machine", "hardware", "has"),
    [
        (Machine(64.0), gpu(1, 8), "0 GPUs"),
        (GPUS, gpu(3, 30), "2 GPUs, the largest with 80 GiB"),
        (GPUS, gpu(1, 81), "2 GPUs, the largest with 80 GiB"),
    ],
)
def test_what_will_never_fit_says_what_there_is(
    machine: Machine, hardware: Hardware, has: str
) -> None:
    with pytest.raises(NoPlace, match=has) as never:
        find_room(machine, [], hardware)
    assert never.value.forever


class NvmlDouble:
    """NVML as `nvidia-ml-py` offers it, with two GPUs."""

    class NVMLError(Exception):
        """What the library raises."""

    def nvmlInit(self) -> None:  # noqa: N802
        pass

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{handle}a"

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return b"NVIDIA H200"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> object:  # noqa: N802
        return type("Memory", (), {"total": 80 * 1024**3, "used": handle * 1024**3})

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> object:  # noqa: N802
        if handle == 1:
            raise self.NVMLError("not supported")
        return type("Rates", (), {"gpu": 97})

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:  # noqa: N802
        return 61 + handle + sensor

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "570.1"


def test_gpus_are_read_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = Gpus(load=NvmlDouble)
    assert gpus.all() == [
        Gpu(0, "GPU-0a", "NVIDIA H200", 80.0),
        Gpu(1, "GPU-1a", "NVIDIA H200", 80.0),
    ]
    first, second = gpus.loads()
    assert (first.utilization_percent, first.memory_used_gib, first.temperature_celsius) == (
        97.0, 0.0, 61.0,
    )  # fmt: skip
    assert (second.utilization_percent, second.memory_used_gib) == (None, 1.0)
    assert gpus.driver() == "570.1"


@pytest.mark.parametrize(
    ("visible", "indexes"), [("1", [1]), ("GPU-0", [0]), ("0,1", [0, 1]), ("", []), ("-1", [])]
)
def test_only_gpus_that_the_worker_may_use_are_given_out(
    visible: str, indexes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [gpu.index for gpu in Gpus(load=NvmlDouble).all()] == indexes


def test_without_a_driver_there_are_no_gpus() -> None:
    def missing() -> object:
        raise ImportError("no pynvml")

    assert (Gpus(load=missing).all(), Gpus(load=missing).driver()) == ([], "")
