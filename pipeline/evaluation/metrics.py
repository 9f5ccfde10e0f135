"""The metrics as a table: to add one, write its function and its entry in METRICS.

Columns of results/tracks/, rows of the table, the report, the review and the seeds follow from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.evaluation.bss_eval import RATIOS, Values, Waveforms, energy_ratios


@dataclass(frozen=True, eq=False)
class Compared:
    """What the metrics of one track compare: waveforms (sources, samples) at the working rate."""

    references: Waveforms
    estimates: Waveforms
    sources: Sequence[str]
    """Their names."""
    filter_length: int = 512
    """Taps of BSS Eval's filters."""

    @cached_property
    def bss_eval(self) -> dict[str, Values]:
        """SDR, SIR and SAR (sources,) in dB, from one computation (`energy_ratios`)."""
        ratios = energy_ratios(self.references, self.estimates, self.filter_length)
        return dict(zip(RATIOS, ratios, strict=True))


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


METRICS = (
    Metric("SDR", lambda compared: compared.bss_eval["SDR"], improvement="NSDR"),
    Metric("SIR", lambda compared: compared.bss_eval["SIR"]),
    Metric("SAR", lambda compared: compared.bss_eval["SAR"]),
)

HEADLINE = "SDR"
"""It ranks models and tracks; sentences and plots are about it. Higher is better."""

MEASURED = [metric.name for metric in METRICS]
"""What is measured of each track."""
IMPROVEMENTS = {metric.improvement: metric.name for metric in METRICS if metric.improvement}
"""NSDR: SDR."""
REPORTED = [*MEASURED, *IMPROVEMENTS]
"""What has a row in the table."""


def named(name: str) -> Metric:
    """The entry of one of REPORTED; an improvement has the unit and the direction of its metric."""
    return next(one for one in METRICS if name in (one.name, one.improvement))
