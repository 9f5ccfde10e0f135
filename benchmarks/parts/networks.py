"""Every network of experiments/networks beside the paper's: an update, a song, memory, weights."""

import multiprocessing
import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from benchmarks import harness
from benchmarks.harness import OURS, Options, Quantity, Result
from benchmarks.parts import ways
from pipeline import params
from pipeline.networks.builders import build_separator
from pipeline.networks.interfaces import SeparatorNetwork
from pipeline.params import Params
from pipeline.separation.separator import Separator

FOLDER = ways.TOP / "experiments/networks"
SECONDS = 60.0
"""Of a song."""


def results(options: Options) -> list[Result]:
    """With one thread, as the experiment's `arithmetic: portable` computes."""
    torch.set_num_threads(1)
    settings = params.load(FOLDER / "params.yaml")
    return [*ways.rows(FOLDER, options), *songs(settings, options)]


def songs(settings: Params, options: Options) -> Iterator[Result]:
    """Separation by the networks in turns, and what each takes by itself."""
    names = [name for name, model in settings.models.items() if model.only_supervised]
    seconds = 5.0 if options.quick else SECONDS
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * _rate(settings)))
    waveform = waveform.astype(np.float32)
    separators = {name: fresh(settings, name) for name in names}
    sides = {name: partial(one.estimate, waveform) for name, one in separators.items()}
    times = harness.measure(sides, options.turns(7))
    for name in names:
        own = {OURS: times[name], ways.BASELINE: times[ways.BASELINE]}
        weights = sum(
            one.numel() for one in cast(torch.nn.Module, separators[name].network).parameters()
        )
        yield Result(
            f"a song, {name}",
            [
                harness.ratio("time, of the baseline's", own, OURS, ways.BASELINE),
                harness.per("real-time factor", own, seconds, ""),
                Quantity("weights", [float(weights)]),
                Quantity("memory", [memory(name, seconds)], "MB"),
            ],
            own,
            seconds,
            "seconds of audio a second",
            settings.separator_of(name).model_dump_json(),
        )


def fresh(settings: Params, name: str) -> Separator:
    """A row's network with fresh weights."""
    network = build_separator(
        settings.separator_of(name).model_dump(), settings.signal, len(settings.sources)
    ).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    separator = cast(SeparatorNetwork, network)
    return Separator(separator, tuple(settings.sources), settings.signal)


def memory(name: str, seconds: float) -> float:
    """MB that separating a song takes beyond the program and the weights, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (FOLDER / "params.yaml", name, seconds))


def _peak(path: Path, name: str, seconds: float) -> float:
    torch.set_num_threads(1)
    settings = params.load(path)
    separator = fresh(settings, name)
    separator.estimate(np.zeros(100, np.float32))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    separator.estimate(np.zeros(round(seconds * _rate(settings)), np.float32))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000


def _rate(settings: Params) -> int:
    return settings.signal.sample_rate
