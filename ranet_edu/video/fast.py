"""A copy of a network that only has to segment, and so may compute the same in less time.

Training needs the network as the paper draws it; a copy that never learns does not. Its batch norms, frozen, are a
scale and a shift that the convolution before them can take over. Its backbone's convolutions read their pixels in the
order that suits the processor, or, where they are wide, multiply less. Numbers change by rounding alone, unless a
shorter number format is asked for.
"""

from __future__ import annotations

import copy
import ctypes
import itertools
import platform
import warnings

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ranet_edu.model.encoder import TimmBackbone
from ranet_edu.model.ranet import RANet

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
MALLOPT_TRIM_THRESHOLD, MALLOPT_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT = 32 * 2**20  # bytes; glibc allows no more
WINOGRAD_CHANNELS = 64  # convolutions of fewer are bound by memory, not by arithmetic


def fast_copy(model: RANet, precision: str = "auto", compile: bool = False) -> RANet:
    """A copy of `model` that segments faster and can't be trained; `model` is left as it was.

    precision: "float32", "bfloat16" or "float16", what the copy computes in, or "auto", what the model is in.
        float16 is for GPUs: a CPU takes hundreds of times as long. bfloat16 is faster than float32 on a GPU and on CPUs
        that have it in hardware (AVX512_BF16, AMX); masks differ in about one pixel of a thousand.
    compile: have torch.compile write kernels for the GPU at hand, and replay them as a CUDA graph. The first frames
        take a minute. On a CPU it was slower than without and is refused.
    Raises ValueError for a precision or a compilation that the model's device is not fit for.
    """
    dtype = _dtype(model, precision)
    device = model.image_mean.device.type
    if compile and device != "cuda":
        raise ValueError(f"compile is for CUDA; the model is on {device}, where it costs a minute and gains nothing")
    ready = copy.deepcopy(model).eval().requires_grad_(False)
    if isinstance(ready.encoder.backbone, TimmBackbone):
        fold_batch_norms(ready.encoder.backbone)
        ready.encoder.to(memory_format=torch.channels_last)
    elif device == "cuda":
        ready.to(memory_format=torch.channels_last)
    elif dtype == torch.float32 and device == "cpu":
        use_winograd(ready)
    ready.to(dtype)
    if compile:
        ready.forward = _compiled(ready.forward)
    return ready


def _dtype(model: RANet, precision: str) -> torch.dtype:
    if precision == "auto":
        return model.image_mean.dtype
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of auto, {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "float16" and model.image_mean.device.type == "cpu":
        raise ValueError("precision float16 takes hundreds of times as long on a CPU: choose float32 or bfloat16")
    return PRECISIONS[precision]


def _compiled(forward: object) -> object:
    from torch.utils._triton import has_triton

    if not has_triton():
        warnings.warn("going on without compile, which needs Triton: pip install triton", stacklevel=4)
        return forward
    return torch.compile(forward, mode="reduce-overhead", dynamic=False)


def fold_batch_norms(backbone: nn.Module) -> None:
    """Put each frozen batch norm into the convolution before it, in place; its activation stays where it was.

    A frozen norm computes a x + b for each channel: the convolution's weights times a, its bias times a plus b.
    """
    for block in list(backbone.modules()):
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(list(block.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, BatchNormAct2d):
                setattr(block, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(block, norm_name, norm.act)


class WinogradConv2d(nn.Conv2d):
    """A 3x3 convolution by Winograd's algorithm, which needs a fifth of the multiplications (Lavin and Gray, 2016).

    The result differs from that of `nn.Conv2d` by about 1e-5 of its largest value. Computed by NNPACK, which PyTorch
    comes with on most CPUs.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:  # autocast
            return super().forward(x)
        images = x.contiguous().split(1)  # NNPACK is slow on a batch of several
        return torch.cat([torch._nnpack_spatial_convolution(one, self.weight, self.bias, 1) for one in images])


def use_winograd(network: nn.Module) -> None:
    """Make each wide 3x3 convolution of `network` a `WinogradConv2d`, in place, where this PyTorch has NNPACK."""
    if not torch._nnpack_available():  # also makes it ready
        return
    for module in network.modules():
        if type(module) is nn.Conv2d and _suits_winograd(module):
            module.__class__ = WinogradConv2d


def _suits_winograd(conv: nn.Conv2d) -> bool:
    plain = conv.stride == conv.dilation == conv.padding == (1, 1) and conv.groups == 1
    return plain and conv.kernel_size == (3, 3) and min(conv.in_channels, conv.out_channels) >= WINOGRAD_CHANNELS


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next frame to use (glibc; elsewhere nothing happens).

    By default glibc gives large blocks back to the system, which hands them out again page by page and zeroed: for
    half a gigabyte of maps a frame that took up to a third of the time. The process then stays as large as it was at
    its largest.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MALLOPT_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(MALLOPT_MMAP_THRESHOLD, LARGEST_KEPT)
