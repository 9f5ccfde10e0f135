"""A whole track separated: seconds of audio a second."""

from contextlib import closing

import numpy as np
import torch

from benchmarks import harness, limits, material
from benchmarks.harness import OURS, STRAIGHTFORWARD, Options, Result, Side
from benchmarks.reference import separation as reference
from benchmarks.reference.networks import plain_separator
from pipeline.networks.separators.unet import SpectrogramUNet
from pipeline.parallel.allocator import keep_freed_memory
from pipeline.params import Precision
from pipeline.separation.patches import FloatArray
from pipeline.separation.separator import Separator

NAME = "whole-track separation"
REAL_TIME = {"cpu": 0.01, "cuda": 0.001}
FACTOR = "real-time factor"


def separator(device: str, precision: Precision = "float32") -> Separator:
    """The paper's network with fresh weights, as a model folder would be loaded."""
    settings = material.paper()
    network = material.unet(settings).to(device).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Separator(network, tuple(settings.sources), settings.signal, precision)


def ours(separator: Separator, waveform: FloatArray) -> FloatArray:
    """Estimates (sources, samples) of a mono recording."""
    return separator.estimate(waveform)


def straightforward(
    network: SpectrogramUNet,
    separator: Separator,
    waveform: FloatArray,
    stride: int = reference.FRAMES,
) -> FloatArray:
    """The same patch by patch."""
    return reference.separate(network, waveform, separator.signal, stride)


def song(options: Options) -> FloatArray:
    """Four minutes of noise, mono, at the working rate."""
    length = 20 if options.quick else 240
    random = np.random.default_rng(0)
    samples = length * material.paper().signal.sample_rate
    return random.uniform(-0.5, 0.5, samples).astype(np.float32)


def straightforward_song(options: Options) -> Side:
    """The song in the straightforward way."""
    ready, waveform = separator(options.device), song(options)
    assert isinstance(ready.network, SpectrogramUNet)
    plain = plain_separator(ready.network)

    def separate() -> None:
        straightforward(plain, ready, waveform)

    return separate


def results(options: Options) -> list[Result]:
    """In both precisions."""
    keep_freed_memory()  # as `python -m pipeline separate` and the evaluation's workers do
    plain = harness.Apart(straightforward_song, options)
    with closing(plain):
        return [in_precision(one, plain, options) for one in ("float32", "bfloat16")]


def in_precision(precision: Precision, plain: Side, options: Options) -> Result:
    """Beside the straightforward way in float32."""
    ready, waveform = separator(options.device, precision), song(options)
    length = len(waveform) / ready.signal.sample_rate
    products = limits.products(options.device)
    needed = limits.operations(lambda: ours(ready, waveform))
    times = harness.measure(
        {OURS: lambda: ours(ready, waveform), STRAIGHTFORWARD: plain, **products},
        options.turns(7),
        options.device,
    )
    return Result(
        NAME if precision == "float32" else f"{NAME}, {precision}",
        [
            harness.speed_up(times, at_least=5),
            harness.per(FACTOR, times, length, "", at_most=REAL_TIME[options.device]),
            *(
                harness.of_limit(times, needed / product.operations, side=side)
                for side, product in products.items()
            ),
        ],
        {side: times[side] for side in (OURS, STRAIGHTFORWARD)},
        length,
        "seconds of audio a second",
        f"a song of {length:.0f} s, fresh weights, {needed / length / 1e9:.1f} GFLOP a second of it",
    )
