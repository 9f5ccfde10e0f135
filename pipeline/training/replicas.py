"""Several processes that train one model: which one this is, and what they tell each other.

torchrun starts them. All hold the same weights and optimisers; each computes the gradients of its part
of every batch, and all take the average. The losses are means over excerpts, so that is the gradient
of the whole batch, however many processes share it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from pipeline.errors import UserError

PATIENCE = timedelta(seconds=45)
"""How long a process waits in an update for the others before it takes them for lost."""
SET_UP = timedelta(minutes=30)
"""The same before and after the updates: loading features and writing files may differ in time."""
T = TypeVar("T")


class ProcessLost(UserError):
    """Another process of this training has ended or does not answer."""


@contextmanager
def exchange() -> Iterator[None]:
    """What all processes do together. Raises ProcessLost when it fails."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            "another process of this training has ended or does not answer; the same command,"
            " with any number of processes, goes on from the checkpoint written now"
            f" ({str(error).splitlines()[0]})"
        ) from error


@dataclass(frozen=True)
class Replica:
    """This process among those that train together; by default it is alone."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    group: "torch.distributed.ProcessGroup | None" = None
    """In which gradients are averaged; None for one process."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """This process's excerpts of a batch of `size`. Raises UserError when it cannot be shared out."""
        if size % self.count:
            raise UserError(
                f"params.yaml: training.batch_size: {size} excerpts cannot be shared out among"
                f" {self.count} processes; start a number of processes that divides it"
            )
        share = size // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def average(
        self, networks: Iterable[nn.Module], values: Sequence[Tensor], flag: bool
    ) -> tuple[list[Tensor], bool]:
        """Average the networks' gradients, in place, and some scalars; tell whether any raised its flag.

        One exchange for all of it. Raises ProcessLost when it fails.
        """
        if self.group is None:
            return list(values), flag
        gradients = [
            weights.grad
            for network in networks
            for weights in network.parameters()
            if weights.grad is not None
        ]
        pieces = [*gradients, torch.stack([value.detach() for value in values])]
        flat = torch.cat([*(piece.reshape(-1) for piece in pieces), pieces[0].new_full((1,), flag)])
        with exchange():
            torch.distributed.all_reduce(flat, group=self.group)
        flat /= self.count
        sizes = [piece.numel() for piece in pieces]
        *averaged, flags = flat.split([*sizes, 1])
        for gradient, mean in zip(gradients, averaged[:-1], strict=True):
            gradient.copy_(mean.view(gradient.shape))
        return list(averaged[-1].unbind()), bool(flags)

    def sum(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Every scalar summed over the processes. Raises ProcessLost when the exchange fails."""
        if self.group is None:
            return list(values)
        summed = torch.stack(list(values))
        with exchange():
            torch.distributed.all_reduce(summed)
        return list(summed.unbind())

    def maximum(self, values: Tensor) -> Tensor:
        """The largest of every value over the processes. Raises ProcessLost when the exchange fails."""
        if self.group is not None:
            # NCCL exchanges what is on the GPU only
            values = values.to(torch.device("cuda" if torch.cuda.is_initialized() else "cpu"))
            with exchange():
                torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX)
        return values.cpu()

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process (anything that can be pickled); the others wait.

        Raises the UserError of the first process in all of them; ProcessLost when one is gone.
        """
        if self.group is None:
            return make()
        box: list[Any] = [None]
        if self.first:
            try:
                box = [make()]
            except UserError as error:
                box = [error]
        with exchange():
            torch.distributed.broadcast_object_list(box, src=0)
        if isinstance(box[0], UserError):
            raise box[0]
        made: T = box[0]
        return made


ALONE = Replica()


@contextmanager
def together(device: str) -> Iterator[Replica]:
    """The processes that torchrun has started, connected; this one alone without torchrun.

    device: cpu (gloo) or cuda (NCCL, a GPU for each process of a machine).
    """
    if not torch.distributed.is_torchelastic_launched():
        yield ALONE
        return
    local_rank, local_count = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if device == "cuda":
        if local_count > torch.cuda.device_count():
            raise UserError(
                f"torchrun: {local_count} processes on this machine, which has"
                f" {torch.cuda.device_count()} GPUs; start one process for each GPU"
            )
        torch.cuda.set_device(local_rank)
        # An exchange that fails raises an error in the thread that waits, in time for a checkpoint;
        # by default NCCL's own watchdog ends the process.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=SET_UP)
    try:
        yield Replica(
            torch.distributed.get_rank(),
            torch.distributed.get_world_size(),
            local_rank,
            local_count,
            torch.distributed.new_group(timeout=PATIENCE),
        )
    finally:
        torch.distributed.destroy_process_group()


class ReplicasStrategy(DDPStrategy):
    """Lightning's strategy for several processes, with gradients averaged by `Replica.average`.

    DistributedDataParallel averages whenever a backward pass ends. A step here has several of them,
    for several networks, one inside another (the penalty's), so the training step says itself when.
    """

    def configure_ddp(self) -> None:
        """All start from the first process's weights."""
        assert self.model is not None
        for tensor in self.model.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)
