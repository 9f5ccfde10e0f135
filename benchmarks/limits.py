"""The machine's limits: products of matrices, copies of memory; the operations of a computation."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

REPEATS = 4
SIZE = {"cpu": 2048, "cuda": 8192}
PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "tf32", "bfloat16")}
"""In which the product of matrices is measured. tf32: float32 whose factors are rounded to ten bits
of mantissa by the GPU's matrix units, which is what PyTorch's convolutions of float32 use by default."""


class MatrixProduct:
    """A product of large matrices, as fast as the library can."""

    def __init__(self, precision: str, device: str) -> None:
        self.precision, size = precision, SIZE[device]
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self.factors = [torch.randn(size, size, device=device, dtype=dtype) for _ in range(2)]
        self.product = torch.empty_like(self.factors[0])
        self.operations = REPEATS * 2 * size**3
        """Of one call: a multiplication and an addition are two."""

    def __call__(self) -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"
        for _ in range(REPEATS):
            torch.mm(*self.factors, out=self.product)
        torch.backends.cuda.matmul.allow_tf32 = before


def products(device: str) -> dict[str, MatrixProduct]:
    """One in every precision, as sides of a measurement."""
    return {
        f"limit in {precision}": MatrixProduct(precision, device)
        for precision in PRECISIONS[device]
    }


def memory_copy(size: int, device: str) -> Callable[[], Tensor]:
    """A copy of `size` bytes from memory to memory."""
    source = torch.randn(max(size // 4, 1), device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def operations(work: Callable[[], object]) -> int:
    """Additions and multiplications of the convolutions and matrix products in a computation.

    Counted as PyTorch runs them, so backward passes and those of backward passes are in it; what is
    not a product of matrices (activations, poolings, optimisers) is not.
    """
    counter = _Counter()  # type: ignore[no-untyped-call]
    with counter:
        work()
    return counter.total


class _Counter(TorchDispatchMode):
    """Adds up PyTorch's own formulas. Its FlopCounterMode keeps account by module, with hooks that
    fail on `autograd.grad`, which the gradient penalty needs."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:  # what is made of others, as convolutions are in inference
                result = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if result is NotImplemented else result
        result = func(*args, **kwargs)
        self.total += formula(*args, **kwargs, out_val=result)
        return result
