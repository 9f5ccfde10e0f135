"""What critics see: of estimates, whatever the separator gives, and of real recordings, the same.

A critic that sees waveforms looks at them; of estimates that are log magnitudes, at the waveforms that
they are with the mixture's phase. Both are then the same stretch of an excerpt: from the centre of
its first frame to that of its last with windows that overlap by half, and shorter by the frames that
are known in part where they overlap by more (`Waveforms.covered`).
"""

from collections.abc import Iterable

from torch import Tensor

from pipeline.features.stft import log_magnitude
from pipeline.networks.representations import LOG_MAGNITUDES, Representation, Waveforms


def seen_by(critics: Iterable[object]) -> Representation:
    """What the critics of a run see: all are built from the same settings. Log magnitudes if none."""
    found: Representation = getattr(next(iter(critics), None), "representation", LOG_MAGNITUDES)
    return found


def drawn(given: Representation, seen: Representation) -> Representation:
    """How mixtures are drawn for a separator that sees `given` where critics see `seen`."""
    return seen if seen.waveform else given


def of_mixtures(
    excerpts: Tensor, context: int, given: Representation, seen: Representation
) -> tuple[Tensor, Tensor | None]:
    """Mixtures with context, as `drawn`, as a separator sees them, and their phases.

    These are complex spectra without context (n, bins, frames), None where no estimate needs them.
    """
    if given.waveform or not isinstance(seen, Waveforms):
        return excerpts, None
    spectra = seen.spectra(excerpts)
    return log_magnitude(spectra), given.inside(spectra, context)


def of_estimates(
    estimates: Tensor, phases: Tensor | None, given: Representation, seen: Representation
) -> Tensor:
    """A separator's estimates (n, sources, …) as critics see them; phases: of the mixtures."""
    if not isinstance(seen, Waveforms):
        return given.log_magnitudes(estimates)
    if given.waveform:
        return seen.covered(estimates)
    assert phases is not None
    return seen.reconstructed(estimates, phases[:, None])


def of_real(excerpts: Tensor, seen: Representation) -> Tensor:
    """Real recordings, log magnitudes or waveforms as critics see them (…), as these are given them."""
    return seen.covered(excerpts) if isinstance(seen, Waveforms) else excerpts
