"""What a computation costs: time by part, floating point operations, bytes moved, memory, and what the machine can do.

Used by `ranet-edu benchmark` (speed.py); notebook 13 builds the parts' times and the roofline from them.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

PARTS = ("encoder", "correlation", "ranking", "merge", "decoder", "other")
"""Of a forward pass. "other": casting, pooling of masks and the sigmoid, which belong to no module."""
MODULES = ("encoder", "ranking", "merge", "decoder")

Call = Callable[[], object]


OPERATIONS = {
    "convolution": ("conv",),
    "norm": ("norm",),
    "matrix product": ("mm",),
    "resampling": ("upsample", "pool", "grid_sampl"),
    "pointwise": ("relu", "clamp", "add", "sub", "mul", "div", "sigmoid", "tanh"),
    "copying": ("copy", "cat", "index", "gather", "empty", "fill", "zero", "pad"),
}
"""Kinds of operations, and what their names hold; the first that fits counts. All others are "other"."""


class Ceilings(NamedTuple):
    """What the machine reaches at best: GFLOP/s of matrix products and of 3x3 convolutions, GB/s of copying."""

    matmul: float
    convolution: float
    bandwidth: float

    @property
    def compute(self) -> float:
        """GFLOP/s, the better of both."""
        return max(self.matmul, self.convolution)


def synchronise(device: torch.device) -> None:
    """Wait until an accelerator has done what it was told; a CPU has, when it returns."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def clock(device: torch.device) -> float:
    """Seconds, when all that was asked for is done."""
    synchronise(device)
    return time.perf_counter()


def seconds(call: Call, device: torch.device) -> float:
    """How long one call takes."""
    start = clock(device)
    call()
    return clock(device) - start


@contextmanager
def amounts_by_part(model: nn.Module, read: Callable[[], float]) -> Iterator[Counter[str]]:
    """How much a reading (a clock, a counter of operations) rises in each of PARTS, summed over all calls inside.

    model: has the modules encoder, ranking, merge and decoder. Correlation is what lies between encoder and ranking.
    Waiting for the clock at each border costs an accelerator a little time.
    """
    amounts: Counter[str] = Counter(dict.fromkeys(PARTS, 0))
    last = [read(), ""]

    def credit(part: str, here: str = "") -> None:
        now = read()
        amounts[part] += now - last[0]
        last[:] = now, here

    def before(name: str) -> None:
        credit("correlation" if (last[1], name) == ("encoder", "ranking") else "other")

    handles = []
    for name in MODULES:
        module = getattr(model, name)
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: before(name)))
        handles.append(module.register_forward_hook(lambda *_, name=name: credit(name, name)))
    try:
        yield amounts
        credit("other")
    finally:
        for handle in handles:
            handle.remove()


def part_seconds(model: nn.Module, call: Call, device: torch.device) -> Counter[str]:
    """Seconds of each part of one call."""
    with amounts_by_part(model, lambda: clock(device)) as amounts:
        call()
    return amounts


def operation_seconds(call: Call) -> Counter[str]:
    """Seconds of each kind of operation in one call, by torch.profiler; on CUDA the GPU's seconds."""
    with torch.profiler.profile() as profiler:
        call()
    events = profiler.key_averages()
    on_gpu = any(event.self_device_time_total for event in events)
    amounts = Counter(dict.fromkeys([*OPERATIONS, "other"], 0.0))
    for event in events:
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        amounts[_kind(event.key)] += microseconds / 1e6
    return amounts


def _kind(name: str) -> str:
    return next((kind for kind, marks in OPERATIONS.items() if any(mark in name for mark in marks)), "other")


class Traffic(TorchDispatchMode):
    """Counts the bytes that each operation reads and writes, as if nothing stayed in a cache; views move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001, ANN204  as torch calls it
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(x.nbytes for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor))
        return result


def part_work(model: nn.Module, call: Call) -> tuple[Counter[str], Counter[str]]:
    """Floating point operations (a multiplication and an addition are two) and bytes moved, of each part of one call.

    Operations are those of convolutions and matrix products, nearly all there are; where Winograd's algorithm computes
    a convolution with fewer, these count.
    """
    convolutions = dict.fromkeys(_other_convolutions(), _convolution_operations)
    with FlopCounterMode(display=False, custom_mapping=convolutions) as counter, Traffic() as traffic:
        operations_by_part = amounts_by_part(model, counter.get_total_flops)
        with operations_by_part as operations, amounts_by_part(model, lambda: traffic.bytes) as moved:
            call()
    return operations, moved


def _other_convolutions() -> list[object]:
    """Those that FlopCounterMode does not know: oneDNN's with packed weights, where there are such."""
    packed = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    return [packed] if packed else []


def _convolution_operations(
    images: torch.Size, kernels: torch.Size, *_: object, out_shape: torch.Size, **__: object
) -> int:
    """As FlopCounterMode calls it: shapes in, operations out."""
    return 2 * prod(kernels) * out_shape[0] * prod(out_shape[2:])


def peak_megabytes(call: Call, device: torch.device) -> float | None:
    """Memory that a call needs at its highest point, beyond what was held before; None where it can't be told.

    CUDA's own count there; on a CPU the resident set of the process, which Linux can tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if device.type != "cpu":
        return None
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what earlier calls freed goes back to the system, or it would hide the need
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
        before = _resident_megabytes("VmRSS")
        call()
        return max(_resident_megabytes("VmHWM") - before, 0.0)
    except (OSError, AttributeError, KeyError):
        return None


def _resident_megabytes(field: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(lines[field].split()[0]) * 1024 / 1e6


def measure_ceilings(device: torch.device, dtype: torch.dtype, tries: int = 5) -> Ceilings:
    """The machine's best of a few tries. Notebook 13 draws them as a roofline.

    Raises ValueError for float16 on a CPU, whose matrix products take hundreds of times as long as float32's.
    """
    if device.type == "cpu" and dtype == torch.float16:
        raise ValueError("float16 is not measured on a CPU, which emulates it: take float32 or bfloat16")
    scale = 1 if device.type == "cpu" else 8
    side, batch = 1536 * scale, scale * scale // 2 or 1
    make = {"device": device, "dtype": dtype}
    a, b = torch.rand(side, side, **make), torch.rand(side, side, **make)
    maps = torch.rand(batch, 256, 60, 108, **make).to(memory_format=torch.channels_last)
    kernels = torch.rand(256, 256, 3, 3, **make).to(memory_format=torch.channels_last)
    many = torch.zeros(32_000_000 * scale, dtype=torch.float32, device=device)
    copy = torch.empty_like(many)
    with torch.inference_mode():
        matmul = _fastest(lambda: a @ b, device, tries)
        convolution = _fastest(lambda: F.conv2d(maps, kernels, padding=1), device, tries)
        copying = _fastest(lambda: copy.copy_(many), device, tries)
    work = 2 * 9 * kernels.shape[0] * maps.numel()
    return Ceilings(2 * side**3 / matmul / 1e9, work / convolution / 1e9, 2 * many.nbytes / copying / 1e9)


def _fastest(call: Call, device: torch.device, tries: int) -> float:
    call()
    return min(seconds(call, device) for _ in range(tries))


def machine_name(device: torch.device) -> str:
    """What computes: the GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
