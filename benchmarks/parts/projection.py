"""The whole paper on this machine, from what was measured in the same run: hours."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import material
from benchmarks.harness import OURS, Quantity, Result
from benchmarks.parts import evaluation, separation, training, validation
from pipeline.params import REFERENCE_ROWS
from pipeline.tracks import Role

EPOCHS = 40
"""Of a model until early stopping ends its run: about what the authors' runs took."""


def project(measured: Sequence[Result], precision: str = "float32") -> Result | None:
    """Three models, their validation passes and the evaluation of all rows.

    precision: of the training steps and of separation; a validation pass is float32's, the slower.
    None where a part is missing, or steps were not measured at the paper's batch size.
    """
    settings = material.paper()
    suffix = "" if precision == "float32" else f", {precision}"
    found = {result.what: result for result in measured}
    steps = {name: found.get(f"training step, {name}{suffix}") for name in training.MODELS}
    separated = f"{separation.NAME}{suffix}"
    needed = [validation.NAME, separated, evaluation.NAME]
    if not all(steps.values()) or any(name not in found for name in needed):
        return None
    if any(step and step.work != settings.training.batch_size for step in steps.values()):
        return None
    updates = EPOCHS * settings.training.steps_per_epoch
    hours = {
        f"training {name}": updates * _seconds(step) / 3600
        for name, step in steps.items()
        if step is not None
    }
    lengths = material.paper_seconds()
    signal = settings.signal
    frames = sum(lengths[Role.VALIDATION]) * signal.sample_rate / signal.hop_size
    passes = EPOCHS * len(steps) * frames / settings.training.excerpt
    hours["validation passes"] = passes * _per_unit(found[validation.NAME]) / 3600
    audio = sum(lengths[Role.TEST])
    rows = len(steps) + len(REFERENCE_ROWS)
    hours["evaluation"] = (
        audio
        * (rows * _per_unit(found[evaluation.NAME]) + len(steps) * _per_unit(found[separated]))
        / 3600
    )
    return Result(
        f"the whole paper{suffix}, projected",
        [Quantity(name, [value], "h") for name, value in total(hours).items()],
        note=f"{EPOCHS} epochs of {settings.training.steps_per_epoch} steps a model, one model after"
        " the other; from the medians above, not run",
    )


def total(hours: Mapping[str, float]) -> dict[str, float]:
    """The same with their sum."""
    return {**hours, "all": sum(hours.values())}


def _seconds(result: Result) -> float:
    return float(np.median(result.times[OURS]))


def _per_unit(result: Result) -> float:
    """Seconds for one unit of work (an excerpt, a second of audio)."""
    return _seconds(result) / result.work
