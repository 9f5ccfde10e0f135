"""Mixture invariant training: two mixtures are summed, and each output belongs to one of them.

Wisdom, Tzinis, Erdogan, Weiss, Wilson, Hershey: Unsupervised Sound Separation Using Mixture Invariant
Training, NeurIPS 2020, eqs. 1 and 2: the loss of the best of all ways to give the outputs for the sum
of two mixtures to these. There waveforms are compared; here what the separator gives, as in L_s, and
magnitudes are summed as in L_add (paper, eq. 5). A source has two outputs (`networks.slots`), one for
each mixture's.
"""

from functools import cache
from itertools import product

import torch
from torch import Tensor

from pipeline.networks.representations import LOG_MAGNITUDES, Representation
from pipeline.training.losses import excerpt_losses


def mixit_loss(outputs: Tensor, mixtures: Tensor, given: Representation = LOG_MAGNITUDES) -> Tensor:
    """Mean over the batch of the best assignment's error, summed over the two mixtures.

    outputs: for the sum (n, sources, slots, …); mixtures: the two (n, 2, …), both as `given`.
    """
    parts = given.linear(outputs.flatten(1, 2))  # (n, outputs, …)
    choices = assignments(parts.shape[1], parts.device)  # (choices, 2, outputs)
    with torch.no_grad():
        errors = torch.stack([_errors(parts, mixtures, one, given) for one in choices])
        best = choices[errors.argmin(dim=0)]  # (n, 2, outputs)
    return _errors(parts, mixtures, best, given).mean()


def _errors(parts: Tensor, mixtures: Tensor, assigned: Tensor, given: Representation) -> Tensor:
    """(n,) of an assignment ([n,] 2, outputs): 1 where an output belongs to a mixture."""
    sums = torch.einsum("nmo,no...->nm...", assigned.expand(len(parts), -1, -1), parts)
    return excerpt_losses(given.of_linear(sums), mixtures, given)


def assignments(outputs: int, device: torch.device) -> Tensor:
    """All ways to give each output to one of two mixtures (2**outputs, 2, outputs)."""
    return torch.tensor(_assignments(outputs), dtype=torch.float32, device=device)


@cache
def _assignments(outputs: int) -> list[list[list[float]]]:
    chosen = product((0.0, 1.0), repeat=outputs)
    return [[list(one), [1.0 - share for share in one]] for one in chosen]
