"""The metrics as a table: to add one, write its function and its entry in METRICS.

Columns of results/tracks/, rows of results/table.csv, the report and the seeds follow from it; of
those that are `tabled`, results/table.md, metrics.json and the review too. docs/metrics.md says what
each is and when to quote it; the judge of each is in `judge.JUDGES`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pipeline.evaluation import unfiltered_ratios
from pipeline.evaluation.bss_eval import RATIOS, Values, Waveforms, energy_ratios
from pipeline.evaluation.unfiltered_ratios import Energies


@dataclass(frozen=True, eq=False)
class Compared:
    """What the metrics of one track compare: waveforms (sources, samples) at the working rate."""

    references: Waveforms
    estimates: Waveforms
    sources: Sequence[str]
    """Their names."""
    filter_length: int = 512
    """Taps of BSS Eval's filters."""
    sample_rate: int = 8000
    """Hz: the frames of BSS Eval v4 have one second."""

    @cached_property
    def bss_eval(self) -> dict[str, Values]:
        """SDR, SIR and SAR (sources,) in dB, from one computation (`energy_ratios`)."""
        ratios = energy_ratios(self.references, self.estimates, self.filter_length)
        return dict(zip(RATIOS, ratios, strict=True))

    @cached_property
    def energies(self) -> Energies:
        """Of frames of one second, from one reading of the waveforms."""
        return unfiltered_ratios.energies(self.references, self.estimates, self.sample_rate)


@dataclass(frozen=True)
class Metric:
    """One metric. Scores of all of them live on a grid of 0.01."""

    name: str
    function: Callable[[Compared], Values]
    """Values (sources,). No reference is silent, and no estimate (`scoring.audible`)."""
    unit: str = "dB"
    higher_is_better: bool = True
    improvement: str = ""
    """The name under which the value less that of the mixture as the estimate is reported too."""
    aggregate: Literal["mean", "median"] = "mean"
    """What its publications report over tracks. A median has no interval, and nothing is told by it:
    those of this program are intervals of means (docs/metrics.md)."""
    tabled: bool = False
    """Whether it is in results/table.md, metrics.json and the review; then its aggregate is the mean."""
    everywhere: bool = True
    """Whether every track with scores has one; NaN where not."""


METRICS = (
    Metric("SDR", lambda of: of.bss_eval["SDR"], improvement="NSDR", tabled=True),
    Metric("SIR", lambda of: of.bss_eval["SIR"], tabled=True),
    Metric("SAR", lambda of: of.bss_eval["SAR"], tabled=True),
    Metric("SI-SDR", lambda of: unfiltered_ratios.scale_invariant_sdr(of.energies)),
    Metric("SNR", lambda of: unfiltered_ratios.signal_to_noise(of.energies)),
    Metric(
        "SDR-v4",
        lambda of: unfiltered_ratios.framewise_sdr(of.energies),
        aggregate="median",
        everywhere=False,
    ),
    Metric("uSDR", lambda of: unfiltered_ratios.challenge_sdr(of.energies)),
)

HEADLINE = "SDR"
"""It ranks models and tracks; sentences and plots are about it. Higher is better."""

MEASURED = [metric.name for metric in METRICS]
"""What is measured of each track."""
IMPROVEMENTS = {metric.improvement: metric.name for metric in METRICS if metric.improvement}
"""NSDR: SDR."""
TABLED = [metric.name for metric in METRICS if metric.tabled]
TABLED += [metric.improvement for metric in METRICS if metric.tabled and metric.improvement]
"""What has a column in results/table.md."""
REPORTED = [*TABLED, *(name for name in (*MEASURED, *IMPROVEMENTS) if name not in TABLED)]
"""What has a row in results/table.csv."""


def named(name: str) -> Metric:
    """The entry of one of REPORTED; an improvement has the unit and the direction of its metric."""
    return next(one for one in METRICS if name in (one.name, one.improvement))
