"""RemixIT: the teacher's estimates are mixed anew within a batch, and the separator takes them apart.

Tzinis, Adi, Ithapu, Xu, Smaragdis, Kumar: RemixIT: Continual Self-Training of Speech Enhancement Models
via Bootstrapped Remixing, IEEE Journal of Selected Topics in Signal Processing 16(6), 2022, section
III: estimates of a batch of mixtures, a permutation for each source, their sum as the new mixture, and
the estimates as its sources; the teacher is a running average of the student. There estimates are
waveforms; here they may be magnitudes with the mixture's phase, which are summed as complex numbers.
"""

from typing import cast

import torch
from torch import Tensor

from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.training.batches import SeparatorBatch
from pipeline.training.losses import supervised_loss
from pipeline.training.step import State


def loss(state: State, batch: SeparatorBatch, _: Tensor | None) -> Tensor:
    assert state.teacher is not None
    assert batch.spectra is not None
    assert batch.permutations is not None
    network = cast(SeparatorNetwork, state.separator)
    given = network.representation
    with torch.no_grad():
        if given.waveform:
            labels = taken(state.teacher(batch.spectra), batch.permutations)
            mixtures, sources = labels.sum(dim=1), labels
        else:
            mixtures, sources = remixed(
                state.teacher(torch.log1p(batch.spectra.abs())), batch.spectra, batch.permutations
            )
    # an excerpt that the separator can take, within the teacher's
    size, length = batch.mixtures.shape[-1], batch.sources.shape[-1]
    begin = (mixtures.shape[-1] - size) // 2
    inner = begin + (size - length) // 2
    heard, labels = mixtures[..., begin : begin + size], sources[..., inner : inner + length]
    return supervised_loss(network(heard), labels, given)


def taken(estimates: Tensor, permutations: Tensor) -> Tensor:
    """Each source of other excerpts (n, sources, …); permutations (sources, n): of which."""
    return torch.stack([estimates[order, number] for number, order in enumerate(permutations)], 1)


def remixed(estimates: Tensor, spectra: Tensor, permutations: Tensor) -> tuple[Tensor, Tensor]:
    """Log magnitudes of new mixtures (n, bins, frames) and their sources (n, sources, bins, frames).

    estimates: log magnitudes (n, sources, bins, frames); spectra: of their mixtures, complex, with
    frames more on both sides; permutations (sources, n): of which excerpt each source is taken.
    """
    more = (spectra.shape[-1] - estimates.shape[-1]) // 2
    spectra = spectra[..., more : more + estimates.shape[-1]]
    phase = spectra / spectra.abs().clamp_min(torch.finfo(torch.float32).tiny)
    parts = torch.expm1(estimates) * phase[:, None]
    return torch.log1p(taken(parts, permutations).sum(dim=1).abs()), taken(estimates, permutations)
