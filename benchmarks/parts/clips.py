"""Scores of short clips by one thread, in processor time: of the first estimate, and of five."""

import time

import numpy as np
from scipy.signal import ellip, sosfilt

from benchmarks import harness, material
from benchmarks.harness import OURS, STRAIGHTFORWARD, Options, Result, Times
from pipeline.evaluation import bss_eval
from pipeline.evaluation.bss_eval import Waveforms, energy_ratios
from pipeline.evaluation.judge import museval_sources

NAME = "scores of clips"
RATE, SECONDS = 8000, 8

Clip = tuple[Waveforms, list[Waveforms]]
"""References, and an estimate for each seed."""


def clips(count: int, seeds: int, steep: bool) -> list[Clip]:
    """Two sources of noise; steep: with next to nothing in the upper half of the band."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(count):
        noise = random.standard_normal((2 + seeds, 2, RATE * SECONDS))
        if steep:
            noise = sosfilt(ellip(16, 0.1, 160, 0.5, output="sos"), noise)
        references = noise[0] + 1e-6 * noise[1]
        found.append((references, [references + 0.5 * references[::-1] + one for one in noise[2:]]))
    return found


def ours(wanted: list[Clip], taps: int) -> list[object]:
    """Nothing is known of the references when it begins."""
    bss_eval._kept.clear()
    return [energy_ratios(clip, one, taps) for clip, estimates in wanted for one in estimates]


def straightforward(wanted: list[Clip], taps: int) -> list[object]:
    """museval in a loop."""
    return [museval_sources(clip, one, taps) for clip, estimates in wanted for one in estimates]


def results(options: Options) -> list[Result]:
    """Well conditioned clips, and some for which museval's operations must be repeated."""
    taps, count = material.paper().evaluation.filter_length, 1 if options.quick else 4
    found = []
    for kind, steep in (("white noise", False), ("steeply low-passed noise", True)):
        for seeds in (1, 5):
            wanted = clips(count, seeds, steep)
            times: Times = {OURS: [], STRAIGHTFORWARD: []}
            for turn in range(-1, options.turns(5)):
                for name, side in ((OURS, ours), (STRAIGHTFORWARD, straightforward)):
                    began = time.process_time()
                    side(wanted, taps)
                    if turn >= 0:
                        times[name].append(time.process_time() - began)
            note = f"{count} clips of {SECONDS} s, two sources; processor time of one thread"
            figures = [harness.speed_up(times)]
            what = f"{NAME}, {kind}, estimates of each: {seeds}"
            found.append(Result(what, figures, times, count * seeds, "scored clips a second", note))
    return found
