"""`python -m stages.train` in double precision, for tests that compare runs.

Where gradients cancel, Adam makes full steps of what is left, which in single precision is rounding
alone: runs that sum in another order part company after one update of a critic.

With DIES=<rank>:<steps> that one of several processes is killed after so many steps.
"""

import os
import signal
from dataclasses import replace
from typing import Any

from torch import Tensor

from pipeline.training import run
from pipeline.training.module import AdversarialSeparation
from pipeline.training.pools import Pool
from stages import common
from stages.train import train

in_single = run.prepare
one_step = AdversarialSeparation.training_step


def in_double(*arguments: Any) -> AdversarialSeparation:
    module = in_single(*arguments).double()
    batches = module.batches
    module.batches = replace(
        batches,
        supervised=doubled(batches.supervised),
        mixtures=batches.mixtures and doubled(batches.mixtures),
        recordings={number: doubled(pool) for number, pool in batches.recordings.items()},
    )
    module.validation = doubled(module.validation)
    return module


def doubled(pool: Pool) -> Pool:
    assert isinstance(pool.frames, Tensor)
    return replace(pool, frames=pool.frames.double())


def mortal_step(module: AdversarialSeparation, *arguments: Any) -> None:
    one_step(module, *arguments)
    if os.environ.get("DIES") == f"{module.replica.rank}:{module.state.steps}":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run.prepare = in_double  # type: ignore[assignment]
    AdversarialSeparation.training_step = mortal_step  # type: ignore[assignment]
    common.run(train)
