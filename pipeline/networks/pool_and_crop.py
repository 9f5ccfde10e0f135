"""max_pool2d and a crop of the same tensor as one operation, with a gradient made by hand."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class PoolAndCrop(torch.autograd.Function):
    """max_pool2d(x, 2) and the centre of x, what a skip connection hands on, as one operation.

    PyTorch's own gradient of a crop is a tensor of zeros of x's size, in another memory layout than
    the pooling's, to which it is then added. Here it is added where it belongs, and x is not kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        pooled, indices = functional.max_pool2d(x, 2, return_indices=True)
        ctx.save_for_backward(indices)
        ctx.shape, ctx.layout = x.shape, memory_format(x)
        return pooled, crop(x, size).clone(memory_format=ctx.layout)

    @staticmethod
    def backward(ctx: Any, pooled: Tensor, cropped: Tensor) -> tuple[Tensor, None]:
        (indices,) = ctx.saved_tensors
        # of x, PyTorch's function looks at shape and layout only
        like = torch.empty(
            ctx.shape, dtype=pooled.dtype, device=pooled.device, memory_format=ctx.layout
        )
        gradient: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            pooled, like, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )
        crop(gradient, cropped.shape[-2:]).add_(cropped)
        return gradient, None


def pool_and_crop(x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """max_pool2d(x, 2) and the centre of x (…, *size)."""
    if x.requires_grad:
        pooled, cropped = PoolAndCrop.apply(x, size)  # type: ignore[no-untyped-call]
        return pooled, cropped
    return functional.max_pool2d(x, 2), crop(x, size)


def memory_format(x: Tensor) -> torch.memory_format:
    """channels_last or contiguous."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The centre of `x` (…, rows, columns), of `size` (rows, columns): a view."""
    top, left = ((a - b) // 2 for a, b in zip(x.shape[-2:], size, strict=True))
    return x[..., top : top + size[0], left : left + size[1]]
