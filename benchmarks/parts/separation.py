"""A whole track separated: seconds of audio a second."""

import numpy as np
import torch

from benchmarks import harness, limits, material
from benchmarks.harness import OURS, STRAIGHTFORWARD, Options, Result
from benchmarks.reference import separation as reference
from benchmarks.reference.networks import plain_separator
from pipeline.models.unet import SpectrogramUNet
from pipeline.params import Precision
from pipeline.separation import FloatArray, Separator, build

NAME = "whole-track separation"
REAL_TIME = {"cpu": 0.01, "cuda": 0.001}
FACTOR = "real-time factor"


def separator(device: str, precision: Precision = "float32") -> Separator:
    """The paper's network with fresh weights, as a model folder would be loaded."""
    settings = material.paper()
    network = build(settings).to(device).eval()
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


def results(options: Options) -> list[Result]:
    """A song of four minutes, mono, at the working rate, in both precisions."""
    return [in_precision(one, options) for one in ("float32", "bfloat16")]


def in_precision(precision: Precision, options: Options) -> Result:
    """Beside the straightforward way in float32."""
    length = 20 if options.quick else 240
    ready = separator(options.device, precision)
    assert isinstance(ready.network, SpectrogramUNet)
    plain = plain_separator(ready.network)
    random = np.random.default_rng(0)
    waveform = random.uniform(-0.5, 0.5, length * ready.signal.sample_rate).astype(np.float32)
    products = limits.products(options.device)
    needed = limits.operations(lambda: ours(ready, waveform))
    times = harness.measure(
        {
            OURS: lambda: ours(ready, waveform),
            STRAIGHTFORWARD: lambda: straightforward(plain, ready, waveform),
            **products,
        },
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
        f"a song of {length} s, fresh weights, {needed / length / 1e9:.1f} GFLOP a second of it",
    )
