"""Spectrograms as small PNGs, a pixel a cell, and the axes that the page draws around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LEVELS = 64
WIDTH, HEIGHT = 240, 132
"""Of the plot area, in the page's units."""

Cells = NDArray[np.float64]


@dataclass(frozen=True)
class Tick:
    """A mark on an axis: where, in the page's units, and what it says."""

    at: float
    text: str


@dataclass(frozen=True)
class Picture:
    """A picture file with its axes."""

    file: str
    """Relative to the page."""
    alt: str
    times: tuple[Tick, ...]
    """Seconds, from the left."""
    frequencies: tuple[Tick, ...]
    """kHz, from the top."""


def draw(
    values: Cells,
    bounds: tuple[float, float],
    colours: str,
    page: Path,
    file: str,
    alt: str,
    seconds: tuple[float, float],
    hertz: tuple[float, float],
) -> Picture:
    """Write values (bins, frames) as a PNG beside the page, one pixel a cell.

    bounds: the values of the first and the last of matplotlib's `colours`; seconds, hertz: the ends
    of the axes.
    """
    from PIL import Image

    low, high = bounds
    scaled = (np.clip(values, low, high) - low) / (high - low)
    image = Image.fromarray(np.rint(scaled * (LEVELS - 1)).astype(np.uint8)[::-1])
    image.putpalette(palette(colours))
    (page / file).parent.mkdir(parents=True, exist_ok=True)
    image.save(page / file, optimize=True)
    times = tuple(Tick(at * WIDTH, text) for at, text in ticks(*seconds))
    kilohertz = ticks(hertz[0] / 1000, hertz[1] / 1000)
    return Picture(file, alt, times, tuple(Tick((1 - at) * HEIGHT, text) for at, text in kilohertz))


def ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Round numbers between the ends of an axis: (place from 0 to 1, text)."""
    steps = [base * 10.0**power for power in range(-3, 4) for base in (1, 2, 5)]
    step = next((step for step in steps if (high - low) / step <= most), high - low)
    marks = np.arange(np.ceil(low / step - 1e-6), np.floor(high / step + 1e-6) + 1) * step
    return [(float((mark - low) / (high - low)), f"{mark + 0.0:g}") for mark in np.round(marks, 6)]


@cache
def palette(colours: str) -> bytes:
    """LEVELS colours of a matplotlib colour map, as RGB bytes."""
    from matplotlib import colormaps

    shades = colormaps[colours](np.linspace(0, 1, LEVELS))[:, :3]
    rgb: bytes = np.rint(255 * shades).astype(np.uint8).tobytes()
    return rgb


def stops(colours: str, count: int = 9) -> Sequence[str]:
    """A colour map as CSS colours, for the colour bar of a legend."""
    shades = np.frombuffer(palette(colours), np.uint8).reshape(LEVELS, 3)
    chosen = shades[np.linspace(0, LEVELS - 1, count).round().astype(int)]
    return [f"rgb({r},{g},{b})" for r, g, b in chosen.tolist()]
